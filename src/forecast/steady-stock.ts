/**
 * What lies in a bucket when a database has been written to at a steady rate for long: how many objects of
 * each level, how large they are, and what grows without end. Pure; the rules are those of compaction-plan.ts
 * and retention.ts, in closed form:
 *
 * - An object of levels 0 to 2 goes when a higher one has covered it for its lifetime, at the next look; an
 *   object of the highest level that is made stays until retention.
 * - Retention keeps the history whole from the oldest kept snapshot on, and deletes what lies before it. It
 *   deletes nothing where no snapshots are taken but the first.
 * - What has no end is told as it is after one month, with what each month adds.
 */

import { LTX_PAGE_HEADER_SIZE } from "../format/ltx.ts";
import { lz4CompressBound } from "../format/lz4.ts";
import { PAGE_SIZE_MAX, PAGE_SIZE_MIN } from "../format/types.ts";
import { LTX_SIZE_MIN } from "../recovery/object/object-size.ts";
import type { DatabaseOptions } from "../replication/context/database-options.ts";
import type { MaintenanceOptions } from "../replication/context/policies.ts";
import { EXPIRY_INTERVAL_MS } from "../replication/upkeep/maintenance.ts";
import { keptSnapshots } from "./kept-snapshots.ts";
import { type CommitRate, capturesPerSecond, type SteadyPace, steadyPace } from "./steady-pace.ts";

/** Hours of the month that is reckoned with: a year of 365.25 days, by twelve. */
export const MONTH_HOURS = 730.5;

/** Seconds of that month. */
export const MONTH_SECONDS = MONTH_HOURS * 3600;

/** An expired object goes at the next look for expired ones: half an interval later, on average. */
const EXPIRY_DELAY_MS = EXPIRY_INTERVAL_MS / 2;
/** Bytes of an LTX file for each page beside its block: header, size of the block, about 8 in the index. */
const LTX_PAGE_BYTES = LTX_PAGE_HEADER_SIZE + 4 + 8;
/** The largest database that SQLite allows. */
const DATABASE_BYTES_MAX = 2 ** 48;
const COMMITS_PER_SECOND_MAX = 1e6;
/** The most that LZ4 can make of each byte: of the smallest page, if it cannot be compressed. */
const RATIO_MAX = lz4CompressBound(PAGE_SIZE_MIN) / PAGE_SIZE_MIN;

/** A database, as far as the forecast needs it. */
export interface DatabaseShape {
  readonly databaseBytes: number;
  readonly pageSizeBytes: number;
  /** Bytes after compression for each byte before. */
  readonly compressionRatio: number;
}

/** Objects of a kind that lie in the bucket, and what is added to them for good. */
export interface Stock {
  readonly count: number;
  readonly objectBytes: number;
  readonly growthBytesPerMonth: number;
  /** Objects that are deleted as fast as others are made, per second. */
  readonly expiredPerSecond: number;
}

/** Everything that lies in the bucket, and the pace at which it comes there. */
export interface SteadyStock {
  readonly pace: SteadyPace;
  readonly snapshots: Stock;
  /** By level, 0 to 3. */
  readonly levels: readonly Stock[];
  /** How far back retention lets anything reach, on average; infinity: it ends nothing. */
  readonly reachMs: number;
}

/** What lies in the bucket in the long run. Figures out of range are taken for the nearest sane ones. */
export function steadyStock(
  database: DatabaseShape,
  options: DatabaseOptions,
  given: CommitRate,
): SteadyStock {
  const pageSizeBytes = clamp(database.pageSizeBytes, PAGE_SIZE_MIN, PAGE_SIZE_MAX);
  const pageCount = Math.max(1, clamp(database.databaseBytes, 0, DATABASE_BYTES_MAX) / pageSizeBytes);
  const ratio = clamp(database.compressionRatio, 0, RATIO_MAX);
  const rate: CommitRate = {
    commitsPerSecond: clamp(given.commitsPerSecond, 0, COMMITS_PER_SECOND_MAX),
    pagesPerCommit: clamp(given.pagesPerCommit, 1, pageCount),
  };
  const ltxBytes = (pages: number): number =>
    LTX_SIZE_MIN + Math.max(1, pages) * (LTX_PAGE_BYTES + ratio * pageSizeBytes);
  /** An object that holds what changes between two of its kind. */
  const objectBytes = (objectsPerSecond: number): number =>
    objectsPerSecond === 0
      ? 0
      : ltxBytes(changedPages(rate.pagesPerCommit, rate.commitsPerSecond / objectsPerSecond, pageCount));
  const incrementBytes = objectBytes(capturesPerSecond(options, rate));
  const pace = steadyPace(options, rate, incrementBytes);
  const sizes = pace.merges.map(({ mergesPerSecond }, level) =>
    level === 0 ? incrementBytes : objectBytes(mergesPerSecond),
  );
  const { maintenance } = options;
  const reachMs = retentionReachMs(maintenance, pace);
  const levels = sizes.map((bytes, level) => stockOfLevel(maintenance, pace, level, bytes, reachMs));
  return { pace, levels, snapshots: stockOfSnapshots(maintenance, pace, ltxBytes(pageCount)), reachMs };
}

