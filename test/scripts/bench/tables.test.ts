/** Statistics and tables of the benchmark. */
import { describe, expect, test } from "bun:test";
import type { Goal } from "../../../scripts/bench/goals.ts";
import { formatGoals } from "../../../scripts/bench/results/goal-table.ts";
import { failedRun, type Measurement } from "../../../scripts/bench/results/measurement.ts";
import { formatFailures, formatSummary, formatTables } from "../../../scripts/bench/results/tables.ts";
import { formatValue } from "../../../scripts/bench/results/values.ts";
import { describeSpec, LOAD } from "../../../scripts/bench/spec.ts";
import { median, quantile } from "../../../scripts/measure/statistics.ts";

type ToolName = Measurement["tool"];

function one(
  tool: ToolName,
  values: Measurement["values"],
  name: Measurement["case"] = "lag",
  setting = "x",
): Measurement {
  return { case: name, tool, setting, values, failure: null };
}

describe("statistics", () => {
  test("quantile takes the nearest rank", () => {
    const sorted = Array.from({ length: 40 }, (_, index) => index + 1);
    expect([0.5, 0.95, 1].map((share) => quantile(sorted, share))).toEqual([20, 38, 40]);
    expect(median([3, 1, 2])).toBe(2);
    expect(quantile([], 0.5)).toBeNaN();
  });
});

test.each([
  ["rssBytes", 27_540_000, "27.5 MB"],
  ["cpuShare", 0.0054, "0.5 %"],
  ["commitFactor", 1.104, "×1.10"],
  ["lagP50Ms", 9.126, "9.13 ms"],
  ["lagP50Ms", 24.4, "24 ms"],
  ["lagP50Ms", 1_204, "1.20 s"],
  ["callsPerIncrement", 253.7, "253.7"],
  ["incrementsPerCommit", 1.125, "1.13"],
  ["threadCount", 9, "9"],
  ["listsPerDatabaseMonth", 128_940.4, "128940"],
  ["pssBytes", undefined, "not measured"],
])("formatValue(%s, %p) is %s", (key, value, text) => {
  expect(formatValue(key, value)).toBe(text);
});

describe("formatTables", () => {
  const lag = (lagP50Ms: number) => ({ lagP50Ms, lagP95Ms: 2000, commitCount: 40 });

  test("shows units, the median of rounds and the ratio", () => {
    const table = formatTables([
      one("walrust", lag(9)),
      one("walrust", lag(50)),
      one("walrust", lag(60)),
      one("litestream", lag(500)),
    ]);
    expect(table).toContain("| lag: x, median of 3 rounds | walrust | Litestream | ratio |");
    expect(table).toContain("| commit → object, p50 | 50 ms | 500 ms | 0.1 |");
    expect(table).toContain("| commit → object, p95 | 2.00 s | 2.00 s | 1 |");
    expect(table).toContain("| commits | 40 | 40 |  |");
    expect(table).not.toContain("longest");
  });

  test("a value of one tool is not measured for the other, and a request counts as 0", () => {
    const table = formatTables([
      one("walrust", { rssMedianBytes: 5e6, "requests.PutObject": 3 }, "load"),
      one("litestream", {}, "load"),
    ]);
    expect(table).toContain("| VmRSS, median | 5.0 MB | not measured |  |");
    expect(table).toContain("| requests: PutObject | 3 | 0 |  |");
    expect(table).toContain("| system calls per second | not measured | not measured |  |");
  });
});

test("formatSummary has a line for each load and tool, from three loads on", () => {
  const loads = ["a", "b", "c"].flatMap((setting) => [
    one("walrust", { rssMedianBytes: 3e7, missingMs: 20 }, "load", setting),
    one("litestream", { rssMedianBytes: 5e7 }, "load", setting),
  ]);
  expect(formatSummary(loads.slice(0, 4))).toBe("");
  const lines = formatSummary(loads).split("\n");
  expect(lines).toHaveLength(2 + 6);
  expect(lines[2]).toMatch(/^\| a \| walrust \| 30\.0 MB \| – \|.*\| 20 ms \|/);
});

test("formatFailures names tool, case and reason", () => {
  const failed = failedRun(LOAD, "litestream", new Error("it ended\nits log"));
  expect(formatFailures([one("walrust", {}), failed])).toBe(
    `- litestream, load: ${describeSpec(LOAD)}: it ended\n  its log`,
  );
});

describe("formatGoals", () => {
  const spec = { ...LOAD, databaseCount: 500 };
  const goal: Goal = {
    label: "RSS, calls",
    columns: [
      { spec, key: "rssMedianBytes", limit: 42e6 },
      { spec, key: "callsPerIncrement", limit: 12 },
    ],
  };
  const results = (walrust: Measurement["values"]): Measurement[] => [
    one("walrust", walrust, "load", describeSpec(spec)),
    one("litestream", { rssMedianBytes: 486e6, callsPerIncrement: 90 }, "load", describeSpec(spec)),
    one("walrust", { rssMedianBytes: 1 }, "load", "another load"),
  ];
  const line = (walrust: Measurement["values"]): string =>
    formatGoals([goal], results(walrust)).split("\n").at(-1)!;

  test("judges each value as the table shows it", () => {
    expect(line({ rssMedianBytes: 42_040_000, callsPerIncrement: 12.1 })).toBe(
      "| RSS, calls | 42.0 MB / 12.1 | 486.0 MB / 90.0 | ≤ 42.0 MB / 12.0 | yes / no |",
    );
  });

  test("says what was not measured, and at which rate the rest was", () => {
    expect(line({ rssMedianBytes: 41e6, reachedShare: 0.6 })).toContain("| 41.0 MB / not measured |");
    expect(line({ rssMedianBytes: 41e6, reachedShare: 0.6 })).toEndWith("| yes, at 60.0 % of the rate / – |");
  });
});
