/**
 * PURE: the objects in a bucket after a database was written to at a steady rate for long: how many of each
 * level, how large, and which grow without end. The rules are those of compaction-plan.ts and
 * retention-plan.ts, in closed form:
 *
 * - An object of levels 0 to 2 expires when a higher one has covered it for its lifetime, and is deleted at
 *   the next check. An object of the highest level in use stays until retention.
 * - Retention keeps the history whole from the oldest kept snapshot on, and deletes the objects before it. If
 *   only the first snapshot is ever taken, retention deletes nothing.
 * - Objects that grow without end are counted after one month, with the growth of each further month.
 */
import type { DatabaseConfig } from "../config/config.ts";
import { LTX_PAGE_HEADER_SIZE } from "../format/ltx.ts";
import { lz4CompressBound } from "../format/lz4.ts";
import { PAGE_SIZE_MAX, PAGE_SIZE_MIN } from "../format/types.ts";
import { LTX_SIZE_MIN } from "../recovery/object/object-size.ts";
import { EXPIRY_INTERVAL_MS } from "../replication/upkeep/maintenance.ts";
import { keptSnapshots } from "./kept-snapshots.ts";
import { type CommitRate, capturesPerSecond, type SteadyPace, steadyPace } from "./steady-pace.ts";

/** Hours of a month: a twelfth of 365.25 days. */
export const MONTH_HOURS = 730.5;

/** Seconds of a month. */
export const MONTH_SECONDS = MONTH_HOURS * 3600;

/** An expired object is deleted at the next check: half an interval later, on average. */
const EXPIRY_DELAY_MS = EXPIRY_INTERVAL_MS / 2;
/** Bytes of an LTX file for each page beside its block: header, size of the block, about 8 in the index. */
const LTX_PAGE_BYTES = LTX_PAGE_HEADER_SIZE + 4 + 8;
/** The largest database that SQLite allows. */
const DATABASE_BYTES_MAX = 2 ** 48;
const COMMITS_PER_SECOND_MAX = 1e6;
/** The most that LZ4 can make of each byte: of the smallest page, if it cannot be compressed. */
const RATIO_MAX = lz4CompressBound(PAGE_SIZE_MIN) / PAGE_SIZE_MIN;

/** The size and kind of one database. */
export interface DatabaseShape {
  readonly databaseBytes: number;
  readonly pageSizeBytes: number;
  /** Bytes after compression for each byte before. */
  readonly compressionRatio: number;
}

/** The objects of one kind in the bucket. */
export interface Stock {
  readonly count: number;
  readonly objectBytes: number;
  /** Bytes that each further month adds for good. */
  readonly growthBytesPerMonth: number;
  /** Objects that expire per second, as fast as new ones are put. */
  readonly expiredPerSecond: number;
}

/** All objects in the bucket, and the rates at which they are put. */
export interface SteadyStock {
  readonly pace: SteadyPace;
  readonly snapshots: Stock;
  /** By level, 0 to 3. */
  readonly levels: readonly Stock[];
  /** Age in ms at which retention deletes, on average; infinity: it deletes nothing. */
  readonly reachMs: number;
}

/** The objects in the bucket in the long run. Figures out of range are clamped. */
export function steadyStock(database: DatabaseShape, config: DatabaseConfig, given: CommitRate): SteadyStock {
  const pageSizeBytes = clamp(database.pageSizeBytes, PAGE_SIZE_MIN, PAGE_SIZE_MAX);
  const pageCount = Math.max(1, clamp(database.databaseBytes, 0, DATABASE_BYTES_MAX) / pageSizeBytes);
  const ratio = clamp(database.compressionRatio, 0, RATIO_MAX);
  const rate: CommitRate = {
    commitsPerSecond: clamp(given.commitsPerSecond, 0, COMMITS_PER_SECOND_MAX),
    pagesPerCommit: clamp(given.pagesPerCommit, 1, pageCount),
  };
  const ltxBytes = (pages: number): number =>
    LTX_SIZE_MIN + Math.max(1, pages) * (LTX_PAGE_BYTES + ratio * pageSizeBytes);
  /** Size of an object that holds the changes since the last of its kind. */
  const objectBytes = (objectsPerSecond: number): number =>
    objectsPerSecond === 0
      ? 0
      : ltxBytes(changedPages(rate.pagesPerCommit, rate.commitsPerSecond / objectsPerSecond, pageCount));
  const incrementBytes = objectBytes(capturesPerSecond(config.sync, rate));
  const pace = steadyPace(config, rate, incrementBytes);
  const sizes = pace.merges.map(({ mergesPerSecond }, level) =>
    level === 0 ? incrementBytes : objectBytes(mergesPerSecond),
  );
  const reachMs = retentionReachMs(config, pace);
  const levels = sizes.map((bytes, level) => stockOfLevel(config, pace, level, bytes, reachMs));
  return { pace, levels, snapshots: stockOfSnapshots(config, pace, ltxBytes(pageCount)), reachMs };
}

