/**
 * All metrics, taken from the status of each database, the counters of the process, and /proc, at the moment
 * of a request. The label `db` is the name of the database; paths are not shown.
 */
import { readFileSync, statSync } from "node:fs";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { isCapturing } from "./health.ts";
import { labelText, type MetricFamily, type Sample } from "./prometheus.ts";
import type { Tally } from "./tally.ts";

const CIRCUIT_VALUES = { closed: 0, "half-open": 1, open: 2 } as const;
const STATES = ["starting", "watching", "failing", "paused", "stopped"] as const;

/** All metric families at this moment. */
export function* metricFamilies(
  statuses: readonly DatabaseStatus[],
  tally: Tally,
  version: string,
): Generator<MetricFamily> {
  yield* processFamilies(tally, version);
  yield* memoryFamilies();
  yield gauge(
    "databases",
    "Databases by state.",
    STATES.map((state) => ({
      labels: labelText({ state }),
      value: statuses.filter((status) => status.state === state).length,
    })),
  );
  yield* databaseFamilies(statuses);
  yield counter(
    "errors_total",
    "Failures by error code; a failure that lasts counts once.",
    errorSamples(tally),
  );
}

function* processFamilies(tally: Tally, version: string): Generator<MetricFamily> {
  yield gauge("up", "1 while walrust watches.", [{ value: 1 }]);
  yield gauge("build_info", "The version, as a label.", [{ labels: labelText({ version }), value: 1 }]);
  const uptimeMs = tally.env.monotonicMs() - tally.startedMs;
  yield gauge("uptime_seconds", "Seconds since the start.", [{ value: Math.round(uptimeMs) / 1000 }]);
  const { increment, snapshot } = tally.uploadCounts;
  yield counter("uploads_total", "Objects uploaded, by kind.", [
    { labels: labelText({ kind: "increment" }), value: increment },
    { labels: labelText({ kind: "snapshot" }), value: snapshot },
  ]);
  yield counter("snapshot_count", "Snapshots uploaded.", [{ value: snapshot }]);
  yield counter("upload_bytes_total", "Bytes of uploaded objects.", [{ value: tally.uploadedBytes }]);
  yield counter("validation_success_total", "Validations of a database that found no error.", [
    { value: tally.validations.success },
  ]);
  yield counter("validation_failure_total", "Validations of a database that found an error.", [
    { value: tally.validations.failure },
  ]);
  yield gauge(
    "last_validation_timestamp",
    "Time of the last validation, in seconds since the epoch.",
    timeSamples(tally.lastValidationTimeMs),
  );
  yield counter("checkpoint_total", "Checkpoints done.", [{ value: tally.countOf("checkpointed") }]);
  yield counter("compaction_total", "Objects made by compaction.", [{ value: tally.countOf("compacted") }]);
  yield counter(
    "re_anchor_total",
    "Times that walrust continued a broken WAL history by uploading the changed pages.",
    [{ value: tally.countOf("re-anchored") }],
  );
  yield counter(
    "let_go_total",
    "Databases that replication stopped for because their glob no longer matches them.",
    [{ value: tally.countOf("let-go") }],
  );
  yield counter("circuit_open_total", "Times a circuit breaker opened.", [
    { value: tally.countOf("circuit-open") },
  ]);
}

function* databaseFamilies(statuses: readonly DatabaseStatus[]): Generator<MetricFamily> {
  const labels = statuses.map(({ database }) => labelText({ db: database }));
  const each = (name: string, help: string, pick: (status: DatabaseStatus) => number | null): MetricFamily =>
    gauge(name, help, databaseSamples(statuses, labels, pick));
  yield each("database_up", "1 while commits of the database are captured.", (status) =>
    isCapturing(status) ? 1 : 0,
  );
  yield each("current_txid", "Newest captured TXID.", ({ txid }) => txid);
  yield each("uploaded_txid", "Newest TXID in the bucket.", ({ uploadedTxid }) => uploadedTxid);
  yield each(
    "last_sync_timestamp",
    "Capture time of the newest uploaded TXID, in seconds since the epoch.",
    ({ uploadedTimeMs }) => (uploadedTimeMs === null ? null : uploadedTimeMs / 1000),
  );
  yield each(
    "lag_seconds",
    "Seconds by which the bucket may be behind the database; 0 if the bucket is up to date.",
    ({ lagMs }) => Math.round(lagMs) / 1000,
  );
  yield each(
    "cache_pending_uploads",
    "Captured files not in the bucket.",
    ({ pendingCount }) => pendingCount,
  );
  yield each("cache_pending_bytes", "Bytes of captured files not in the bucket.", (one) => one.pendingBytes);
  yield each("wal_frames", "Frames in the WAL.", ({ walFrames }) => walFrames);
  yield each("wal_size_bytes", "Size of the WAL file.", ({ path }) => walSizeOrNull(path));
  yield each(
    "circuit_state",
    "Circuit breaker: 0 closed, 1 half-open, 2 open.",
    ({ circuit }) => CIRCUIT_VALUES[circuit],
  );
}

function* memoryFamilies(): Generator<MetricFamily> {
  const status = procStatus();
  const of = (field: string): Sample[] => {
    const kibibytes = status.match(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m"))?.[1];
    return kibibytes === undefined ? [] : [{ value: Number(kibibytes) * 1024 }];
  };
  yield gauge("resident_memory_bytes", "Resident memory (VmRSS).", of("VmRSS"));
  yield gauge("anonymous_memory_bytes", "Resident memory that maps no file (RssAnon).", of("RssAnon"));
  yield gauge("peak_memory_bytes", "Most resident memory so far (VmHWM).", of("VmHWM"));
}

/** The kernel's status of this process; empty where there is no /proc. */
function procStatus(): string {
  try {
    return readFileSync("/proc/self/status", "latin1");
  } catch {
    return "";
  }
}

/** The size of the WAL by a stat alone: the file is not opened, and may be gone. */
function walSizeOrNull(path: string): number | null {
  try {
    return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? null;
  } catch {
    return null;
  }
}

function* databaseSamples(
  statuses: readonly DatabaseStatus[],
  labels: readonly string[],
  pick: (status: DatabaseStatus) => number | null,
): Generator<Sample> {
  for (let index = 0; index < statuses.length; index++) {
    const value = pick(statuses[index]!);
    if (value !== null) yield { labels: labels[index]!, value };
  }
}

function* errorSamples(tally: Tally): Generator<Sample> {
  for (const [db, type, value] of tally.errorCounts()) yield { labels: labelText({ db, type }), value };
}

function timeSamples(timeMs: number | null): Sample[] {
  return timeMs === null ? [] : [{ value: timeMs / 1000 }];
}

function gauge(name: string, help: string, samples: Iterable<Sample>): MetricFamily {
  return { name: `walrust_${name}`, kind: "gauge", help, samples };
}

function counter(name: string, help: string, samples: Iterable<Sample>): MetricFamily {
  return { name: `walrust_${name}`, kind: "counter", help, samples };
}
