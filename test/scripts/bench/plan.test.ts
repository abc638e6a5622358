/** Options, presets and goals of the benchmark: the specs that a command line selects. */
import { describe, expect, test } from "bun:test";
import { GOALS, goalSpecs } from "../../../scripts/bench/goals.ts";
import { parseSettings } from "../../../scripts/bench/options.ts";
import { PRESET_NAMES, presetSpecs } from "../../../scripts/bench/plan.ts";
import { neededSpace } from "../../../scripts/bench/run.ts";
import { describeSpec, formatSize, LOAD, type LoadSpec, parseSize } from "../../../scripts/bench/spec.ts";

const loads = (...words: string[]): LoadSpec[] =>
  parseSettings(words).specs.filter((spec) => spec.case === "load");

describe("presets", () => {
  test.each(PRESET_NAMES)("%s describes each of its specs differently", (name) => {
    const titles = presetSpecs(name).map((spec) => `${spec.case} ${describeSpec(spec)}`);
    expect(titles.length).toBeGreaterThan(0);
    expect(new Set(titles).size).toBe(titles.length);
  });

  test("scalability is 1, 10, 50, 100 databases by 10, 100, 1,000 commits/s for 30 s", () => {
    const specs = loads("--preset", "scalability");
    expect(specs.map(({ databaseCount, commitsPerSecond }) => [databaseCount, commitsPerSecond])).toEqual(
      [1, 10, 50, 100].flatMap((count) => [10, 100, 1_000].map((rate) => [count, rate])),
    );
    expect(specs.every(({ durationMs }) => durationMs === 30_000)).toBe(true);
  });

  test("full has every count, rate, size, delay and scheme", () => {
    expect(loads("--preset", "full")).toHaveLength(5 * 5 * 3 * 3 * 2);
  });

  test("goals runs each spec of its goals once", () => {
    const { specs, goals } = parseSettings(["--preset", "goals"]);
    expect(goals).toEqual(GOALS);
    expect(specs).toEqual(goalSpecs(GOALS));
  });
});

describe("parseSettings", () => {
  test("makes all combinations of the lists", () => {
    const specs = loads("--databases", "1,500", "--rates", "0,40", "--delays", "25", "--schemes", "https");
    expect(
      specs.map(({ databaseCount, commitsPerSecond, delayMs, scheme }) =>
        [databaseCount, commitsPerSecond, delayMs, scheme].join(" "),
      ),
    ).toEqual(["1 0 25 https", "1 40 25 https", "500 0 25 https", "500 40 25 https"]);
  });

  test("overrides apply to every case that has the value", () => {
    const words = [
      "--preset",
      "table",
      "--seconds",
      "5",
      "--warm-up",
      "1",
      "--commits",
      "9",
      "--end",
      "kill",
    ];
    const { specs } = parseSettings([...words, "--verify", "2"]);
    for (const spec of specs) {
      if (spec.case === "load") {
        expect(spec).toMatchObject({ durationMs: 5_000, warmUpMs: 1_000, end: "kill", verifyCount: 2 });
      }
      if (spec.case === "lag" || spec.case === "commit") expect(spec.commitCount).toBe(9);
      if (spec.case === "large") expect("durationMs" in spec).toBe(false);
    }
  });

  test("--observed is for loads, and part of their words", () => {
    const { specs } = parseSettings(["--quick", "--observed"]);
    for (const spec of specs) {
      expect("isObserved" in spec && spec.isObserved).toBe(spec.case === "load");
      expect(describeSpec(spec).endsWith(", walrust observed")).toBe(spec.case === "load");
    }
    expect(loads("--quick").some(({ isObserved }) => isObserved)).toBe(false);
  });

  test("goals follow the overrides, so their results are found", () => {
    const { specs, goals } = parseSettings(["--preset", "goals", "--goal", "idle", "--quick"]);
    expect(specs).toHaveLength(1);
    expect(goals.flatMap(({ columns }) => columns.map(({ spec }) => describeSpec(spec)))).toEqual(
      Array(5).fill(describeSpec(specs[0]!)),
    );
    expect(specs[0]).toMatchObject({ databaseCount: 500, commitsPerSecond: 0, durationMs: 10_000 });
  });

  test("--case selects cases of the preset", () => {
    const { specs } = parseSettings(["--quick", "--case", "lag", "--case", "history"]);
    expect(specs.map((spec) => spec.case)).toEqual(["lag", "history"]);
  });

  test.each([
    [["--databases", "0"], "--databases 0: expected a whole number from 1"],
    [["--databases", "1,x"], "--databases x: expected"],
    [["--rates", ""], "--rates : expected a number from 0"],
    [["--sizes", "5XB"], "5XB is no size"],
    [["--schemes", "ftp"], "--schemes ftp: expected one of http, https"],
    [["--preset", "huge"], "--preset huge: expected one of table, quick"],
    [["--case", "memory"], "--case memory: expected one of load"],
    [["--preset", "goals", "--goal", "nothing"], "no goal has this text"],
    [["--nothing"], "--nothing"],
  ])("rejects %p", (words, message) => {
    expect(() => parseSettings(words)).toThrow(message);
  });
});

test("describeSpec names what distinguishes a load", () => {
  expect(describeSpec({ ...LOAD, databaseCount: 500, delayMs: 25, scheme: "https", end: "kill" })).toBe(
    "databases: 500 of 100 KB, 1 commits/s to each, 60 s after 10 s, storage 25 ms away each way, https, " +
      "ended by SIGKILL",
  );
  expect(describeSpec({ ...LOAD, commitsPerSecond: 0, lineRate: 64_000 })).toContain(
    "idle, 60 s after 10 s, 64 KB/s",
  );
});

test("describeSpec names the user, so the results of two users stay apart", () => {
  const [spec] = loads("--databases", "1", "--user", "nobody");
  expect(spec).toMatchObject({ user: "nobody" });
  expect(describeSpec(spec!)).toEndWith(", as the user nobody");
});

test("sizes: parseSize reads what formatSize prints", () => {
  for (const sizeBytes of [500, 100_000, 513e6, 4e9].slice(1)) {
    expect(parseSize(formatSize(sizeBytes))).toBe(sizeBytes);
  }
  expect(parseSize("1.5gb")).toBe(1.5e9);
  expect(() => parseSize("10")).toThrow("10 is no size");
});

test("neededSpace grows with the number and size of the databases", () => {
  expect(neededSpace({ ...LOAD, databaseCount: 10, sizeBytes: 4e9 })).toBeGreaterThan(150e9);
  expect(neededSpace(LOAD)).toBeLessThan(1e6);
});