/** Distinct pages that `commits` commits change, each `pagesPerCommit` of `pageCount` at random. */
function changedPages(pagesPerCommit: number, commits: number, pageCount: number): number {
  const share = Math.min(1, pagesPerCommit / pageCount);
  return share === 1 ? pageCount : pageCount * -Math.expm1(commits * Math.log1p(-share));
}

/** Age at which retention deletes, on average. Infinity: it does not run, or has only the first snapshot. */
function retentionReachMs(config: DatabaseConfig, pace: SteadyPace): number {
  const { snapshotsPerSecond, retentionsPerSecond } = pace;
  if (retentionsPerSecond === 0 || snapshotsPerSecond === 0) {
    return Number.POSITIVE_INFINITY;
  }
  const { reachMs } = keptSnapshots(config.retention, 1000 / snapshotsPerSecond);
  return reachMs + 500 / retentionsPerSecond;
}

function stockOfSnapshots(config: DatabaseConfig, pace: SteadyPace, objectBytes: number): Stock {
  const { snapshotsPerSecond, retentionsPerSecond } = pace;
  if (retentionsPerSecond === 0 || snapshotsPerSecond === 0) {
    const growing = snapshotsPerSecond * MONTH_SECONDS;
    const growthBytesPerMonth = growing * objectBytes;
    return { count: 1 + growing, objectBytes, growthBytesPerMonth, expiredPerSecond: 0 };
  }
  const { count } = keptSnapshots(config.retention, 1000 / snapshotsPerSecond);
  // Snapshots that were taken since retention last ran.
  const newer = Math.max(0, snapshotsPerSecond / retentionsPerSecond - 1) / 2;
  return {
    count: count + newer,
    objectBytes,
    growthBytesPerMonth: 0,
    expiredPerSecond: snapshotsPerSecond,
  };
}

function stockOfLevel(
  config: DatabaseConfig,
  pace: SteadyPace,
  level: number,
  objectBytes: number,
  reachMs: number,
): Stock {
  const madePerSecond = level === 0 ? pace.capturesPerSecond : pace.merges[level]!.mergesPerSecond;
  if (madePerSecond === 0) return { count: 0, objectBytes, growthBytesPerMonth: 0, expiredPerSecond: 0 };
  const above = pace.merges[level + 1];
  const { compaction } = config;
  let lifeMs = Number.POSITIVE_INFINITY;
  if (compaction.enabled && above !== undefined && above.passesPerSecond > 0) {
    lifeMs = 500 / above.passesPerSecond + compaction.lifetimesMs[level]! + EXPIRY_DELAY_MS;
  }
  const endMs = Math.min(lifeMs, reachMs);
  if (endMs === Number.POSITIVE_INFINITY) {
    const count = madePerSecond * MONTH_SECONDS;
    return { count, objectBytes, growthBytesPerMonth: count * objectBytes, expiredPerSecond: 0 };
  }
  const preserved = level === 0 && compaction.enabled ? Math.max(1, compaction.preserveRecent) : 1;
  const atLeast = Math.min(preserved, (madePerSecond * reachMs) / 1000);
  const count = Math.max((madePerSecond * endMs) / 1000, atLeast);
  const expiredPerSecond = lifeMs < reachMs ? madePerSecond : 0;
  return { count, objectBytes, growthBytesPerMonth: 0, expiredPerSecond };
}

function clamp(value: number, min: number, max: number): number {
  return value >= min ? Math.min(value, max) : min;
}
