/**
 * The metrics of databases: the value of each, per database and for all together, and the names that the
 * roadmap promises.
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { databaseFamilies, pushFamilies } from "../../src/observability/database-metrics.ts";
import { metricFamilies } from "../../src/observability/metrics.ts";
import { metricsText, PROMETHEUS_FORMAT } from "../../src/observability/prometheus.ts";
import { Tally } from "../../src/observability/tally.ts";
import type { WatchEvent } from "../../src/replication/context/watch-events.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { tempFolder } from "../support/temp.ts";
import { ManualTime } from "./manual-time.ts";
import { type ReadFamily, readPrometheusText } from "./prometheus-parser.ts";
import {
  checkpointed,
  circuitOpen,
  compacted,
  failed,
  letGo,
  statusOf,
  stopped,
  uploaded,
  validated,
} from "./samples.ts";

function read(statuses: DatabaseStatus[], tally: Tally): Map<string, ReadFamily> {
  return readPrometheusText(metricsText(databaseFamilies(statuses, tally), PROMETHEUS_FORMAT));
}

/** The value of a series, or undefined. */
function value(
  families: Map<string, ReadFamily>,
  name: string,
  labels: Record<string, string> = {},
  ending = "",
): number | undefined {
  return families.get(name)?.samples.get(ending + JSON.stringify(labels));
}

/** A tally that counted these events. */
function tallyOf(events: readonly WatchEvent[], isPerDatabase = true): Tally {
  const tally = new Tally(new ManualTime().env, isPerDatabase);
  for (const event of events) tally.observe(event);
  return tally;
}

/** The names of the roadmap, with the prefix of walrust. */
const ROADMAP = [
  "walrust_last_sync_timestamp",
  "walrust_wal_size_bytes",
  "walrust_next_snapshot_timestamp",
  "walrust_error_count",
  "walrust_snapshot_count",
  "walrust_current_txid",
  "walrust_uptime_seconds",
  "walrust_validation_success_total",
  "walrust_validation_failure_total",
  "walrust_last_validation_timestamp",
  "walrust_compaction_total",
  "walrust_compaction_duration_seconds",
  "walrust_incrementals_merged_total",
  "walrust_cache_size_bytes",
  "walrust_cache_pending_uploads",
  "walrust_cache_upload_retries_total",
  "walrust_checkpoint_total",
  "walrust_checkpoint_duration_seconds",
  "walrust_errors_total",
  "walrust_sync_latency_seconds",
];

test("every metric of the roadmap exists", () => {
  const facts = { tally: tallyOf([]), version: "", storeConditions: [] };
  const names = [...metricFamilies([], facts)].map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toEqual(expect.arrayContaining(ROADMAP));
});

describe("pushFamilies", () => {
  const replica = (url: string, txid: number | null, state: "current" | "behind" | "failing") => ({
    ...{ replica: url, txid, state, message: null },
  });
  const statuses = [
    statusOf({
      database: "a",
      replicas: [replica("http://x", 7, "current"), replica("http://y", null, "failing")],
    }),
    statusOf({
      database: "b",
      replicas: [replica("http://x", 3, "behind"), replica("http://y", null, "failing")],
    }),
    statusOf({ database: "c" }),
  ];

  test("counts the databases of each replica by state, and shows acknowledged TXIDs", () => {
    const families = readPrometheusText(metricsText(pushFamilies(statuses, true), PROMETHEUS_FORMAT));
    const count = (url: string, state: string) =>
      value(families, "walrust_push_databases", { replica: url, state });
    expect(["current", "behind", "failing"].map((state) => count("http://x", state))).toEqual([1, 1, 0]);
    expect(["current", "behind", "failing"].map((state) => count("http://y", state))).toEqual([0, 0, 2]);
    const txid = (db: string, url: string) =>
      value(families, "walrust_push_acknowledged_txid", { db, replica: url });
    expect([txid("a", "http://x"), txid("b", "http://x"), txid("a", "http://y")]).toEqual([7, 3, undefined]);
  });

  test("has no series for each database without per_database, and none without replicas", () => {
    const text = metricsText(pushFamilies(statuses, false), PROMETHEUS_FORMAT);
    expect(text).not.toContain("acknowledged");
    expect(metricsText(pushFamilies([statusOf()], true), PROMETHEUS_FORMAT)).toBe("");
  });
});

