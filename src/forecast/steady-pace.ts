/**
 * PURE: how often each step of replication happens to a database that is written to at a steady rate. The
 * rules are those of the watch, in closed form:
 *
 * - A capture happens at most every `walSyncIntervalMs` and at most once a poll. A change is captured at once
 *   if the last capture is that long ago, so there are as many captures as commits until commits come faster.
 * - A merge into a level happens when its interval has passed and something was uploaded meanwhile, earlier
 *   if too much waits (compaction-plan.ts). A merge takes at most `MERGE_OBJECTS_MAX` objects.
 * - A snapshot follows the first of its triggers, and none without a change (snapshot-schedule.ts). "On idle"
 *   triggers only if commits are further apart than its time: a steady rate has no nights.
 */
import type { CompactionConfig, DatabaseConfig, SyncConfig } from "../config/config.ts";
import { HIGHEST_LEVEL, MERGE_OBJECTS_MAX } from "../replication/upkeep/compaction-plan.ts";
import { EXPIRY_INTERVAL_MS } from "../replication/upkeep/maintenance.ts";
import { RECONCILE_INTERVAL_MAX_MS, RECONCILE_INTERVAL_MIN_MS } from "../replication/upkeep/reconcile.ts";
import { PAUSE_MS } from "../replication/upload/overlap-check.ts";
import { STANDING_INTERVAL_MAX_MS, STANDING_INTERVAL_MIN_MS } from "../replication/upload/standing-check.ts";
import { ACTIVE_TICK_MS } from "../replication/watch/wake-ups.ts";

/** Polls of an active database. */
const POLLS_PER_SECOND = 1000 / ACTIVE_TICK_MS;
/** Reconciliations come on schedule, also without a change. */
const RECONCILES_PER_SECOND = 2000 / (RECONCILE_INTERVAL_MIN_MS + RECONCILE_INTERVAL_MAX_MS);
/** Beside uploads without pauses. */
const STANDING_CHECKS_PER_SECOND = 2000 / (STANDING_INTERVAL_MIN_MS + STANDING_INTERVAL_MAX_MS);
/** The error that floating point may add to a number of objects. */
const ROUNDING = 1e-9;

/** The rate at which a database is written to. */
export interface CommitRate {
  readonly commitsPerSecond: number;
  readonly pagesPerCommit: number;
}

/** Merges into one level. */
export interface MergePace {
  /** Checks of the level below that find new objects. */
  readonly passesPerSecond: number;
  /** Objects that are put. */
  readonly mergesPerSecond: number;
  /** Objects of the level below that a pass takes. */
  readonly sourcesPerPass: number;
}

/** The rates of all steps, per second; 0: never. */
export interface SteadyPace {
  readonly capturesPerSecond: number;
  /** Checks for another writer, after a pause in the uploads (overlap-check.ts). */
  readonly overlapChecksPerSecond: number;
  /** Checks that the newest snapshot is still there; after a pause the other check takes its place. */
  readonly standingChecksPerSecond: number;
  /** By level; index 0 is not used. */
  readonly merges: readonly MergePace[];
  readonly snapshotsPerSecond: number;
  readonly expiryChecksPerSecond: number;
  readonly retentionsPerSecond: number;
  readonly validationsPerSecond: number;
  /** Checks that the listed objects lead to the newest acknowledged TXID (reconcile.ts). */
  readonly reconcilesPerSecond: number;
}

const NO_MERGES: MergePace = {
  passesPerSecond: 0,
  mergesPerSecond: 0,
  sourcesPerPass: 0,
};

/**
 * The rates of all steps under these options.
 * @param bytesPerCapture size of an increment, for the trigger by size
 */
