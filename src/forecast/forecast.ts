/**
 * The forecast: which requests a month of replication makes, and what lies in the bucket in the end. Pure
 * arithmetic over the rules that the watch follows; a test holds it against the real parts at work.
 *
 * A month is 730.5 hours (a year of 365.25 days, by twelve). Commits come at a steady rate, and each changes
 * pages at random: hot pages make merges smaller than foretold, never larger. The size of the database stays
 * as it is. Restarts, retries and restores are not in it, nor the first snapshot of a new database.
 *
 * Where retention is applied, what is stored reaches a steady state after as long as the oldest kept snapshot
 * goes back. From there on the history stays whole, so that merges of level 3 are kept as long as it. Where
 * retention is not applied, or has no snapshots to go by, what is stored grows: the figures are then those at
 * the end of the first month, with the growth beside them.
 */

import { WHOLE_SIZE_MAX } from "../recovery/verify/verify-object.ts";
import type { DatabaseOptions } from "../replication/context/database-options.ts";
import { PROVEN_SNAPSHOTS } from "../replication/upkeep/retention.ts";
import { MANIFEST_SNAPSHOTS_MAX } from "../storage/bucket/manifest.ts";
import { KEYS_PER_REQUEST_MAX } from "../storage/s3/s3-delete.ts";
import { planParts, SINGLE_PUT_SIZE_MAX } from "../storage/s3/s3-multipart.ts";
import type { RequestCounts } from "./prices.ts";
import type { CommitRate, SteadyPace } from "./steady-pace.ts";
import {
  type DatabaseShape,
  MONTH_SECONDS,
  type SteadyStock,
  type Stock,
  steadyStock,
} from "./steady-stock.ts";

const LIST_KEYS_MAX = 1000;
/** One object in the answer to a LIST. */
const LISTED_OBJECT_BYTES = 350;
const MANIFEST_FIXED_BYTES = 600;
const MANIFEST_SNAPSHOT_BYTES = 130;

/** What requests are made for. */
export const FORECAST_CAUSES = [
  "increments",
  "level1",
  "level2",
  "level3",
  "snapshots",
  "manifest",
  "upkeep",
] as const;

/** One of them; "upkeep" is expiry, retention and validation. */
export type ForecastCause = (typeof FORECAST_CAUSES)[number];

/** Requests and traffic of a month. */
export interface Traffic extends RequestCounts {
  readonly uploadedBytes: number;
  /** What merges and their verification, listings and validation read back. */
  readonly downloadedBytes: number;
}

/** What lies in the bucket: in the steady state, or after the first month where it grows. */
export interface StoredForecast {
  readonly snapshotCount: number;
  readonly snapshotBytes: number;
  /** Level 0. */
  readonly incrementBytes: number;
  /** Levels 1 to 3. */
  readonly mergeBytes: number;
  readonly totalBytes: number;
  readonly objectCount: number;
  /** 0: this is the steady state. */
  readonly growthBytesPerMonth: number;
  /** How long it takes until nothing grows any more; null where it always grows. */
  readonly steadyAfterMs: number | null;
}

/** A month of one database. */
export interface Forecast {
  readonly requests: RequestCounts;
  readonly uploadedBytes: number;
  readonly downloadedBytes: number;
  readonly causes: Readonly<Record<ForecastCause, Traffic>>;
  readonly stored: StoredForecast;
}

/** What all causes stand on. */
interface Model extends SteadyStock {
  readonly options: DatabaseOptions;
  /** All kinds of objects. */
  readonly stocks: readonly Stock[];
  /** Requests that one listing of all levels takes, and what it reads. */
  readonly listPages: number;
  readonly listedBytes: number;
  readonly manifestBytes: number;
}

