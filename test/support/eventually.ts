/** Polls a condition that takes a request to check, such as the content of a bucket. */
import { PollLimit } from "./poll-limit.ts";

const PAUSE_MS = 20;
/** The longest that one poll counts: a request with its pause. */
const POLL_MAX_MS = 500;

/** Polls until `ask` returns true. @throws Error at the time limit, without the times of a standstill */
export async function eventually(
  label: string,
  ask: () => Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const limit = new PollLimit(timeoutMs, POLL_MAX_MS);
  while (!(await ask())) {
    if (limit.isOver()) throw new Error(`it took too long: ${label}`);
    await Bun.sleep(PAUSE_MS);
  }
}
