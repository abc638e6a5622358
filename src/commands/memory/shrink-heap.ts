/**
 * Shrinks the heap of Bun soon after the start, and then from time to time.
 *
 * The start of a watch over many databases leaves a heap that is larger than its content: free blocks, and
 * machine code that ran once. The garbage collector does not return these pages to the kernel while little is
 * allocated. `Bun.shrink` does, the next time the engine is idle. It costs some 50 to 190 ms of CPU, because
 * code that is in use is compiled again. Bun marks it as deprecated; without it nothing happens.
 */
import type { Env } from "../../env.ts";

/** Many databases need longer for their first snapshots, so the waits begin short and double. */
export const FIRST_SHRINK_MS = 30_000;
/** The longest wait keeps the cost below 0.1 % of a core. */
export const SHRINK_INTERVAL_MS = 300_000;

const shrinkBun: (() => void) | undefined = Bun.shrink;

/** Shrinks the heap again and again until the signal aborts. */
export async function shrinkUntil(
  signal: AbortSignal,
  { sleep }: Pick<Env, "sleep">,
  shrink = shrinkBun,
): Promise<void> {
  if (shrink === undefined) return;
  for (let waitMs = FIRST_SHRINK_MS; ; waitMs = Math.min(2 * waitMs, SHRINK_INTERVAL_MS)) {
    await sleep(waitMs, signal);
    if (signal.aborted) return;
    try {
      shrink();
    } catch {
      // The heap stays larger than its content, and nothing else is different.
      return;
    }
  }
}
