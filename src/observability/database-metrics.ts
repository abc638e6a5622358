/**
 * The metrics of databases: one row for each metric, with its value for one database. The label `db` is the
 * name of the database; paths are not shown.
 *
 * With `per_database`, every database has its own series. Otherwise one series without `db` stands for all:
 * counts are counted for all together, and a value of the status is the sum, the largest or the smallest of
 * all databases, as its row says. Rows whose values make no sense together are left out.
 */
import { statSync } from "node:fs";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { type DatabaseCounts, LATENCY_BOUNDS, UpkeepCounts } from "./database-counts.ts";
import { isCapturing } from "./health.ts";
import {
  labelPair,
  labelSet,
  labelText,
  type MetricFamily,
  type MetricKind,
  type Sample,
} from "./prometheus.ts";
import type { Tally } from "./tally.ts";

const CIRCUIT_VALUES = { closed: 0, "half-open": 1, open: 2 } as const;
const NO_UPKEEP: Readonly<UpkeepCounts> = new UpkeepCounts();

const PUSH_STATES = ["current", "behind", "failing"] as const;

/** How the values of all databases become one. */
type Together = "sum" | "max" | "min" | null;

/** A metric whose value is read from the status of a database. */
interface StatusRow {
  readonly name: string;
  readonly help: string;
  readonly together: Together;
  readonly of: (status: DatabaseStatus) => number | null;
}

/** A metric whose series are counted. */
interface CountRow {
  readonly name: string;
  readonly kind: MetricKind;
  readonly help: string;
  readonly of: (counts: DatabaseCounts, upkeep: UpkeepCounts) => Iterable<Series>;
}

/** Labels beside `db` as pairs, a value, and the ending of the name. */
type Series = readonly [pairs: string, value: number, ending?: string];

const STATUS_ROWS: readonly StatusRow[] = [
  status("database_up", "1 while commits of the database are captured.", null, (one) => +isCapturing(one)),
  status("current_txid", "Newest captured TXID.", null, ({ txid }) => txid),
  status(
    "uploaded_txid",
    "Newest TXID that is known to be in the bucket; absent before the first.",
    null,
    ({ uploadedTxid }) => uploadedTxid || null,
  ),
  status(
    "last_sync_timestamp",
    "Capture time of the newest uploaded TXID, in seconds since the epoch.",
    "min",
    ({ uploadedTimeMs }) => secondsOrNull(uploadedTimeMs),
  ),
  status(
    "last_snapshot_timestamp",
    "Capture time of the newest snapshot, in seconds since the epoch.",
    "min",
    ({ snapshotTimeMs }) => secondsOrNull(snapshotTimeMs),
  ),
  status(
    "last_listing_timestamp",
    "Time at which a listing last showed the newest state in the bucket, in seconds since the epoch.",
    "min",
    ({ listedTimeMs }) => secondsOrNull(listedTimeMs),
  ),
  status(
    "lag_seconds",
    "Seconds by which the bucket may be behind the database; 0 if it is up to date, absent while unknown.",
    "max",
    ({ lagMs }) => (lagMs === null ? null : Math.round(lagMs) / 1000),
  ),
  status(
    "next_snapshot_timestamp",
    "Time of the next scheduled snapshot, in seconds since the epoch; absent while no commit waits for one.",
    "min",
    ({ nextSnapshotTimeMs }) => secondsOrNull(nextSnapshotTimeMs),
  ),
  status(
    "cache_size_bytes",
    "Bytes of captured files on the local disk, uploaded ones included.",
    "sum",
    (one) => one.cacheBytes,
  ),
  status(
    "cache_pending_uploads",
    "Captured files that wait for their upload.",
    "sum",
    (one) => one.pendingCount,
  ),
  status(
    "cache_pending_bytes",
    "Bytes of captured files that wait for their upload.",
    "sum",
    (one) => one.pendingBytes,
  ),
  status("wal_frames", "Frames in the WAL.", "sum", ({ walFrames }) => walFrames),
  status("wal_size_bytes", "Size of the WAL file.", "sum", ({ path }) => walSizeOrNull(path)),
  status(
    "circuit_state",
    "Circuit breaker: 0 closed, 1 half-open, 2 open.",
    "max",
    ({ circuit }) => CIRCUIT_VALUES[circuit],
  ),
];

