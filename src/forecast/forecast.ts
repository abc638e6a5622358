/**
 * PURE: forecasts the requests of one month of replication, and the objects in the bucket. Arithmetic over
 * the rules that a watch follows; a test compares it with the real parts at work.
 *
 * Assumptions: a month has 730.5 hours. Commits come at a steady rate, and each changes random pages, so hot
 * pages make merges smaller than forecast, never larger. The database keeps its size. Restarts, retries,
 * restores and the first snapshot of a new database are left out.
 *
 * With retention, the stored bytes reach a steady state once it has run for the age of the oldest kept
 * snapshot. The history from that snapshot on stays whole, so merges of level 3 are retained as long. Without
 * retention, or without snapshots for it to keep, the stored bytes grow: the forecast then gives them at the
 * end of the first month, and the growth of each further month.
 */
import type { Config } from "../config/config.ts";
import { sentRetentionMs } from "../local/spool-cache.ts";
import { WHOLE_SIZE_MAX } from "../recovery/object/check-object.ts";
import { PROVEN_SNAPSHOTS } from "../replication/upkeep/retention-plan.ts";
import { MANIFEST_SNAPSHOTS_MAX } from "../storage/bucket/manifest.ts";
import { KEYS_PER_REQUEST_MAX } from "../storage/s3/s3-delete.ts";
import { SINGLE_PUT_SIZE_MAX } from "../storage/s3/s3-multipart.ts";
import { planParts } from "../storage/s3/s3-parts.ts";
import type { RequestCounts } from "./prices.ts";
import type { CommitRate, SteadyPace } from "./steady-pace.ts";
import {
  type DatabaseShape,
  MONTH_SECONDS,
  type SteadyStock,
  type Stock,
  steadyStock,
} from "./steady-stock.ts";

/** The most keys in the answer to one LIST: the default of S3, which walrust does not change. */
const LIST_KEYS_MAX = 1000;
/** One object in the answer to a LIST, on average. */
const LISTED_OBJECT_BYTES = 350;
const MANIFEST_FIXED_BYTES = 600;
const MANIFEST_SNAPSHOT_BYTES = 130;

/** Once an hour, per second. */
const HOURLY = 1 / 3600;

/** The purposes of requests. */
export const FORECAST_CAUSES = [
  "increments",
  "level1",
  "level2",
  "level3",
  "snapshots",
  "manifest",
  "upkeep",
] as const;

/** One purpose; "upkeep" covers expiry, retention, validation and reconciliation. */
export type ForecastCause = (typeof FORECAST_CAUSES)[number];

/** Requests and traffic of a month. */
export interface Traffic extends RequestCounts {
  readonly uploadedBytes: number;
  /** Bytes that merges and their verification, listings, retention and validation read back. */
  readonly downloadedBytes: number;
}

/** The objects in the bucket: in the steady state, or after the first month where they grow. */
export interface StoredForecast {
  readonly snapshotCount: number;
  readonly snapshotBytes: number;
  /** Level 0. */
  readonly incrementBytes: number;
  /** Levels 1 to 3. */
  readonly mergeBytes: number;
  readonly totalBytes: number;
  readonly objectCount: number;
  /** Bytes that each further month adds; 0: a steady state. */
  readonly growthBytesPerMonth: number;
  /** Time until the steady state in ms, or null where the objects always grow. */
  readonly steadyAfterMs: number | null;
}

/** One month of one database. */
export interface Forecast {
  readonly requests: RequestCounts;
  readonly uploadedBytes: number;
  readonly downloadedBytes: number;
  readonly causes: Readonly<Record<ForecastCause, Traffic>>;
  readonly stored: StoredForecast;
}

/** The settings that a forecast reads. */
export type ForecastConfig = Pick<Config, "sync" | "compaction" | "retention" | "cache">;

/** The common basis of all causes. */
interface Model extends SteadyStock {
  readonly config: ForecastConfig;
  /** Each kind of object: levels 0 to 3, then snapshots. */
  readonly stocks: readonly Stock[];
  /** Requests and bytes of one listing of all levels. */
  readonly listPages: number;
  readonly listedBytes: number;
  readonly manifestBytes: number;
}

/** Forecasts a month of one database under these options, if it is written to at this rate. */
export function forecastMonth(database: DatabaseShape, config: ForecastConfig, rate: CommitRate): Forecast {
  const model = modelOf(database, config, rate);
  const month = (perSecond: Traffic): Traffic => scaled(perSecond, MONTH_SECONDS);
  const causes: Record<ForecastCause, Traffic> = {
    increments: month(incrementTraffic(model)),
    level1: month(mergeTraffic(model, 1)),
    level2: month(mergeTraffic(model, 2)),
    level3: month(mergeTraffic(model, 3)),
    snapshots: month(putTraffic(model.pace.snapshotsPerSecond, model.snapshots.objectBytes)),
    manifest: month(manifestTraffic(model)),
    upkeep: month(upkeepTraffic(model)),
  };
  const { uploadedBytes, downloadedBytes, ...requests } = sumOf(Object.values(causes));
  return { requests, uploadedBytes, downloadedBytes, causes, stored: storedForecast(model) };
}

