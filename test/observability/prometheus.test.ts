/** The text of /metrics against a strict reader, and that reader against invalid texts. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { metricFamilies } from "../../src/observability/metrics.ts";
import { labelText, prometheusText } from "../../src/observability/prometheus.ts";
import { Tally } from "../../src/observability/tally.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { tempFolder } from "../support/temp.ts";
import { ManualTime } from "./manual-time.ts";
import { type ReadFamily, readPrometheusText } from "./prometheus-parser.ts";
import { circuitOpen, failed, failingWith, statusOf, stopped, uploaded, validated } from "./samples.ts";

function read(statuses: DatabaseStatus[], tally: Tally): Map<string, ReadFamily> {
  return readPrometheusText(prometheusText(metricFamilies(statuses, tally, "0.4.0")));
}

/** The value of a series, or undefined. */
function value(
  families: Map<string, ReadFamily>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  return families.get(name)?.samples.get(JSON.stringify(labels));
}

describe("readPrometheusText refuses", () => {
  const head = "# HELP m h\n# TYPE m gauge\n";
  test.each([
    ["no line feed at the end", `${head}m 1`],
    ["a sample without HELP and TYPE", "m 1\n"],
    ["TYPE of another", "# HELP m h\n# TYPE n gauge\nm 1\n"],
    ["no TYPE", "# HELP m h\nm 1\n"],
    ["a family that comes again", `${head}m 1\n# HELP n h\n# TYPE n gauge\nn 1\n${head}m 2\n`],
    ["the same series again", `${head}m{a="b"} 1\nm{a="b"} 1\n`],
    ["a raw quote", `${head}m{a="b"c"} 1\n`],
    ["a raw line feed", `${head}m{a="b\nc"} 1\n`],
    ["an unknown escape", `${head}m{a="b\\t"} 1\n`],
    ["no number", `${head}m one\n`],
    ["an empty family", head],
  ])("%s", (_, text) => {
    expect(() => readPrometheusText(text)).toThrow();
  });
});

describe("prometheusText", () => {
  test("escapes label values of any kind", () => {
    const random = seededRandom(7);
    const alphabet = ['"', "\\", "\n", "n", "}", ",", "=", " ", "ä", "\u{1f40b}", "{", "#"];
    const pick = (): string => alphabet[Math.floor(random() * alphabet.length)]!;
    const values = new Set(Array.from({ length: 200 }, () => Array.from({ length: 6 }, pick).join("")));
    const samples = [...values].map((label, index) => ({
      labels: labelText({ db: label, x: "y" }),
      value: index,
    }));
    const text = prometheusText([{ name: "m", kind: "gauge", help: "a \\ and\na line", samples }]);
    const family = readPrometheusText(text).get("m")!;
    expect([...family.samples.keys()]).toEqual([...values].map((db) => JSON.stringify({ db, x: "y" })));
    expect([...family.samples.values()]).toEqual([...values.keys()].map((_, index) => index));
    expect(family.help).toBe("a \\\\ and\\na line");
  });

  test("writes NaN and infinities by name, and omits families without samples", () => {
    const samples = [Number.NaN, Infinity, -Infinity, 1e21, 0.5].map((number, index) => ({
      labels: labelText({ i: String(index) }),
      value: number,
    }));
    const text = prometheusText([
      { name: "a", kind: "gauge", help: "h", samples: [] },
      { name: "m", kind: "counter", help: "h", samples },
    ]);
    expect(text).toBe(
      [
        "# HELP m h",
        "# TYPE m counter",
        'm{i="0"} NaN',
        'm{i="1"} +Inf',
        'm{i="2"} -Inf',
        'm{i="3"} 1e+21',
        'm{i="4"} 0.5',
        "",
      ].join("\n"),
    );
    readPrometheusText(text);
  });
});

describe("metricFamilies", () => {
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
    const starting = statusOf({ database: "new", state: "starting", uploadedTimeMs: null, walFrames: null });
    const families = read([lagging, starting], new Tally(new ManualTime().env));
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
    for (const name of ["walrust_last_sync_timestamp", "walrust_wal_frames", "walrust_wal_size_bytes"]) {
      expect([name, value(families, name, { db: "new" })]).toEqual([name, undefined]);
    }
    expect(value(families, "walrust_databases", { state: "starting" })).toBe(1);
    expect(value(families, "walrust_databases", { state: "watching" })).toBe(1);
    expect(value(families, "walrust_databases", { state: "stopped" })).toBe(0);
  });

  test("shows no path of a database", () => {
    const text = prometheusText(metricFamilies([statusOf()], new Tally(new ManualTime().env), "0.4.0"));
    expect(text).not.toContain("/srv");
  });

  test("has the counted values", () => {
    const time = new ManualTime();
    const tally = new Tally(time.env);
    time.pass(2_500);
    const events = [uploaded(), uploaded(), uploaded("snapshot"), failed("auth"), failed("auth")];
    for (const event of [...events, stopped("foreign-writer", "b"), circuitOpen(), validated("ok")]) {
      tally.observe(event);
    }
    tally.observe(validated("errors", ["x"]));
    const families = read([failingWith("auth")], tally);
    const expected: [name: string, labels: Record<string, string>, value: number][] = [
      ["walrust_up", {}, 1],
      ["walrust_build_info", { version: "0.4.0" }, 1],
      ["walrust_uptime_seconds", {}, 2.5],
      ["walrust_uploads_total", { kind: "increment" }, 2],
      ["walrust_uploads_total", { kind: "snapshot" }, 1],
      ["walrust_snapshot_count", {}, 1],
      ["walrust_upload_bytes_total", {}, 3_000],
      ["walrust_errors_total", { db: "app", type: "auth" }, 2],
      ["walrust_errors_total", { db: "b", type: "foreign-writer" }, 1],
      ["walrust_circuit_open_total", {}, 1],
      ["walrust_validation_success_total", {}, 1],
      ["walrust_validation_failure_total", {}, 1],
      ["walrust_last_validation_timestamp", {}, time.env.nowMs() / 1000],
      ["walrust_checkpoint_total", {}, 0],
    ];
    for (const [name, labels, number] of expected) {
      expect([name, value(families, name, labels)]).toEqual([name, number]);
    }
    const kinds = [...families].map(([name, { type }]) => [name, type]);
    for (const [name, type] of kinds) {
      expect([name, type]).toEqual([name, /_(total|count)$/.test(name!) ? "counter" : "gauge"]);
    }
  });

  test("has the memory that ps reports", async () => {
    const families = read([], new Tally(new ManualTime().env));
    const ps = Bun.spawn(["ps", "-o", "rss=", "-p", String(process.pid)], { stdout: "pipe" });
    const residentBytes = Number(await ps.stdout.text()) * 1024;
    const measured = value(families, "walrust_resident_memory_bytes")!;
    expect(measured / residentBytes).toBeGreaterThan(0.5);
    expect(measured / residentBytes).toBeLessThan(2);
    expect(value(families, "walrust_anonymous_memory_bytes")!).toBeLessThan(measured);
    expect(value(families, "walrust_peak_memory_bytes")!).toBeGreaterThanOrEqual(measured);
  });
});
