/**
 * A database at rest: the application has closed it, and its WAL is empty.
 *
 * Our pin keeps the last connection of the application from emptying and deleting the WAL when it closes. A
 * WAL that stays behind is a trap: whoever moves another file to the database's path gets the old pages into
 * it with the first read. So the watch does for the application what its last close would have done, as soon
 * as nobody else has the database open.
 *
 * Invariants:
 * 1. Only what is captured and persisted goes into the file; whoever opens the database meanwhile loses
 *    nothing, for a checkpoint cycle takes SQLite's own locks (see database/README.md).
 * 2. The state says that a database rests only when the file has stood still under the freeze for longer than
 *    file times are exact: whatever is committed later changes the file's times, or is in the WAL.
 */
import { checkpointCycle } from "../../database/checkpoint.ts";
import type { Env } from "../../env.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { databaseFileOf, isStillAtRest, restingFileOf, writeState } from "../../local/state.ts";
import { capture } from "./capture.ts";
import { type LiveDatabase, markCaptured } from "./live-database.ts";
import { hasCommitsBeyond } from "./wal-index-check.ts";

/** Kernels count file times in ticks of up to 10 ms. */
const TICK_MS = 25;
const REST_TRIES_MAX = 8;
const WHOLE_SECOND = "000000000";

/** What emptying a WAL came to. "not-now": somebody has the database open, or is in the way. */
export type EmptyWalOutcome =
  | { readonly kind: "empty" | "emptied" | "not-now" }
  | { readonly kind: "re-anchor"; readonly reason: string };

/**
 * Empties the WAL if nobody else has the database open.
 * @throws WalrustError when the capture cannot be persisted; the WAL stays as it is then
 */
export function emptyWalIfUnused(live: LiveDatabase, env: Env): EmptyWalOutcome {
  const { pin } = live;
  const index = pin.walIndex();
  if (pin.isLoose || index === null || live.state === null || !isHeld(live)) return { kind: "not-now" };
  if (index.mxFrame === 0) return { kind: "empty" };
  if (!pin.isAlone() || hasCommitsBeyond(pin)) return { kind: "not-now" };
  let broken: string | null = null;
  const captureAll = (): boolean => {
    const outcome = capture(live, env);
    if (outcome.kind === "re-anchor") broken = outcome.reason;
    return broken === null;
  };
  const cycle = checkpointCycle(pin, captureAll, { writeLockTimeoutMs: 0, truncate: true }, env);
  if (broken !== null) return { kind: "re-anchor", reason: broken };
  if (!isHeld(live)) live.pinLost = "the pin could not be taken again after a checkpoint";
  if (cycle.outcome === "complete") live.mayRestart = true;
  recordFile(live);
  return { kind: cycle.isTruncated ? "emptied" : "not-now" };
}

function isHeld({ pin }: LiveDatabase): boolean {
  return pin.state !== "released";
}

/** A checkpoint wrote the database file: what the state says of it is as it is now. */
export function recordFile(live: LiveDatabase): void {
  if (live.state === null) return;
  const next = { ...live.state, file: databaseFileOf(live.pin) };
  writeState(live.paths, next);
  live.state = next;
}

/**
 * Writes into the state that the database rests, if its WAL is empty and the file has stood still; once.
 * @returns whether the state says so
 */
export function recordRest(live: LiveDatabase, env: Env): boolean {
  const { state } = live;
  if (state?.file?.restedNs !== undefined) return true;
  const index = restingIndexOrNull(live);
  if (state === null || index === null) {
    live.still = null;
    return false;
  }
  const file = restingFileOf(live.pin);
  // A file system that counts in whole seconds cannot tell that nothing came after.
  if (file.restedNs.endsWith(WHOLE_SECOND)) return false;
  const nowMs = env.monotonicMs();
  if (live.still?.restedNs !== file.restedNs) live.still = { restedNs: file.restedNs, sinceMs: nowMs };
  if (nowMs - live.still.sinceMs < TICK_MS) return false;
  const { salt1, salt2 } = index;
  const wal = { salt1, salt2, frameCount: 0, checksum1: 0, checksum2: 0 };
  const next = { ...state, wal, file };
  writeState(live.paths, next);
  live.state = next;
  markCaptured(live, index);
  return true;
}

/**
 * Lets SQLite begin the wal-index anew, if nobody else has the database open and its WAL is empty. A
 * wal-index that is kept alive states the size of the database, and the next to open believes it: a file that
 * was written over meanwhile (`cp`) would look malformed, or be written beyond its end. A new one states no
 * size.
 * @returns why the history has to be anchored anew, or null
 */
export function renewWalIndexIfUnused(live: LiveDatabase, env: Env): string | null {
  const { pin } = live;
  const index = restingIndexOrNull(live);
  if (pin.isLoose || index === null || index.pageCount === 0 || !pin.isAlone()) return null;
  const before = restingFileOf(pin);
  pin.release();
  // The next to open the database in between begins the wal-index anew, and its count of commits at 0.
  live.changeCount = 0;
  if (!pin.repin(env)) live.pinLost = "the pin could not be taken again while the database rested";
  else if (!isStillAtRest(before, pin)) live.pinLost = "the database file was written while it rested";
  return live.pinLost;
}

/** The wal-index of a database whose WAL is empty and captured; null when there is more to do. */
function restingIndexOrNull(live: LiveDatabase): WalIndexHeader | null {
  const { pin } = live;
  if (
    pin.isLoose ||
    !pin.isFrozen ||
    !live.mayRestart ||
    live.pinLost !== null ||
    pin.changedFile() !== "none"
  )
    return null;
  const index = pin.walIndex();
  return index !== null && index.mxFrame === 0 && !pin.isRewritten() && pin.isWalEmpty() ? index : null;
}

/** At the end of a watch: empties the WAL if nobody else has the database open, and waits until it rests. */
export async function emptyWalAndRest(live: LiveDatabase, env: Env): Promise<void> {
  for (let attempt = 0; attempt < REST_TRIES_MAX; attempt++) {
    const { pin } = live;
    if (pin.isLoose || !isHeld(live) || pin.changedFile() !== "none" || !pin.isAlone()) return;
    const { kind } = emptyWalIfUnused(live, env);
    if ((kind !== "empty" && kind !== "emptied") || recordRest(live, env)) return;
    await env.sleep(TICK_MS);
  }
}