describe("databaseFamilies, per database,", () => {
  test("has a database's values, and no samples for unknown ones", () => {
    const path = join(tempFolder("wal-size"), "a.db");
    writeFileSync(`${path}-wal`, new Uint8Array(4_152));
    const lagging = statusOf({
      database: 'a"b',
      path,
      txid: 30,
      uploadedTxid: 28,
      pendingCount: 2,
      pendingBytes: 9_000,
      lagMs: 1_234.4,
      circuit: "half-open",
    });
    const unknown = { uploadedTxid: 0, uploadedTimeMs: null, walFrames: null, lagMs: null };
    const starting = statusOf({ database: "new", state: "starting", ...unknown });
    const families = read([lagging, starting], tallyOf([]));
    const db = { db: 'a"b' };
    const expected: [name: string, value: number][] = [
      ["walrust_database_up", 1],
      ["walrust_current_txid", 30],
      ["walrust_uploaded_txid", 28],
      ["walrust_last_sync_timestamp", Date.UTC(2026, 0, 15, 10, 29, 58) / 1000],
      ["walrust_lag_seconds", 1.234],
      ["walrust_cache_pending_uploads", 2],
      ["walrust_cache_pending_bytes", 9_000],
      ["walrust_wal_frames", 40],
      ["walrust_wal_size_bytes", 4_152],
      ["walrust_circuit_state", 1],
    ];
    for (const [name, number] of expected) expect([name, value(families, name, db)]).toEqual([name, number]);
    expect(value(families, "walrust_database_up", { db: "new" })).toBe(0);
    for (const name of [
      "walrust_uploaded_txid",
      "walrust_last_sync_timestamp",
      "walrust_lag_seconds",
      "walrust_wal_frames",
      "walrust_wal_size_bytes",
    ]) {
      expect([name, value(families, name, { db: "new" })]).toEqual([name, undefined]);
    }
  });

  test("has a database's counts", () => {
    const events = [
      uploaded(),
      uploaded(),
      uploaded("snapshot"),
      failed("auth"),
      failed("auth"),
      checkpointed(),
      checkpointed("truncate"),
      checkpointed(),
      compacted(),
      compacted(),
      validated("errors", ["x"]),
      validated("ok"),
      circuitOpen(),
      { event: "re-anchored", database: "app", txid: 3, reason: "r" } as const,
    ];
    const tally = tallyOf([...events, stopped("foreign-writer", "b"), uploaded("increment", "b")]);
    const families = read([statusOf({ retryCount: 4 }), statusOf({ database: "b" })], tally);
    const expected: [name: string, labels: Record<string, string>, value: number, ending?: string][] = [
      ["walrust_uploads_total", { db: "app", kind: "increment" }, 2],
      ["walrust_uploads_total", { db: "app", kind: "snapshot" }, 1],
      ["walrust_uploads_total", { db: "b", kind: "snapshot" }, 0],
      ["walrust_snapshot_count", { db: "app" }, 1],
      ["walrust_upload_bytes_total", { db: "app" }, 3_000],
      ["walrust_sync_latency_seconds", { db: "app", le: "0.05" }, 2, "_bucket"],
      ["walrust_sync_latency_seconds", { db: "app", le: "+Inf" }, 2, "_bucket"],
      ["walrust_sync_latency_seconds", { db: "app" }, 2, "_count"],
      ["walrust_sync_latency_seconds", { db: "app" }, 0.08, "_sum"],
      ["walrust_checkpoint_total", { db: "app", type: "passive" }, 2],
      ["walrust_checkpoint_total", { db: "app", type: "truncate" }, 1],
      ["walrust_checkpoint_total", { db: "b", type: "truncate" }, 0],
      ["walrust_checkpoint_duration_seconds", { db: "app" }, 0.0125],
      ["walrust_compaction_total", { db: "app" }, 2],
      ["walrust_compaction_duration_seconds", { db: "app" }, 0.25],
      ["walrust_incrementals_merged_total", { db: "app" }, 10],
      ["walrust_cache_upload_retries_total", { db: "app" }, 4],
      ["walrust_validation_success_total", { db: "app" }, 1],
      ["walrust_validation_failure_total", { db: "app" }, 1],
      ["walrust_last_validation_timestamp", { db: "app" }, tally.env.nowMs() / 1000],
      ["walrust_last_validation_success", { db: "app" }, 1],
      ["walrust_re_anchor_total", { db: "app" }, 1],
      ["walrust_circuit_open_total", { db: "app" }, 1],
      ["walrust_errors_total", { db: "app", type: "transient", code: "auth" }, 2],
      ["walrust_errors_total", { db: "b", type: "permanent", code: "foreign-writer" }, 1],
      ["walrust_error_count", { db: "app" }, 2],
      ["walrust_error_count", { db: "b" }, 1],
    ];
    for (const [name, labels, number, ending] of expected) {
      expect([name, labels, value(families, name, labels, ending)]).toEqual([name, labels, number]);
    }
    // A database that had no such event has no time, no duration and no result of it.
    for (const name of [
      "walrust_checkpoint_duration_seconds",
      "walrust_compaction_duration_seconds",
      "walrust_last_validation_timestamp",
      "walrust_last_validation_success",
    ]) {
      expect([name, value(families, name, { db: "b" })]).toEqual([name, undefined]);
    }
    const failing = read([statusOf()], tallyOf([validated("ok"), validated("errors")]));
    expect(value(failing, "walrust_last_validation_success", { db: "app" })).toBe(0);
  });

  test("has a type that its name allows", () => {
    for (const [name, { type }] of read([statusOf()], tallyOf([uploaded(), failed("auth")]))) {
      const expected = /_total$/.test(name) ? "counter" : /_count$/.test(name) ? "untyped" : "gauge";
      expect([name, type]).toEqual([name, name === "walrust_sync_latency_seconds" ? "histogram" : expected]);
    }
  });
});

