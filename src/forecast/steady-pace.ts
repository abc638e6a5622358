/**
 * How often things happen to a database that is written to at a steady rate: captures, merges into each
 * level, snapshots, looks for what has expired. Pure; the rules are those of the watch, in closed form:
 *
 * - A capture at most every `walSyncIntervalMs` and at most at every look; a change is captured at once if
 *   the last capture is that long ago, so captures are as many as commits until they come closer together.
 * - A level is merged into when its interval has passed and something was uploaded since, earlier if what
 *   waits is too much (compaction-plan.ts); a merge takes at most 128 objects.
 * - A snapshot follows the first of its triggers, and none without a change (snapshot-schedule.ts). "On idle"
 *   comes about only where commits are further apart than that: the rate is taken as steady, without nights.
 */

import type { DatabaseOptions } from "../replication/context/database-options.ts";
import type { CompactionPolicy, SnapshotPolicy } from "../replication/context/policies.ts";
import { HIGHEST_LEVEL, MERGE_OBJECTS_MAX } from "../replication/upkeep/compaction-plan.ts";
import { EXPIRY_INTERVAL_MS } from "../replication/upkeep/maintenance.ts";
import { RECONCILE_INTERVAL_MAX_MS, RECONCILE_INTERVAL_MIN_MS } from "../replication/upkeep/reconcile.ts";
import { ACTIVE_TICK_MS } from "../replication/watch/watch-loop.ts";

/** Looks at an active database. */
const LOOKS_PER_SECOND = 1000 / ACTIVE_TICK_MS;
/** Reconciliations come on schedule, also without a change. */
const RECONCILES_PER_SECOND = 2000 / (RECONCILE_INTERVAL_MIN_MS + RECONCILE_INTERVAL_MAX_MS);
/** What floating point may add to a number of objects. */
const ROUNDING = 1e-9;

/** How a database is written to. */
export interface CommitRate {
  readonly commitsPerSecond: number;
  readonly pagesPerCommit: number;
}

/** Merges into one level. */
export interface MergePace {
  /** Looks at the level below: each lists it. */
  readonly looksPerSecond: number;
  /** Looks that find something new. */
  readonly passesPerSecond: number;
  /** Objects that are made. */
  readonly mergesPerSecond: number;
  /** Objects of the level below that a pass takes. */
  readonly sourcesPerPass: number;
}

/** How often things happen, all per second; 0: never. */
export interface SteadyPace {
  readonly capturesPerSecond: number;
  /** By level; index 0 is not used. */
  readonly merges: readonly MergePace[];
  readonly snapshotsPerSecond: number;
  readonly expiryLooksPerSecond: number;
  readonly retentionsPerSecond: number;
  readonly validationsPerSecond: number;
  /** Looks whether what is listed leads to what was acknowledged. */
  readonly reconcilesPerSecond: number;
}

const NO_MERGES: MergePace = {
  looksPerSecond: 0,
  passesPerSecond: 0,
  mergesPerSecond: 0,
  sourcesPerPass: 0,
};

/**
 * The pace of everything under these options.
 * @param bytesPerCapture what an increment holds, for the trigger by size
 */
export function steadyPace(options: DatabaseOptions, rate: CommitRate, bytesPerCapture: number): SteadyPace {
  const { maintenance } = options;
  const captures = capturesPerSecond(options, rate);
  const snapshots = maintenance === undefined ? 0 : snapshotsPerSecond(maintenance.snapshots, rate, captures);
  const compaction = maintenance?.compaction ?? null;
  const merges = mergePaces(compaction, captures, bytesPerCapture);
  const afterSnapshot = maintenance?.retainAfterSnapshot === true ? snapshots : 0;
  const madeLevels = merges.filter(({ mergesPerSecond }) => mergesPerSecond > 0).length;
  return {
    capturesPerSecond: captures,
    merges,
    snapshotsPerSecond: snapshots,
    // One some minutes after a merge, and one when each of the lifetimes that it began ends.
    expiryLooksPerSecond:
      madeLevels === 0 ? 0 : Math.min(1000 / EXPIRY_INTERVAL_MS, captures * (1 + madeLevels)),
    retentionsPerSecond: Math.max(afterSnapshot, optionalPerSecond(maintenance?.retentionIntervalMs)),
    validationsPerSecond: optionalPerSecond(options.validationIntervalMs),
    reconcilesPerSecond: RECONCILES_PER_SECOND,
  };
}

