/**
 * Keeps the memory of this process low while a verb runs: drops clean pages of the executable, and shrinks
 * the heap. Both end with the work, and neither can make it fail.
 */
import type { Env } from "../../env.ts";
import { shrinkUntil } from "./shrink-heap.ts";
import { type OwnMemory, ownMemoryOrNull, trimUntil } from "./trim.ts";

/**
 * Runs `work`, and keeps the memory low until `work` ends.
 * @param memory null: no page is dropped
 */
export async function whileSavingMemory<Result>(
  env: Pick<Env, "log" | "sleep" | "monotonicMs">,
  work: () => Promise<Result>,
  memory: OwnMemory | null = ownMemoryOrNull(),
): Promise<Result> {
  const ending = new AbortController();
  const { signal } = ending;
  const trimming = memory === null ? null : trimUntil(signal, env, memory);
  const shrinking = shrinkUntil(signal, env);
  try {
    return await work();
  } finally {
    ending.abort();
    await Promise.all([trimming, shrinking]);
  }
}
