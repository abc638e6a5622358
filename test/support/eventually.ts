/**
 * Waiting for what can only be asked asynchronously, such as the content of a bucket.
 */
const PAUSE_MS = 20;

/** Asks until the answer is true. @throws Error when it is not in time */
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
