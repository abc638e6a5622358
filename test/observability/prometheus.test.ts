/** The text of /metrics against a strict reader, and that reader against invalid texts. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Condition } from "../../src/errors.ts";
import { metricFamilies } from "../../src/observability/metrics.ts";
import {
  acceptedFormat,
  labelSet,
  labelText,
  type MetricFamily,
  metricsParts,
  metricsText,
  OPEN_METRICS_FORMAT,
  PROMETHEUS_FORMAT,
} from "../../src/observability/prometheus.ts";
import { Tally } from "../../src/observability/tally.ts";
import type { WatchEvent } from "../../src/replication/context/watch-events.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { testWith } from "../support/servers/peers.ts";
import { metricsMistakes, openMetricsMistakes } from "../support/servers/promtool.ts";
import { tempFolder } from "../support/temp.ts";
import { ManualTime } from "./manual-time.ts";
import { type ReadFamily, readOpenMetricsText, readPrometheusText } from "./prometheus-parser.ts";
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
  return readPrometheusText(
    textOf(metricFamilies(statuses, { tally, version: "0.4.0", storeConditions: [] })),
  );
}

function textOf(families: Iterable<MetricFamily>): string {
  return metricsText(families, PROMETHEUS_FORMAT);
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
    ["a sample of another ending", `${head}m_total 1\n`],
    ["buckets that shrink", histogram('m_bucket{le="1.0"} 3\nm_bucket{le="+Inf"} 2\nm_sum 1\nm_count 2\n')],
    ["a bound without a point", histogram('m_bucket{le="1"} 2\nm_bucket{le="+Inf"} 2\nm_sum 1\nm_count 2\n')],
    ["no bucket for all", histogram('m_bucket{le="1.0"} 2\nm_sum 1\nm_count 2\n')],
    ["another count", histogram('m_bucket{le="+Inf"} 2\nm_sum 1\nm_count 3\n')],
  ])("%s", (_, text) => {
    expect(() => readPrometheusText(text)).toThrow();
    expect(() => readOpenMetricsText(`${text}# EOF\n`)).toThrow();
  });

  test("and OpenMetrics without its end, and with a counter's ending in the name of the family", () => {
    const counter = "# HELP m h\n# TYPE m counter\nm_total 1\n";
    expect(readOpenMetricsText(`${counter}# EOF\n`).get("m")?.type).toBe("counter");
    expect(() => readOpenMetricsText(counter)).toThrow("EOF");
    const named = counter.replace("HELP m ", "HELP m_total ").replace("TYPE m ", "TYPE m_total ");
    expect(() => readOpenMetricsText(`${named}# EOF\n`)).toThrow();
    expect(readPrometheusText(named).get("m_total")?.type).toBe("counter");
  });
});

function histogram(samples: string): string {
  return `# HELP m h\n# TYPE m histogram\n${samples}`;
}

describe("metricsText", () => {
  test("escapes label values of any kind", () => {
    const random = seededRandom(7);
    const alphabet = ['"', "\\", "\n", "n", "}", ",", "=", " ", "ä", "\u{1f40b}", "{", "#"];
    const pick = (): string => alphabet[Math.floor(random() * alphabet.length)]!;
    const values = new Set(Array.from({ length: 200 }, () => Array.from({ length: 6 }, pick).join("")));
    const samples = [...values].map((label, index) => ({
      labels: labelText({ db: label, x: "y" }),
      value: index,
    }));
    const text = textOf([{ name: "m", kind: "gauge", help: "a \\ and\na line", samples }]);
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
    const text = textOf([
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

describe("OpenMetrics", () => {
  test("has the same values under the names that OpenMetrics demands", () => {
    const tally = new Tally(new ManualTime().env);
    for (const event of [uploaded(), uploaded("snapshot"), failed("auth")]) tally.observe(event);
    const facts = { tally, version: "0.4.0", storeConditions: [] };
    const all = [...metricFamilies([statusOf()], facts)].map((family) => ({
      ...family,
      samples: [...family.samples],
    }));
    const plain = readPrometheusText(metricsText(all, PROMETHEUS_FORMAT));
    const open = readOpenMetricsText(metricsText(all, OPEN_METRICS_FORMAT));
    expect(open.size).toBe(plain.size);
    for (const [name, { type, samples }] of plain) {
      const other = open.get(type === "counter" ? name.replace(/_total$/, "") : name);
      expect([name, other?.type]).toEqual([name, type === "untyped" ? "unknown" : type]);
      // The memory of the process changes between the two.
      expect([...other!.samples]).toEqual([...samples]);
    }
  });

  test("acceptedFormat is OpenMetrics for a reader that names it", () => {
    const prometheus =
      "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
      "text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    expect(acceptedFormat(prometheus)).toBe(OPEN_METRICS_FORMAT);
    expect(acceptedFormat("text/html, application/openmetrics-text")).toBe(OPEN_METRICS_FORMAT);
    for (const accept of [null, "", "*/*", "text/plain", "text/html, application/openmetrics-textual"]) {
      expect(acceptedFormat(accept)).toBe(PROMETHEUS_FORMAT);
    }
  });

  test("escapes a quote in help text", () => {
    const families: MetricFamily[] = [{ name: "m", kind: "gauge", help: 'a "b"', samples: [{ value: 1 }] }];
    expect(metricsText(families, OPEN_METRICS_FORMAT)).toContain('# HELP m a \\"b\\"\n');
    expect(metricsText(families, PROMETHEUS_FORMAT)).toContain('# HELP m a "b"\n');
  });
});