/** Different pages that `commits` commits change of `pageCount`, each `pagesPerCommit` at random. */
function changedPages(pagesPerCommit: number, commits: number, pageCount: number): number {
  const share = Math.min(1, pagesPerCommit / pageCount);
  return share === 1 ? pageCount : pageCount * -Math.expm1(commits * Math.log1p(-share));
}

/**
 * How far back retention lets anything reach, on average, or infinity: it is not applied, or has no snapshots
 * to go by but the first.
 */
function retentionReachMs(maintenance: MaintenanceOptions | undefined, pace: SteadyPace): number {
  const { snapshotsPerSecond, retentionsPerSecond } = pace;
  if (maintenance === undefined || retentionsPerSecond === 0 || snapshotsPerSecond === 0) {
    return Number.POSITIVE_INFINITY;
  }
  const { reachMs } = keptSnapshots(maintenance.retention, 1000 / snapshotsPerSecond);
  return reachMs + 500 / retentionsPerSecond;
}

function stockOfSnapshots(
  maintenance: MaintenanceOptions | undefined,
  pace: SteadyPace,
  objectBytes: number,
): Stock {
  const { snapshotsPerSecond, retentionsPerSecond } = pace;
  if (maintenance === undefined || retentionsPerSecond === 0 || snapshotsPerSecond === 0) {
    const growing = snapshotsPerSecond * MONTH_SECONDS;
    const growthBytesPerMonth = growing * objectBytes;
    return { count: 1 + growing, objectBytes, growthBytesPerMonth, expiredPerSecond: 0 };
  }
  const { count } = keptSnapshots(maintenance.retention, 1000 / snapshotsPerSecond);
  // Those that were taken since retention was applied last.
  const newer = Math.max(0, snapshotsPerSecond / retentionsPerSecond - 1) / 2;
  return {
    count: count + newer,
    objectBytes,
    growthBytesPerMonth: 0,
    expiredPerSecond: snapshotsPerSecond,
  };
}

function stockOfLevel(
  maintenance: MaintenanceOptions | undefined,
  pace: SteadyPace,
  level: number,
  objectBytes: number,
  reachMs: number,
): Stock {
  const madePerSecond = level === 0 ? pace.capturesPerSecond : pace.merges[level]!.mergesPerSecond;
  if (madePerSecond === 0) return { count: 0, objectBytes, growthBytesPerMonth: 0, expiredPerSecond: 0 };
  const above = pace.merges[level + 1];
  const compaction = maintenance?.compaction ?? null;
  let lifeMs = Number.POSITIVE_INFINITY;
  if (compaction !== null && above !== undefined && above.passesPerSecond > 0) {
    lifeMs = 500 / above.passesPerSecond + compaction.lifetimesMs[level]! + EXPIRY_DELAY_MS;
  }
  const endMs = Math.min(lifeMs, reachMs);
  if (endMs === Number.POSITIVE_INFINITY) {
    const count = madePerSecond * MONTH_SECONDS;
    return { count, objectBytes, growthBytesPerMonth: count * objectBytes, expiredPerSecond: 0 };
  }
  const preserved = level === 0 ? Math.max(1, compaction?.preserveRecent ?? 0) : 1;
  const atLeast = Math.min(preserved, (madePerSecond * reachMs) / 1000);
  const count = Math.max((madePerSecond * endMs) / 1000, atLeast);
  const expiredPerSecond = lifeMs < reachMs ? madePerSecond : 0;
  return { count, objectBytes, growthBytesPerMonth: 0, expiredPerSecond };
}

function clamp(value: number, min: number, max: number): number {
  return value >= min ? Math.min(value, max) : min;
}
