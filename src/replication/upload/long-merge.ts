/**
 * A merge of waiting increments that takes long, beside an application that writes. Nothing is captured and
 * nothing checkpointed meanwhile: two writers without pauses add some 13 frames in each ms, and a merge takes
 * up to 200 ms. So the WAL is checkpointed first, as short as it may be.
 */
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import type { WalPoller } from "../capture/wal-poller.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { extendMerge, mergeLong, type PlannedMerge } from "./spool-merge.ts";

/** Attempts of the checkpoint, and the wait between two: a commit of this moment is shown within it. */
const TRIES_MAX = 4;
const RETRY_MS = 5;

/** The increments that wait, and the plan of their merge. */
export interface DueMerge {
  readonly captured: Captured;
  readonly merge: PlannedMerge;
}

/**
 * Does the merge.
 * @param live the attached database; another one than `captured` has no WAL to checkpoint
 * @throws as `WalPoller.poll`
 */
export async function mergeBesideWriters(
  { captured, merge }: DueMerge,
  live: LiveDatabase | null,
  poller: Pick<WalPoller, "checkpointAhead">,
  { env, closing }: Pick<WatchContext, "env" | "closing">,
): Promise<void> {
  for (let tries = 1; live !== null && captured === live && tries <= TRIES_MAX; tries++) {
    if (poller.checkpointAhead(live, env.monotonicMs())) break;
    await env.sleep(RETRY_MS, closing.signal);
  }
  await mergeLong(captured, extendMerge(captured, merge), env);
}