const COUNT_ROWS: readonly CountRow[] = [
  count("uploads_total", "counter", "Objects uploaded, by kind.", ({ increments, snapshots }) => [
    [labelPair("kind", "increment"), increments],
    [labelPair("kind", "snapshot"), snapshots],
  ]),
  count("upload_bytes_total", "counter", "Bytes of uploaded objects.", (one) => only(one.uploadedBytes)),
  count("snapshot_count", "untyped", "Snapshots uploaded since the start.", ({ snapshots }) =>
    only(snapshots),
  ),
  count(
    "sync_latency_seconds",
    "histogram",
    "Time from the capture of an increment to its upload.",
    latencySeries,
  ),
  count(
    "checkpoint_total",
    "counter",
    "Checkpoints done, by type: truncate also truncates the WAL file.",
    (_, upkeep) => [
      [labelPair("type", "passive"), upkeep.passiveCheckpoints],
      [labelPair("type", "truncate"), upkeep.truncateCheckpoints],
    ],
  ),
  count("checkpoint_duration_seconds", "gauge", "Duration of the last checkpoint.", (_, upkeep) =>
    known(upkeep.checkpointSeconds),
  ),
  count("compaction_total", "counter", "Objects made by compaction.", (_, upkeep) =>
    only(upkeep.compactions),
  ),
  count("incrementals_merged_total", "counter", "Objects that compaction merged into others.", (_, upkeep) =>
    only(upkeep.mergedObjects),
  ),
  count("compaction_duration_seconds", "gauge", "Duration of the last merge.", (_, upkeep) =>
    known(upkeep.compactionSeconds),
  ),
  count(
    "validation_success_total",
    "counter",
    "Validations of a database that found no error.",
    (_, upkeep) => only(upkeep.validationSuccesses),
  ),
  count(
    "validation_failure_total",
    "counter",
    "Validations of a database that found an error.",
    (_, upkeep) => only(upkeep.validationFailures),
  ),
  count(
    "last_validation_timestamp",
    "gauge",
    "Time of the last validation, in seconds since the epoch.",
    (_, upkeep) => known(secondsOrNull(upkeep.lastValidationTimeMs)),
  ),
  count(
    "re_anchor_total",
    "counter",
    "Times that walrust continued a broken WAL history by uploading the changed pages.",
    (_, upkeep) => only(upkeep.reAnchors),
  ),
  count(
    "circuit_open_total",
    "counter",
    "Times that the circuit breaker suspended the requests of a database.",
    (_, upkeep) => only(upkeep.circuitOpenings),
  ),
  count("error_count", "untyped", "Failures of a database; a failure that lasts counts once.", (one) =>
    only(one.errorCount),
  ),
  count(
    "errors_total",
    "counter",
    "Failures by type and error code: walrust retries after transient ones, and stops after permanent ones.",
    errorSeries,
  ),
];

/** All metrics of databases at this moment. */
export function* databaseFamilies(
  statuses: readonly DatabaseStatus[],
  tally: Tally,
): Generator<MetricFamily> {
  const { isPerDatabase } = tally;
  const pairs = isPerDatabase ? statuses.map(({ database }) => labelPair("db", database)) : [""];
  for (const row of STATUS_ROWS) {
    const { name, help, together } = row;
    if (!isPerDatabase && together === null) continue;
    const values = statuses.map((one) => row.of(one));
    const shown = isPerDatabase || together === null ? values : [togetherOf(values, together)];
    yield { name: named(name), kind: "gauge", help, samples: valueSamples(pairs, shown) };
  }
  yield {
    name: named("cache_upload_retries_total"),
    kind: "counter",
    help: "Attempts at uploads that followed a failed attempt.",
    samples: valueSamples(
      pairs,
      isPerDatabase ? statuses.map(({ retryCount }) => retryCount) : [tally.retryTotal(statuses)],
    ),
  };
  yield {
    name: named("last_validation_success"),
    kind: "gauge",
    help: "1 if the last validation found no error, 0 if it found one.",
    samples: isPerDatabase ? soundSamples(statuses, pairs, tally) : [],
  };
  const counts = isPerDatabase
    ? statuses.map(({ database }) => tally.countsOf(database))
    : [tally.countsOf("")];
  for (const { name, kind, help, of } of COUNT_ROWS) {
    yield { name: named(name), kind, help, samples: countSamples(pairs, counts, of) };
  }
}