/** Captures of commits that come at equal distances. */
export function capturesPerSecond(options: DatabaseOptions, rate: CommitRate): number {
  const most = Math.min(LOOKS_PER_SECOND, perSecond(options.walSyncIntervalMs));
  return Math.min(rate.commitsPerSecond, most);
}

function mergePaces(
  compaction: CompactionPolicy | null,
  captures: number,
  bytesPerCapture: number,
): MergePace[] {
  const paces: MergePace[] = [NO_MERGES];
  let below = captures;
  for (let level = 1; level <= HIGHEST_LEVEL; level++) {
    const urgent =
      level === 1 && compaction !== null ? urgentPerSecond(compaction, captures, bytesPerCapture) : 0;
    const intervalMs = compaction?.intervalsMs[level - 1] ?? Number.POSITIVE_INFINITY;
    // An infinite interval: this level is not made, whatever waits.
    const due = Number.isFinite(intervalMs) ? Math.max(perSecond(intervalMs), urgent) : 0;
    const looksPerSecond = Math.min(due, captures);
    const passesPerSecond = Math.min(looksPerSecond, below);
    const sourcesPerPass = passesPerSecond === 0 ? 0 : below / passesPerSecond;
    const mergesPerPass = Math.ceil(sourcesPerPass / MERGE_OBJECTS_MAX - ROUNDING);
    below = passesPerSecond * mergesPerPass;
    paces.push({ looksPerSecond, passesPerSecond, mergesPerSecond: below, sourcesPerPass });
  }
  return paces;
}

/** How often what waits on level 0 starts a compaction before its time. */
function urgentPerSecond(compaction: CompactionPolicy, captures: number, bytesPerCapture: number): number {
  const { threshold, sizeBytes, maxIncrementalAgeMs } = compaction;
  const byCount = threshold > 0 ? captures / threshold : 0;
  const bySize = sizeBytes > 0 ? (captures * bytesPerCapture) / sizeBytes : 0;
  return Math.max(byCount, bySize, optionalPerSecond(maxIncrementalAgeMs));
}

function snapshotsPerSecond(policy: SnapshotPolicy, rate: CommitRate, captures: number): number {
  if (captures === 0) return 0;
  const { intervalMs, maxChanges, maxIntervalMs, onIdleMs } = policy;
  const gapMs = 1000 / captures;
  const framesPerSecond = rate.commitsPerSecond * rate.pagesPerCommit;
  const due = Math.max(
    optionalPerSecond(intervalMs),
    maxChanges > 0 ? framesPerSecond / maxChanges : 0,
    // It begins with the first change after the last snapshot.
    maxIntervalMs > 0 ? perSecond(gapMs + maxIntervalMs) : 0,
    onIdleMs > 0 && gapMs > onIdleMs ? captures : 0,
  );
  return Math.min(due, captures);
}

/** How often something with an interval comes about, where 0 or nothing stands for never. */
function optionalPerSecond(intervalMs: number | undefined): number {
  return intervalMs === undefined || intervalMs <= 0 ? 0 : perSecond(intervalMs);
}

/** At most at every look; an infinite interval never ends. */
function perSecond(intervalMs: number): number {
  return intervalMs > 0 ? Math.min(LOOKS_PER_SECOND, 1000 / intervalMs) : LOOKS_PER_SECOND;
}
