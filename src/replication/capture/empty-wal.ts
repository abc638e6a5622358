/**
 * Empties the WAL of a database that its application has closed, and records the file as at rest.
 *
 * Our pin keeps the application's last connection from emptying and deleting the WAL when it closes. The WAL
 * left behind is a trap: when a script moves another file to the database's path, the first read applies the
 * old pages to it. So walrust does the work of that close as soon as no other process has the database open.
 *
 * Invariants:
 * 1. Only captured and persisted frames go into the file. A process that opens the database meanwhile loses
 *    nothing, because a checkpoint cycle takes SQLite's own locks (database/wal/README.md).
 * 2. The state records "at rest" only after the file has stood still under a freeze for longer than file
 *    times are exact. A later commit then changes the times of the file, or is in the WAL.
 */
import { statSync } from "node:fs";
import { checkpointCycle } from "../../database/checkpoint.ts";
import type { Pin } from "../../database/pin/pin.ts";
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

/** The outcome. "not-now": another process has the database open, or holds a lock. */
export type EmptyWalOutcome =
  | { readonly kind: "empty" | "emptied" | "not-now" }
  | { readonly kind: "re-anchor"; readonly reason: string };

/**
 * Empties the WAL if no other process has the database open.
 * @throws WalrustError when the capture cannot be persisted; the WAL is unchanged then
 */
export function emptyWalIfUnused(live: LiveDatabase, env: Env): EmptyWalOutcome {
  const { pin } = live;
  const index = pin.walIndex();
  if (pin.isLockless || index === null || live.state === null || !isHeld(live)) return { kind: "not-now" };
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

/** Records the present database file in the state, after a checkpoint of ours wrote it. */
export function recordFile(live: LiveDatabase): void {
  if (live.state === null) return;
  const next = { ...live.state, file: databaseFileOf(live.pin) };
  writeState(live.paths, next);
  live.state = next;
}

/**
 * Records once in the state that the database is at rest, if its WAL is empty and the file has stood still.
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
  // A file system that counts whole seconds cannot show a write within the same second.
  if (file.restedNs.endsWith(WHOLE_SECOND)) return false;
  const nowMs = env.monotonicMs();
  if (live.still?.restedNs !== file.restedNs) live.still = { restedNs: file.restedNs, sinceMs: nowMs };
  if (nowMs - live.still.sinceMs < TICK_MS) return false;
  const { salt1, salt2 } = index;
  const wal = { salt1, salt2, frameCount: 0, checksum1: 0, checksum2: 0 };
  const next = { ...state, wal, file };
  writeState(live.paths, next);
  live.state = next;
  live.still = null;
  markCaptured(live, index);
  return true;
}

/**
 * Has SQLite begin the wal-index anew, if the WAL is empty and no other process has the database open. A
 * wal-index that our pin keeps alive states the size of the database, and the next process believes it: a
 * file overwritten meanwhile (`cp`) would look malformed, or be written beyond its end. A new wal-index
 * states no size.
 * @param seen the wal-index, if the caller has just read it
 * @returns why the history has to be anchored anew, or null
 */
export function renewWalIndexIfUnused(
  live: LiveDatabase,
  env: Env,
  seen: WalIndexHeader | null = null,
): string | null {
  const { pin } = live;
  // Asked again and again of each database: the cheap questions come first.
  if (pin.isLockless || !live.mayRestart || seen?.pageCount === 0 || !pin.isAlone()) return null;
  if (restingIndexOrNull(live) === null) return null;
  const before = restingFileOf(pin);
  pin.release();
  // A process that opens the database in between begins the wal-index anew, with a commit count of 0.
  live.changeCount = 0;
  if (!pin.repin(env)) live.pinLost = "the pin could not be taken again while the database rested";
  else if (!isStillAtRest(before, pin)) live.pinLost = "the database file was written while it rested";
  return live.pinLost;
}

/** The wal-index of a database whose WAL is empty and captured, or null. */
function restingIndexOrNull(live: LiveDatabase): WalIndexHeader | null {
  const { pin } = live;
  if (pin.isLockless || !pin.isFrozen || !live.mayRestart || live.pinLost !== null) return null;
  const index = pin.walIndex();
  if (index === null || index.mxFrame !== 0 || pin.changedFile() !== "none") return null;
  return !pin.isRewritten() && isWalEmpty(pin) ? index : null;
}

function isWalEmpty({ walPath }: Pin): boolean {
  return statSync(walPath, { throwIfNoEntry: false })?.size === 0;
}

/**
 * At the end of a watch: empties the WAL if no other process has the database open, and waits until the file
 * is at rest.
 */
export async function emptyWalAndRest(live: LiveDatabase, env: Env): Promise<void> {
  for (let attempt = 0; attempt < REST_TRIES_MAX; attempt++) {
    const { pin } = live;
    if (pin.isLockless || !isHeld(live) || pin.changedFile() !== "none" || !pin.isAlone()) return;
    const { kind } = emptyWalIfUnused(live, env);
    if ((kind !== "empty" && kind !== "emptied") || recordRest(live, env)) return;
    await env.sleep(TICK_MS);
  }
}