/** The metrics of push replicas at this moment. */
export function* pushFamilies(
  statuses: readonly DatabaseStatus[],
  isPerDatabase: boolean,
): Generator<MetricFamily> {
  yield {
    name: "walrust_push_databases",
    kind: "gauge",
    help: "Databases by push replica and by what the replica has of them.",
    samples: pushSamples(statuses),
  };
  yield {
    name: "walrust_push_acknowledged_txid",
    kind: "gauge",
    help: "Newest TXID that a push replica has acknowledged.",
    samples: isPerDatabase ? txidSamples(statuses) : [],
  };
}

function* pushSamples(statuses: readonly DatabaseStatus[]): Generator<Sample> {
  const all = statuses.flatMap(({ replicas = [] }) => replicas);
  for (const [replica, ofOne] of Map.groupBy(all, (one) => one.replica)) {
    for (const state of PUSH_STATES) {
      const value = ofOne.filter((one) => one.state === state).length;
      yield { labels: labelText({ replica, state }), value };
    }
  }
}

function* txidSamples(statuses: readonly DatabaseStatus[]): Generator<Sample> {
  for (const { database, replicas = [] } of statuses) {
    for (const { replica, txid } of replicas) {
      if (txid !== null) yield { labels: labelText({ db: database, replica }), value: txid };
    }
  }
}

function* soundSamples(
  statuses: readonly DatabaseStatus[],
  pairs: readonly string[],
  tally: Tally,
): Generator<Sample> {
  for (const [index, { database }] of statuses.entries()) {
    const { upkeep } = tally.countsOf(database);
    if (upkeep === null || upkeep.lastValidationTimeMs === null) continue;
    yield { labels: labelSet(pairs[index]!), value: +upkeep.isLastValidationSound };
  }
}

function* valueSamples(pairs: readonly string[], values: readonly (number | null)[]): Generator<Sample> {
  for (const [index, value] of values.entries()) {
    if (value !== null) yield { labels: labelSet(pairs[index]!), value };
  }
}

function* countSamples(
  pairs: readonly string[],
  counts: readonly DatabaseCounts[],
  of: CountRow["of"],
): Generator<Sample> {
  for (const [index, one] of counts.entries()) {
    for (const [own, value, ending] of of(one, one.upkeep ?? NO_UPKEEP)) {
      const labels = labelSet(pairs[index]!, own);
      yield ending === undefined ? { labels, value } : { labels, value, ending };
    }
  }
}

/** The value of all databases together; null if none is known. */
function togetherOf(values: readonly (number | null)[], together: "sum" | "max" | "min"): number | null {
  const numbers = values.filter((value) => value !== null);
  if (together === "sum") return numbers.reduce((sum, value) => sum + value, 0);
  if (numbers.length === 0) return null;
  const better = together === "max" ? Math.max : Math.min;
  return numbers.reduce((best, value) => better(best, value));
}

function* latencySeries({ latency }: DatabaseCounts): Generator<Series> {
  if (latency === null) return;
  let total = 0;
  for (const [index, bound] of LATENCY_BOUNDS.entries()) {
    total += latency.counts[index]!;
    yield [labelPair("le", boundText(bound)), total, "_bucket"];
  }
  total += latency.counts[LATENCY_BOUNDS.length]!;
  yield [labelPair("le", "+Inf"), total, "_bucket"];
  yield ["", latency.sumSeconds, "_sum"];
  yield ["", total, "_count"];
}

function* errorSeries(counts: DatabaseCounts): Generator<Series> {
  for (const [type, code, value] of counts.errorCounts()) {
    yield [`${labelPair("type", type)},${labelPair("code", code)}`, value];
  }
}

/** OpenMetrics demands a bound as a floating-point number. */
function boundText(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function status(
  name: string,
  help: string,
  together: Together,
  of: (status: DatabaseStatus) => number | null,
): StatusRow {
  return { name, help, together, of };
}

function count(name: string, kind: MetricKind, help: string, of: CountRow["of"]): CountRow {
  return { name, kind, help, of };
}

function only(value: number): Series[] {
  return [["", value]];
}

function known(value: number | null): Series[] {
  return value === null ? [] : only(value);
}

function named(name: string): string {
  return `walrust_${name}`;
}

function secondsOrNull(timeMs: number | null): number | null {
  return timeMs === null ? null : timeMs / 1000;
}

/** The size of the WAL by a stat alone: the file is not opened, and may be gone. */
export function walSizeOrNull(path: string): number | null {
  try {
    return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? null;
  } catch {
    return null;
  }
}