export function steadyPace(config: DatabaseConfig, rate: CommitRate, bytesPerCapture: number): SteadyPace {
  const { sync, compaction } = config;
  const captures = capturesPerSecond(sync, rate);
  const snapshots = snapshotsPerSecond(sync, rate, captures);
  const merges = mergePaces(compaction, captures, bytesPerCapture);
  const afterSnapshot = sync.compactAfterSnapshot ? snapshots : 0;
  const isPausing = captures > 0 && 1000 / captures >= PAUSE_MS;
  const madeLevels = merges.filter(({ mergesPerSecond }) => mergesPerSecond > 0).length;
  return {
    capturesPerSecond: captures,
    overlapChecksPerSecond: isPausing ? captures : 0,
    standingChecksPerSecond: isPausing ? 0 : Math.min(captures, STANDING_CHECKS_PER_SECOND),
    merges,
    snapshotsPerSecond: snapshots,
    // One check some minutes after a merge, and one when the lifetime of each merged level ends.
    expiryChecksPerSecond:
      madeLevels === 0 ? 0 : Math.min(1000 / EXPIRY_INTERVAL_MS, captures * (1 + madeLevels)),
    retentionsPerSecond: Math.max(afterSnapshot, optionalPerSecond(sync.compactIntervalMs)),
    validationsPerSecond: optionalPerSecond(sync.validationIntervalMs),
    reconcilesPerSecond: RECONCILES_PER_SECOND,
  };
}

/** Captures per second, of commits at equal distances. */
export function capturesPerSecond(sync: SyncConfig, rate: CommitRate): number {
  const most = Math.min(POLLS_PER_SECOND, perSecond(sync.walSyncIntervalMs));
  return Math.min(rate.commitsPerSecond, most);
}

function mergePaces(compaction: CompactionConfig, captures: number, bytesPerCapture: number): MergePace[] {
  const paces: MergePace[] = [NO_MERGES];
  let below = captures;
  for (let level = 1; level <= HIGHEST_LEVEL; level++) {
    const urgent = level === 1 ? urgentPerSecond(compaction, captures, bytesPerCapture) : 0;
    const intervalMs = compaction.levelsMs[level - 1] ?? Number.POSITIVE_INFINITY;
    // A level with an infinite interval is never made.
    const isMade = compaction.enabled && Number.isFinite(intervalMs);
    const due = isMade ? Math.max(perSecond(intervalMs), urgent) : 0;
    const passesPerSecond = Math.min(due, captures, below);
    const sourcesPerPass = passesPerSecond === 0 ? 0 : below / passesPerSecond;
    const mergesPerPass = Math.ceil(sourcesPerPass / MERGE_OBJECTS_MAX - ROUNDING);
    below = passesPerSecond * mergesPerPass;
    paces.push({ passesPerSecond, mergesPerSecond: below, sourcesPerPass });
  }
  return paces;
}

/** How often waiting objects of level 0 start a compaction before its interval ends. */
function urgentPerSecond(compaction: CompactionConfig, captures: number, bytesPerCapture: number): number {
  const { threshold, sizeBytes, maxIncrementalAgeMs } = compaction;
  const byCount = threshold > 0 ? captures / threshold : 0;
  const bySize = sizeBytes > 0 ? (captures * bytesPerCapture) / sizeBytes : 0;
  return Math.max(byCount, bySize, optionalPerSecond(maxIncrementalAgeMs));
}

function snapshotsPerSecond(sync: SyncConfig, rate: CommitRate, captures: number): number {
  if (captures === 0) return 0;
  const { snapshotIntervalMs, maxChanges, maxIntervalMs, onIdleMs } = sync;
  const gapMs = 1000 / captures;
  const framesPerSecond = rate.commitsPerSecond * rate.pagesPerCommit;
  const due = Math.max(
    optionalPerSecond(snapshotIntervalMs),
    maxChanges > 0 ? framesPerSecond / maxChanges : 0,
    // The interval begins with the first change after the last snapshot.
    maxIntervalMs > 0 ? perSecond(gapMs + maxIntervalMs) : 0,
    onIdleMs > 0 && gapMs > onIdleMs ? captures : 0,
  );
  return Math.min(due, captures);
}

/** The rate of an interval; 0 or undefined: never. */
function optionalPerSecond(intervalMs: number): number {
  return intervalMs <= 0 ? 0 : perSecond(intervalMs);
}

/** The rate of an interval, at most once a poll. An infinite interval never ends. */
function perSecond(intervalMs: number): number {
  return intervalMs > 0 ? Math.min(POLLS_PER_SECOND, 1000 / intervalMs) : POLLS_PER_SECOND;
}
