/**
 * Notices beside the uploads that somebody deleted the objects of a database. No answer to a PUT shows that:
 * a store accepts an increment into an emptied prefix. So a HEAD of the newest snapshot follows a link now
 * and then. Without this snapshot no later TXID can be restored.
 *
 * 1. A HEAD follows a link 10 to 20 minutes after the HEAD before; a database without uploads causes none.
 *    After a pause of ten minutes the listing that looks for another writer takes its place
 *    (`overlap-check.ts`).
 * 2. A missing snapshot proves nothing yet. It makes the check of the whole bucket due
 *    (`upkeep/reconcile.ts`), which decides, and requests a new snapshot.
 * 3. The HEAD delays no upload, and nothing waits for it. A HEAD that fails is repeated with the next one.
 */
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { listLevel, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { UploadHistory } from "./upload-history.ts";

/** The time from one HEAD to the next is random between these, so that databases spread out. */
export const STANDING_INTERVAL_MIN_MS = 600_000;
export const STANDING_INTERVAL_MAX_MS = 1_200_000;

/** A link was acknowledged: starts the HEAD if one is due. */
export function startStandingCheck(
  name: string,
  { store, env }: { readonly store: ObjectStore; readonly env: Pick<Env, "monotonicMs" | "random"> },
  history: UploadHistory,
  signal: AbortSignal,
): void {
  const nowMs = env.monotonicMs();
  const isFirst = history.standingDueMs === Number.POSITIVE_INFINITY;
  if (!isFirst && nowMs < history.standingDueMs) return;
  const spreadMs = STANDING_INTERVAL_MAX_MS - STANDING_INTERVAL_MIN_MS;
  history.standingDueMs = nowMs + STANDING_INTERVAL_MIN_MS + env.random() * spreadMs;
  // At the start the whole bucket is checked, and a listing under way looks for our last link.
  if (!isFirst && history.overlap?.isRunning !== true) void check(name, store, history, signal);
}

/** Heads the newest snapshot that this process remembers. Never rejects. */
async function check(
  name: string,
  store: ObjectStore,
  history: UploadHistory,
  signal: AbortSignal,
): Promise<void> {
  try {
    const snapshots = await listLevel(store, name, SNAPSHOT_LEVEL, { isRemembered: true, signal });
    const newest = newestObjectOrNull(snapshots);
    if (newest === null) history.isLossSuspected = true;
    else await store.head(newest.key, { signal });
  } catch (error) {
    // Uploads report a store that fails.
    if (hasCode(error, "not-found")) history.isLossSuspected = true;
  }
}
