/** Polls a condition that takes a request to check, such as the content of a bucket. */
const PAUSE_MS = 20;

/** Polls until `ask` returns true. @throws Error at the time limit */
export async function eventually(
  label: string,
  ask: () => Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await ask())) {
    if (performance.now() > deadlineMs) throw new Error(`it took too long: ${label}`);
    await Bun.sleep(PAUSE_MS);
  }
}