/** What a month of this database under these options makes, if it is written to at this rate. */
export function forecastMonth(database: DatabaseShape, options: DatabaseOptions, rate: CommitRate): Forecast {
  const model = modelOf(database, options, rate);
  const month = (perSecond: Traffic): Traffic => scaled(perSecond, MONTH_SECONDS);
  const causes: Record<ForecastCause, Traffic> = {
    increments: month(putTraffic(model.pace.capturesPerSecond, model.levels[0]!.objectBytes)),
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

function modelOf(database: DatabaseShape, options: DatabaseOptions, rate: CommitRate): Model {
  const steady = steadyStock(database, options, rate);
  const stocks = [...steady.levels, steady.snapshots];
  const listPages = stocks.reduce((sum, { count }) => sum + pagesOf(count), 0);
  const listedBytes = stocks.reduce((sum, { count }) => sum + count, 0) * LISTED_OBJECT_BYTES;
  const named = Math.min(steady.snapshots.count, MANIFEST_SNAPSHOTS_MAX);
  const manifestBytes = MANIFEST_FIXED_BYTES + named * MANIFEST_SNAPSHOT_BYTES;
  return { ...steady, options, stocks, listPages, listedBytes, manifestBytes };
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

/** A look lists what is new below; a merge reads its sources, is put, and is read back. */
function mergeTraffic({ options, pace, levels }: Model, level: number): Traffic {
  const { looksPerSecond, passesPerSecond, mergesPerSecond, sourcesPerPass } = pace.merges[level]!;
  const { objectBytes } = levels[level]!;
  const sources = passesPerSecond * sourcesPerPass;
  // Increments are read from the disk as long as they are kept there; merged objects never are.
  const cacheMs = options.maintenance?.cacheRetentionMs ?? 0;
  const isLocal = level === 1 && cacheMs * passesPerSecond >= 1000;
  const fetched = isLocal ? 0 : sources;
  const listed = looksPerSecond === 0 ? 0 : sources / looksPerSecond;
  return sumOf([
    putTraffic(mergesPerSecond, objectBytes),
    {
      ...NOTHING,
      list: looksPerSecond * pagesOf(listed),
      get: fetched + mergesPerSecond,
      downloadedBytes:
        fetched * levels[level - 1]!.objectBytes +
        mergesPerSecond * objectBytes +
        sources * LISTED_OBJECT_BYTES,
    },
  ]);
}

/** Rewritten after a snapshot, after merges above level 1, and when retention has deleted something. */
function manifestTraffic(model: Model): Traffic {
  const { pace, listPages, listedBytes, manifestBytes } = model;
  const merging = pace.merges[2]!.passesPerSecond + pace.merges[3]!.passesPerSecond;
  const afterMerges = Math.min(merging, pace.capturesPerSecond);
  const rebuilt = afterMerges + deletingRetentions(pace);
  const count = rebuilt + pace.snapshotsPerSecond;
  return {
    put: count,
    list: count * listPages,
    // Header and metadata of the newest object; after a snapshot the watch knows them.
    get: rebuilt * 2,
    delete: 0,
    uploadedBytes: count * manifestBytes,
    downloadedBytes: count * listedBytes,
  };
}

/** Retention finds something to delete once for each snapshot at most. */
function deletingRetentions({ retentionsPerSecond, snapshotsPerSecond }: SteadyPace): number {
  return Math.min(retentionsPerSecond, snapshotsPerSecond);
}

/** Snapshots that retention reads back before it deletes older ones: each once, of the two it relies on. */
function provenSnapshots({ retentionsPerSecond, snapshotsPerSecond }: SteadyPace): number {
  return Math.min(snapshotsPerSecond, retentionsPerSecond * PROVEN_SNAPSHOTS);
}

function upkeepTraffic(model: Model): Traffic {
  const { pace, levels, snapshots, stocks, listPages, listedBytes } = model;
  const { expiryLooksPerSecond, retentionsPerSecond, snapshotsPerSecond, validationsPerSecond } = pace;
  const { reconcilesPerSecond } = pace;
  const expired = levels.reduce((sum, { expiredPerSecond }) => sum + expiredPerSecond, 0);
  // Each snapshot that is there has its time read, those that are new since the last time among them.
  const judged =
    retentionsPerSecond === 0 ? 0 : snapshots.count + snapshotsPerSecond / retentionsPerSecond / 2;
  const validated = stocks.reduce((sum, { count, objectBytes }) => {
    return sum + count * (objectBytes <= WHOLE_SIZE_MAX ? 1 : 2);
  }, 1);
  const proven = provenSnapshots(pace);
  const listings = expiryLooksPerSecond + retentionsPerSecond + validationsPerSecond + reconcilesPerSecond;
  return {
    put: 0,
    // The daily look lists unfinished uploads, too, and asks whose the newest object is.
    list: listings * listPages + validationsPerSecond + reconcilesPerSecond,
    get: retentionsPerSecond * judged + proven + validationsPerSecond * validated + reconcilesPerSecond,
    delete: deletesPerSecond(expiryLooksPerSecond, expired) + deletingRetentions(pace),
    uploadedBytes: 0,
    downloadedBytes: listings * listedBytes + proven * snapshots.objectBytes,
  };
}

function deletesPerSecond(looksPerSecond: number, expiredPerSecond: number): number {
  const looks = Math.min(looksPerSecond, expiredPerSecond);
  return looks === 0 ? 0 : looks * Math.ceil(expiredPerSecond / looks / KEYS_PER_REQUEST_MAX);
}

/** Objects that are put: in one request, or in parts after two looks whether the key is free. */
function putTraffic(perSecond: number, objectBytes: number): Traffic {
  const isMultipart = objectBytes > SINGLE_PUT_SIZE_MAX;
  // Beside the parts there is a request to begin, and one to complete.
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