test("metricsParts gives the text in parts of some ten kilobytes, made when they are asked for", () => {
  let takenCount = 0;
  function* samples(): Generator<{ labels: string; value: number }> {
    for (let index = 0; index < 10_000; index++) {
      takenCount++;
      yield { labels: labelText({ db: `tenant-${index}` }), value: index };
    }
  }
  const family = (): MetricFamily => ({ name: "walrust_x", kind: "gauge", help: "h", samples: samples() });
  const parts = metricsParts([family()], PROMETHEUS_FORMAT);
  expect(parts.next().value!.length).toBeLessThan(40_000);
  expect(takenCount).toBeLessThan(2_000);
  const whole = metricsText([family()], PROMETHEUS_FORMAT);
  expect(readPrometheusText(whole).get("walrust_x")!.samples.size).toBe(10_000);
  expect([...metricsParts([family()], PROMETHEUS_FORMAT)].length).toBeGreaterThan(5);
});

test("labelSet joins labels, and is nothing without one", () => {
  expect(["", "a", "b"].map((first) => [labelSet(first), labelSet(first, "x")])).toEqual([
    ["", "{x}"],
    ["{a}", "{a,x}"],
    ["{b}", "{b,x}"],
  ]);
});

describe("promtool", () => {
  /** A page on which every metric has a series. */
  function wholePage(isPerDatabase: boolean): { families: () => Iterable<MetricFamily>; names: string[] } {
    const tally = new Tally(new ManualTime().env, isPerDatabase);
    const rare: WatchEvent = { event: "re-anchored", database: "app", txid: 3, reason: "r" };
    const events = [uploaded(), uploaded("snapshot"), failed("auth"), stopped("foreign-writer", "b"), rare];
    for (const event of [...events, checkpointed(), compacted(), validated("ok"), circuitOpen()]) {
      tally.observe(event);
    }
    const condition: Condition = { code: "falling-behind", health: "degraded", message: 'so "slow"\n' };
    const path = join(tempFolder("promtool"), "app.db");
    writeFileSync(`${path}-wal`, "a WAL");
    const replicas = [{ replica: "http://r:1", txid: 3, state: "behind", message: null } as const];
    const times = { nextSnapshotTimeMs: 1_000, listedTimeMs: 1_000 };
    const app = statusOf({ path, conditions: [condition], ...times, replicas });
    const statuses = [app, statusOf({ database: 'b"\\\n{}, ä' })];
    const families = () => metricFamilies(statuses, { tally, version: "0.4.0", storeConditions: [] });
    return { families, names: [...families()].map(({ name }) => name) };
  }

  testWith("promtool").each([true, false])(
    "finds no mistake with per_database = %p",
    async (isPerDatabase) => {
      const { families, names } = wholePage(isPerDatabase);
      const plain = metricsText(families(), PROMETHEUS_FORMAT);
      const left = ["walrust_last_validation_success", "walrust_push_acknowledged_txid"];
      const empty = isPerDatabase ? [] : left;
      expect(names.filter((name) => !plain.includes(`# TYPE ${name} `))).toEqual(empty);
      expect(await metricsMistakes(plain)).toBe("");
      expect(await openMetricsMistakes(metricsText(families(), OPEN_METRICS_FORMAT))).toBe("");
    },
  );

  testWith("promtool")("finds a planted mistake", async () => {
    const families: MetricFamily[] = [{ name: "m_count", kind: "gauge", help: "h", samples: [{ value: 1 }] }];
    expect(await metricsMistakes(metricsText(families, PROMETHEUS_FORMAT))).toContain("_count");
    expect(await openMetricsMistakes("# TYPE m gauge\nm{ 1\n# EOF\n")).not.toBe("");
    expect(await openMetricsMistakes("# TYPE m gauge\nm 1\n")).not.toBe("");
  });
});

describe("metricFamilies", () => {
  test("shows no path of a database", () => {
    const facts = { tally: new Tally(new ManualTime().env), version: "0.4.0", storeConditions: [] };
    const text = textOf(metricFamilies([statusOf()], facts));
    expect(text).not.toContain("/srv");
  });

  test("has the values of the process", () => {
    const time = new ManualTime();
    const tally = new Tally(time.env);
    time.pass(2_500);
    tally.observe(letGo());
    const isDown: Condition = { code: "not-the-store", health: "unhealthy", message: "a portal answers" };
    const isBehind: Condition = { code: "falling-behind", health: "degraded", message: "slow" };
    const statuses = [
      statusOf({ conditions: [isBehind] }),
      statusOf({ database: "b", conditions: [isBehind] }),
    ];
    const facts = { tally, version: "0.4.0", storeConditions: [isDown] };
    const families = readPrometheusText(textOf(metricFamilies(statuses, facts)));
    const expected: [name: string, labels: Record<string, string>, value: number][] = [
      ["walrust_up", {}, 1],
      ["walrust_build_info", { version: "0.4.0" }, 1],
      ["walrust_uptime_seconds", {}, 2.5],
      ["walrust_let_go_total", {}, 1],
      ["walrust_conditions", { code: "not-the-store", health: "unhealthy" }, 1],
      ["walrust_conditions", { code: "falling-behind", health: "degraded" }, 2],
      ["walrust_databases", { state: "watching" }, 2],
      ["walrust_databases", { state: "stopped" }, 0],
    ];
    for (const [name, labels, number] of expected) {
      expect([name, value(families, name, labels)]).toEqual([name, number]);
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