function modelOf(database: DatabaseShape, config: ForecastConfig, rate: CommitRate): Model {
  const steady = steadyStock(database, config, rate);
  const stocks = [...steady.levels, steady.snapshots];
  const listPages = stocks.reduce((sum, { count }) => sum + pagesOf(count), 0);
  const listedBytes = stocks.reduce((sum, { count }) => sum + count, 0) * LISTED_OBJECT_BYTES;
  const named = Math.min(steady.snapshots.count, MANIFEST_SNAPSHOTS_MAX);
  const manifestBytes = MANIFEST_FIXED_BYTES + named * MANIFEST_SNAPSHOT_BYTES;
  return { ...steady, config, stocks, listPages, listedBytes, manifestBytes };
}

function storedForecast({ levels, snapshots, stocks, reachMs }: Model): StoredForecast {
  const [incrementBytes = 0, ...mergedBytes] = levels.map(bytesOf);
  const mergeBytes = mergedBytes.reduce((sum, bytes) => sum + bytes, 0);
  const snapshotBytes = bytesOf(snapshots);
  const growthBytesPerMonth = stocks.reduce((sum, stock) => sum + stock.growthBytesPerMonth, 0);
  return {
    snapshotCount: snapshots.count,
    snapshotBytes,
    incrementBytes,
    mergeBytes,
    totalBytes: snapshotBytes + incrementBytes + mergeBytes,
    objectCount: stocks.reduce((sum, { count }) => sum + count, 0),
    growthBytesPerMonth,
    steadyAfterMs: growthBytesPerMonth > 0 ? null : Number.isFinite(reachMs) ? reachMs : 0,
  };
}

function bytesOf({ count, objectBytes }: Stock): number {
  return count * objectBytes;
}

// Traffic, per second

/**
 * After a pause, an increment is followed by a short listing, which looks for another writer; without pauses,
 * now and then by a HEAD of the newest snapshot.
 */
function incrementTraffic({ pace, levels }: Model): Traffic {
  const { capturesPerSecond, overlapChecksPerSecond, standingChecksPerSecond } = pace;
  return sumOf([
    putTraffic(capturesPerSecond, levels[0]!.objectBytes),
    {
      ...NOTHING,
      list: overlapChecksPerSecond,
      get: standingChecksPerSecond,
      downloadedBytes: overlapChecksPerSecond * 2 * LISTED_OBJECT_BYTES,
    },
  ]);
}

/**
 * A merge reads its sources, which the watch remembers without a listing, is put, and is checked: by a HEAD
 * if the store states checksums, else by a download. The forecast does not know the store, and counts the
 * bytes of a download.
 */
function mergeTraffic({ config, pace, levels }: Model, level: number): Traffic {
  const { passesPerSecond, mergesPerSecond, sourcesPerPass } = pace.merges[level]!;
  const { objectBytes } = levels[level]!;
  const sources = passesPerSecond * sourcesPerPass;
  // Increments are read from the spool while it retains them; merged objects never are.
  const cacheMs = sentRetentionMs(config.cache);
  const isLocal = level === 1 && cacheMs * passesPerSecond >= 1000;
  const fetched = isLocal ? 0 : sources;
  return sumOf([
    putTraffic(mergesPerSecond, objectBytes),
    {
      ...NOTHING,
      get: fetched + mergesPerSecond,
      downloadedBytes: fetched * levels[level - 1]!.objectBytes + mergesPerSecond * objectBytes,
    },
  ]);
}

/**
 * The manifest is rewritten from what the watch remembers after snapshots, merges above level 1, and
 * retention that deleted objects.
 */
function manifestTraffic(model: Model): Traffic {
  const { pace, manifestBytes } = model;
  const merging = pace.merges[2]!.passesPerSecond + pace.merges[3]!.passesPerSecond;
  const afterMerges = Math.min(merging, pace.capturesPerSecond);
  const rebuilt = afterMerges + deletingRetentions(model);
  const count = rebuilt + pace.snapshotsPerSecond;
  return {
    put: count,
    list: 0,
    // Header and metadata of the newest object, which the watch knows after a snapshot.
    get: rebuilt * 2,
    delete: 0,
    uploadedBytes: count * manifestBytes,
    downloadedBytes: 0,
  };
}

/**
 * Retention that deletes: at most once for each snapshot. Of several snapshots in an hour, the newest two are
 * retained until the next hour has two, so the first snapshot of an hour makes none of its own hour expire.
 */
