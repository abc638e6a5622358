/**
 * The limit on captured files over all databases of a process. In this order, until it is kept: uploaded
 * files that are kept for convenience go, oldest first; pending increments are merged into one; captures stop
 * of the databases that hold more than their share, and their pins are let go, so that the applications' WALs
 * do not grow without bound. When there is room again, capture goes on with a difference: nothing committed
 * is lost, only the points in between.
 */
import type { Env } from "../../env.ts";
import { pruneSent } from "../../local/spool-cache.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import { asWalrustError } from "../context/failure-tracker.ts";
import { mergePending } from "./spool-merge.ts";

/** Captures go on when the spool is below this share of its limit. */
const RESUME_SHARE = 0.8;

/** Below this many times the limit nobody stops who holds less than a share of it. */
const HARD_FACTOR = 2;

/** Kept files are cut to this share of the limit, so that it is not reached again with the next upload. */
const PRUNE_SHARE = 0.8;

/** A database whose spool counts. */
export interface SpoolOwner {
  readonly name: string;
  readonly live: LiveDatabase | null;
  /** Whether its files may be merged now: no job and no upload of more than the first is at them. */
  readonly mayMerge: boolean;
}

/** Pending and kept bytes of all databases. */
export function spoolBytes(owners: readonly SpoolOwner[]): { pending: number; sent: number } {
  let pending = 0;
  let sent = 0;
  for (const { live } of owners) {
    if (live === null) continue;
    for (const file of live.pending) pending += file.sizeBytes;
    sent += live.sentBytes;
  }
  return { pending, sent };
}

/**
 * Keeps the limit, and says when captures have to stop and when they go on.
 * @param isPaused whether captures are stopped at present
 * @returns whether captures have to be stopped from here on
 */
export function enforceSpoolBudget(
  owners: readonly SpoolOwner[],
  bytesMax: number,
  isPaused: boolean,
  env: Env,
): boolean {
  let { pending, sent } = spoolBytes(owners);
  if (pending + sent > bytesMax) {
    sent = pruneAll(owners, Math.max(0, bytesMax * PRUNE_SHARE - pending), env);
    if (pending > bytesMax) pending -= mergeAll(owners, isPaused, env);
  }
  const total = pending + sent;
  const isFull = isPaused ? total > bytesMax * RESUME_SHARE : total > bytesMax;
  if (isFull !== isPaused) say(isFull, env);
  return isFull;
}

/**
 * The databases whose captures stop at the limit: those that hold more than an equal share of it, so that no
 * large or busy one stops the others; all of them at twice the limit.
 */
export function overShare<T extends SpoolOwner>(owners: readonly T[], bytesMax: number): ReadonlySet<T> {
  const { pending, sent } = spoolBytes(owners);
  if (pending + sent > HARD_FACTOR * bytesMax) return new Set(owners);
  const share = (bytesMax * RESUME_SHARE) / Math.max(1, owners.length);
  return new Set(owners.filter((owner) => spoolBytes([owner]).pending > share));
}

/** Once for all databases: it is one limit. */
function say(isFull: boolean, { log }: Env): void {
  if (isFull) {
    const whose = "of the databases that hold more than their share";
    log.warn(
      `the captured files have reached --cache-max-size; capture stops ${whose}, until some are uploaded`,
    );
  } else log.info("captured files have room again; capture goes on with a difference");
}

/** Cuts the kept files of all databases to their share of `bytesMax`. @returns what is left */
function pruneAll(owners: readonly SpoolOwner[], bytesMax: number, env: Env): number {
  const withFiles = owners.filter(({ live }) => live !== null && live.sentBytes > 0);
  const share = Math.floor(bytesMax / Math.max(1, withFiles.length));
  let left = 0;
  for (const { name, live } of withFiles) {
    if (live === null) continue;
    const folder = live.paths.spoolFolder;
    try {
      live.sentBytes = pruneSent(folder, Number.POSITIVE_INFINITY, share, env.nowMs()).bytes;
    } catch (error) {
      env.log.debug(`kept files cannot be removed: ${asWalrustError(error).message}`, { database: name });
    }
    left += live.sentBytes;
  }
  return left;
}

/** @param isSaid whether the limit was reached before: a failure was said then */
function mergeAll(owners: readonly SpoolOwner[], isSaid: boolean, env: Env): number {
  let saved = 0;
  for (const { name, live, mayMerge } of owners) {
    if (live === null || !mayMerge) continue;
    try {
      saved += mergePending(live);
    } catch (error) {
      env.log[isSaid ? "debug" : "warn"](
        `captured files could not be merged: ${asWalrustError(error).message}`,
        {
          database: name,
        },
      );
    }
  }
  return saved;
}