describe("databaseFamilies, for all databases together,", () => {
  const events = [
    uploaded("increment", "a"),
    uploaded("snapshot", "b"),
    checkpointed("passive", "a"),
    checkpointed("passive", "b"),
    failed("auth", "a"),
    failed("auth", "b"),
  ];
  const a = statusOf({
    database: "a",
    lagMs: 500,
    pendingCount: 2,
    cacheBytes: 10,
    retryCount: 3,
    uploadedTimeMs: 5_000,
    nextSnapshotTimeMs: 9_000,
    listedTimeMs: 8_000,
  });
  const b = statusOf({
    database: "b",
    lagMs: 700,
    pendingCount: 3,
    cacheBytes: 20,
    retryCount: 1,
    uploadedTimeMs: 4_000,
    circuit: "open",
  });

  test("has no label db, and sums, the largest and the smallest values", () => {
    const families = read([a, b], tallyOf(events, false));
    for (const [name, { samples }] of families) {
      for (const key of samples.keys())
        expect([name, key]).toEqual([name, expect.not.stringContaining('"db"')]);
    }
    const expected: [name: string, labels: Record<string, string>, value: number | undefined][] = [
      ["walrust_lag_seconds", {}, 0.7],
      ["walrust_last_sync_timestamp", {}, 4],
      ["walrust_next_snapshot_timestamp", {}, 9],
      ["walrust_last_listing_timestamp", {}, 8],
      ["walrust_cache_pending_uploads", {}, 5],
      ["walrust_cache_size_bytes", {}, 30],
      ["walrust_circuit_state", {}, 2],
      ["walrust_uploads_total", { kind: "increment" }, 1],
      ["walrust_snapshot_count", {}, 1],
      ["walrust_checkpoint_total", { type: "passive" }, 2],
      ["walrust_errors_total", { type: "transient", code: "auth" }, 2],
      ["walrust_cache_upload_retries_total", {}, 4],
      // No single value stands for all databases.
      ["walrust_current_txid", {}, undefined],
      ["walrust_database_up", {}, undefined],
      ["walrust_last_validation_success", {}, undefined],
    ];
    for (const [name, labels, number] of expected) {
      expect([name, value(families, name, labels)]).toEqual([name, number]);
    }
  });

  test("has as many series for a thousand databases as for one", () => {
    const many = Array.from({ length: 1_000 }, (_, index) => `tenant-${index}`);
    const seriesOf = (names: string[]): number => {
      const tally = tallyOf(
        names.flatMap((name) => [uploaded("increment", name), failed("auth", name)]),
        false,
      );
      const families = read(
        names.map((database) => statusOf({ database })),
        tally,
      );
      return [...families.values()].reduce((sum, { samples }) => sum + samples.size, 0);
    };
    expect(seriesOf(many)).toBe(seriesOf(many.slice(0, 1)));
  });

  test("no count shrinks when a database leaves the watch", () => {
    const tally = tallyOf(events, false);
    const countersOf = (statuses: DatabaseStatus[]): [string, number][] =>
      [...read(statuses, tally)].flatMap(([name, { type, samples }]) =>
        ["counter", "untyped", "histogram"].includes(type)
          ? [...samples].map(([key, number]): [string, number] => [name + key, number])
          : [],
      );
    const before = countersOf([a, b]);
    tally.observe(letGo("b"));
    tally.forgetOthers(new Set(["a"]));
    expect(countersOf([a])).toEqual(before);
    // The database comes back, and counts its retries from 0.
    expect(Object.fromEntries(countersOf([a, { ...b, retryCount: 2 }]))).toMatchObject({
      "walrust_cache_upload_retries_total{}": 6,
    });
  });

  test("has the longest lag that is known, and none if none is", () => {
    const unknown = statusOf({ database: "c", state: "starting", lagMs: null });
    expect(value(read([a, unknown], tallyOf([], false)), "walrust_lag_seconds")).toBe(0.5);
    expect(value(read([unknown], tallyOf([], false)), "walrust_lag_seconds")).toBeUndefined();
  });

  test("is empty but for sums of nothing without a database", () => {
    const families = read([], tallyOf([], false));
    expect(value(families, "walrust_cache_pending_uploads")).toBe(0);
    expect(value(families, "walrust_lag_seconds")).toBeUndefined();
  });
});
