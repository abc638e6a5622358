/**
 * Keeps the captured files of all databases within `--cache-max-size`: carries out the decisions of
 * spool-budget.ts, and logs once when captures stop and once when they continue.
 */
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { isSnapshotFile } from "../../local/spool.ts";
import { pruneSent } from "../../local/spool-cache.ts";
import type { Captured } from "../capture/live-database.ts";
import { isSpoolFull, planRelief, type SpoolUse, selectOverShare, totalUse } from "./spool-budget.ts";
import { mergePending } from "./spool-merge.ts";

/** A snapshot of more than this share of the limit is huge. */
const HUGE_SHARE = 0.5;

/** A database whose captured files count towards the limit. */
export interface SpoolOwner {
  readonly name: string;
  readonly live: Captured | null;
  /** Whether its files may be merged now: no job reads them, and no upload holds more than the first. */
  readonly mayMerge: boolean;
}

/** The captured files of one database, in bytes. */
export function spoolUseOf({ live }: Pick<SpoolOwner, "live">): SpoolUse {
  if (live === null) return { pendingBytes: 0, sentBytes: 0 };
  let pendingBytes = 0;
  for (const file of live.pending) pendingBytes += file.sizeBytes;
  return { pendingBytes, sentBytes: live.sentBytes };
}

/**
 * The captured files that count towards the limit. One snapshot, the largest, does not count if it has more
 * than half the limit: a snapshot of a huge database exceeds any limit, and no database that stops capturing
 * makes it smaller. A second such snapshot counts, so the spool stays bounded.
 */
function countedUse<T extends SpoolOwner>(owners: readonly T[], bytesMax: number): (owner: T) => SpoolUse {
  let largest = { owner: null as T | null, bytes: bytesMax * HUGE_SHARE };
  for (const owner of owners) {
    for (const file of owner.live?.pending ?? []) {
      if (isSnapshotFile(file) && file.sizeBytes > largest.bytes) largest = { owner, bytes: file.sizeBytes };
    }
  }
  return (owner) => {
    const use = spoolUseOf(owner);
    return owner === largest.owner ? { ...use, pendingBytes: use.pendingBytes - largest.bytes } : use;
  };
}

/**
 * Brings the spool back below its limit.
 * @param isPaused whether captures are stopped at present
 * @returns whether captures are to stop, or to stay stopped
 */
export function enforceSpoolBudget(
  owners: readonly SpoolOwner[],
  bytesMax: number,
  isPaused: boolean,
  env: Env,
): boolean {
  const useOf = countedUse(owners, bytesMax);
  const { sentBytesMax, isMergeDue } = planRelief(owners.map(useOf), bytesMax);
  if (sentBytesMax !== null) pruneAll(owners, sentBytesMax, env);
  if (isMergeDue) mergeAll(owners, isPaused, env);
  const isFull = isSpoolFull(totalUse(owners.map(useOf)), bytesMax, isPaused);
  if (isFull !== isPaused) logChange(isFull, env);
  return isFull;
}

/** The databases that stop capturing while the spool is full. */
export function overShare<T extends SpoolOwner>(owners: readonly T[], bytesMax: number): ReadonlySet<T> {
  return selectOverShare(owners, countedUse(owners, bytesMax), bytesMax);
}

/** Logs one line for all databases, because they share one limit. */
function logChange(isFull: boolean, { log }: Env): void {
  if (isFull) {
    const whose = "of the databases that hold more than their share";
    log.warn(
      `the captured files have reached --cache-max-size; capture stops ${whose}, until some are uploaded`,
    );
  } else log.info("captured files have room again; capture continues with a difference");
}

/** Cuts the kept files of each database to `bytesMax`. */
function pruneAll(owners: readonly SpoolOwner[], bytesMax: number, env: Env): void {
  for (const { name, live } of owners) {
    if (live === null || live.sentBytes === 0) continue;
    try {
      const kept = pruneSent(live.paths.spoolFolder, Number.POSITIVE_INFINITY, bytesMax, env.nowMs());
      live.sentBytes = kept.bytes;
    } catch (error) {
      env.log.debug(`kept files cannot be removed: ${errorMessage(error)}`, { database: name });
    }
  }
}

/** @param wasFull whether the limit was reached before: then a failure has been logged already */
function mergeAll(owners: readonly SpoolOwner[], wasFull: boolean, env: Env): void {
  for (const { name, live, mayMerge } of owners) {
    if (live === null || !mayMerge) continue;
    try {
      mergePending(live);
    } catch (error) {
      const message = `captured files could not be merged: ${errorMessage(error)}`;
      env.log[wasFull ? "debug" : "warn"](message, { database: name });
    }
  }
}