function deletingRetentions({ pace, config }: Pick<Model, "pace" | "config">): number {
  const { retentionsPerSecond, snapshotsPerSecond } = pace;
  const most = Math.min(retentionsPerSecond, snapshotsPerSecond);
  if (config.retention.hourly === 0 || snapshotsPerSecond <= HOURLY) return most;
  return Math.min(most, Math.max(HOURLY, snapshotsPerSecond - HOURLY));
}

/** Snapshots that retention reads back before it deletes older ones: each of the newest two, once. */
function provenSnapshots({ retentionsPerSecond, snapshotsPerSecond }: SteadyPace): number {
  return Math.min(snapshotsPerSecond, retentionsPerSecond * PROVEN_SNAPSHOTS);
}

function upkeepTraffic(model: Model): Traffic {
  const { pace, levels, snapshots, stocks, listPages, listedBytes } = model;
  const { expiryChecksPerSecond, retentionsPerSecond, snapshotsPerSecond, validationsPerSecond } = pace;
  const { reconcilesPerSecond } = pace;
  const expired = levels.reduce((sum, { expiredPerSecond }) => sum + expiredPerSecond, 0);
  // Retention reads the time of each snapshot, once.
  const dated = retentionsPerSecond === 0 ? 0 : snapshotsPerSecond;
  // Right before sources expire, a HEAD shows that their merge still stands.
  const confirmed = pace.merges.reduce((sum, { mergesPerSecond }, level) => {
    return sum + (level > 0 && levels[level - 1]!.expiredPerSecond > 0 ? mergesPerSecond : 0);
  }, 0);
  const validated = stocks.reduce((sum, { count, objectBytes }) => {
    return sum + count * (objectBytes <= WHOLE_SIZE_MAX ? 1 : 2);
  }, 1);
  const proven = provenSnapshots(pace);
  // A deletion relies on the newest two snapshots and the oldest. A HEAD shows that those read back earlier
  // still stand.
  const standing = Math.max(0, deletingRetentions(model) * (PROVEN_SNAPSHOTS + 1) - proven);
  const listings = deletingRetentions(model) + validationsPerSecond + reconcilesPerSecond;
  return {
    put: 0,
    // Reconciliation also lists unfinished uploads and reads the writer of the newest object.
    list: listings * listPages + validationsPerSecond + reconcilesPerSecond,
    get: dated + proven * 2 + standing + confirmed + validationsPerSecond * validated + reconcilesPerSecond,
    delete: deletesPerSecond(expiryChecksPerSecond, expired) + deletingRetentions(model),
    uploadedBytes: 0,
    downloadedBytes: listings * listedBytes + proven * snapshots.objectBytes,
  };
}

function deletesPerSecond(checksPerSecond: number, expiredPerSecond: number): number {
  const checks = Math.min(checksPerSecond, expiredPerSecond);
  return checks === 0 ? 0 : checks * Math.ceil(expiredPerSecond / checks / KEYS_PER_REQUEST_MAX);
}

/** Puts of objects: one request each, or parts after two HEADs that check whether the key is free. */
function putTraffic(perSecond: number, objectBytes: number): Traffic {
  const isMultipart = objectBytes > SINGLE_PUT_SIZE_MAX;
  // One request more begins the upload, and one completes it.
  const puts = isMultipart ? planParts(Math.ceil(objectBytes)).length + 2 : 1;
  const heads = isMultipart ? 2 : 0;
  const uploadedBytes = perSecond * objectBytes;
  return { ...NOTHING, put: perSecond * puts, get: perSecond * heads, uploadedBytes };
}

const NOTHING: Traffic = { put: 0, list: 0, get: 0, delete: 0, uploadedBytes: 0, downloadedBytes: 0 };

function sumOf(parts: readonly Traffic[]): Traffic {
  return parts.reduce(
    (sum, part) => ({
      put: sum.put + part.put,
      list: sum.list + part.list,
      get: sum.get + part.get,
      delete: sum.delete + part.delete,
      uploadedBytes: sum.uploadedBytes + part.uploadedBytes,
      downloadedBytes: sum.downloadedBytes + part.downloadedBytes,
    }),
    NOTHING,
  );
}

function scaled(traffic: Traffic, factor: number): Traffic {
  const { put, list, get, uploadedBytes, downloadedBytes } = traffic;
  return {
    put: put * factor,
    list: list * factor,
    get: get * factor,
    delete: traffic.delete * factor,
    uploadedBytes: uploadedBytes * factor,
    downloadedBytes: downloadedBytes * factor,
  };
}

function pagesOf(count: number): number {
  return Math.max(1, Math.ceil(count / LIST_KEYS_MAX));
}
