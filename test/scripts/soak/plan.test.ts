/** Options and plans of the soak: the load, the faults and the configuration of a seed. */
import { describe, expect, test } from "bun:test";
import { planFaults } from "../../../scripts/soak/fault-plan.ts";
import { planLoad } from "../../../scripts/soak/load-plan.ts";
import { parseSettings, replayLine } from "../../../scripts/soak/options.ts";
import { watchConfig } from "../../../scripts/soak/watch-config.ts";

describe("parseSettings", () => {
  test("has defaults, and takes the seed at hand", () => {
    expect(parseSettings([], 7)).toEqual({
      ...{
        durationMs: 2_700_000,
        warmUpMs: 60_000,
        databaseCount: 50,
        seed: 7,
        binary: null,
        jsonPath: null,
        isObserved: false,
      },
    });
  });

  test("replayLine gives the same settings again", () => {
    const words = [
      "--minutes",
      "2.5",
      "--warmup-secs",
      "30",
      "--databases",
      "8",
      "--seed",
      "3",
      "--observed",
    ];
    const settings = parseSettings(words, 7);
    expect(parseSettings(replayLine(settings).split(" ").slice(3), 99)).toEqual(settings);
  });

  test.each([
    [["--minutes", "x"], "--minutes x: expected a number from 0"],
    [["--minutes", ""], "--minutes : expected a number from 0"],
    [["--minutes", "1"], "--minutes 1 is too short: a trend needs 60 s after the warm-up of 60 s"],
    [["--minutes", "-1"], "--minutes"],
    [["--warmup-secs", "-1"], "--warmup-secs"],
    [["--databases", "0"], "--databases 0: expected a whole number from 1 to 1000"],
    [["--seed", "1.5"], "--seed 1.5: expected a whole number from 0"],
    [["--hours", "1"], "--hours"],
    [["45"], "45"],
  ])("rejects %p", (words, message) => {
    expect(() => parseSettings(words, 7)).toThrow(message);
  });
});

describe("planLoad", () => {
  const plans = planLoad(11, 50);

  test("the same seed gives the same plan, another seed other times", () => {
    expect(planLoad(11, 50)).toEqual(plans);
    expect(planLoad(12, 50)).not.toEqual(plans);
  });

  test("fifty databases hold every rate, size, checkpoint and habit", () => {
    const values = (pick: (plan: (typeof plans)[number]) => unknown): Set<unknown> =>
      new Set(plans.map(pick));
    expect(values(({ rate }) => rate)).toEqual(new Set(["idle", "rare", "steady", "fast", "bursts"]));
    expect(values(({ checkpoint }) => checkpoint?.mode)).toEqual(
      new Set([undefined, "PASSIVE", "FULL", "RESTART", "TRUNCATE"]),
    );
    expect(values(({ autocheckpointPages }) => autocheckpointPages)).toEqual(new Set([0, 1, 100, 1000]));
    expect(plans.filter(({ sizeBytes }) => sizeBytes >= 10e6)).toHaveLength(2);
    for (const habit of ["largeEveryMs", "vacuumEveryMs", "reopenEveryMs"] as const) {
      expect(plans.filter((plan) => plan[habit] !== null).length).toBeGreaterThan(3);
    }
    // Without retention, the sources of merges stay until they expire.
    expect(values(({ settings }) => settings.compact_after_snapshot)).toEqual(new Set([true, false]));
  });

  test("the large databases are written in whole", () => {
    const large = plans.filter(({ sizeBytes }) => sizeBytes >= 10e6);
    expect(large.every(({ largeEveryMs }) => largeEveryMs !== null)).toBe(true);
  });

  test("no connection writes to an idle database", () => {
    for (const plan of plans.filter(({ rate }) => rate === "idle")) {
      expect(plan).toMatchObject({ checkpoint: null, largeEveryMs: null, vacuumEveryMs: null });
    }
  });
});

describe("planFaults", () => {
  const durationMs = 2_700_000;
  const episodes = planFaults(11, durationMs);

  test("the same seed gives the same episodes", () => {
    expect(planFaults(11, durationMs)).toEqual(episodes);
    expect(planFaults(12, durationMs)).not.toEqual(episodes);
  });

  test("episodes follow each other with calm between them, and the end is calm", () => {
    for (const [index, { startMs, endMs }] of episodes.entries()) {
      expect(endMs).toBeGreaterThan(startMs);
      expect(startMs).toBeGreaterThan(index === 0 ? 0 : episodes[index - 1]!.endMs + 5_000);
      expect(endMs).toBeLessThanOrEqual(durationMs - 20_000);
    }
  });

  test.each([3, 8, 45])(
    "%d minutes: outages of half a minute, and every kind once the run has time for all",
    (minutes) => {
      for (const seed of [1, 2, 3, 4, 5]) {
        const planned = planFaults(seed, minutes * 60_000);
        const outages = planned.filter(({ kind }) => kind === "outage");
        expect(outages.every(({ startMs, endMs }) => endMs - startMs === 30_000)).toBe(true);
        if (minutes === 3) continue;
        expect(outages.length).toBeGreaterThanOrEqual(1);
        expect(new Set(planned.map(({ kind }) => kind)).size).toBe(5);
      }
    },
  );
});

test("watchConfig is TOML with an entry for each database", () => {
  const plans = planLoad(11, 3);
  const text = watchConfig(plans, {
    ...{ bucket: "s3://b/soak", endpoint: "http://127.0.0.1:1", stateFolder: "/s", metricsPort: 2 },
    pathOf: (name) => `/d/${name}.db`,
  });
  const parsed = Bun.TOML.parse(text) as Record<string, unknown>;
  expect(parsed).toMatchObject({
    s3: { bucket: "s3://b/soak", endpoint: "http://127.0.0.1:1" },
    state: { path: "/s" },
    metrics: { port: 2 },
    databases: plans.map(({ name, settings }) => ({ path: `/d/${name}.db`, ...settings })),
  });
});
