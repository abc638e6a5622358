/** Options and plan of the chaos run. */
import { describe, expect, test } from "bun:test";
import { parseSettings, replayLine } from "../../../scripts/chaos/options.ts";
import { planLives, planSegments } from "../../../scripts/chaos/plan.ts";

const MINUTE_MS = 60_000;

describe("parseSettings of the chaos run", () => {
  test("has defaults, and takes the seed at hand", () => {
    expect(parseSettings([], 7)).toEqual({
      ...{
        durationMs: 10 * MINUTE_MS,
        databaseCount: 4,
        seed: 7,
        recoveryLimitMs: 5_000,
        binary: null,
        keepPath: null,
        isObserved: false,
      },
    });
  });

  test("replayLine gives the same settings again", () => {
    const settings = parseSettings(["--minutes", "2.5", "--databases", "2", "--observed"], 7);
    expect(settings.isObserved).toBe(true);
    expect(parseSettings(replayLine(settings).split(" ").slice(3), 99)).toEqual(settings);
  });

  test.each([
    [["--minutes", "0.1"], "--minutes 0.1: expected a number from 0.25"],
    [["--minutes", "x"], "--minutes x"],
    [["--seed", "-1"], "--seed"],
    [["--hours", "1"], "--hours"],
  ])("rejects %p", (words, message) => {
    expect(() => parseSettings(words, 7)).toThrow(message);
  });
});

describe("planLives", () => {
  test("a life takes some five minutes, and the first has the seed of the run", () => {
    const lives = planLives(40, 30 * MINUTE_MS);
    expect(lives.map(({ seed }) => seed)).toEqual([40, 41, 42, 43, 44, 45]);
    expect(lives.every(({ durationMs }) => durationMs === 5 * MINUTE_MS)).toBe(true);
  });

  test.each([0.25, 2, 5, 7])("a run of %d minutes is one life", (minutes) => {
    expect(planLives(1, minutes * MINUTE_MS)).toEqual([{ seed: 1, durationMs: minutes * MINUTE_MS }]);
  });

  test("a life alone is the run that repeats it", () => {
    const [, second] = planLives(8, 12 * MINUTE_MS);
    expect(planLives(second!.seed, second!.durationMs)).toEqual([second!]);
  });
});

describe("planSegments", () => {
  test("the same seed gives the same segments, another seed others", () => {
    const segments = planSegments(1, 5 * MINUTE_MS);
    expect(planSegments(1, 5 * MINUTE_MS)).toEqual(segments);
    expect(planSegments(2, 5 * MINUTE_MS)).not.toEqual(segments);
    expect(segments).toHaveLength(4);
  });

  test.each([1, 2, 3, 4])("two minutes of seed %d hold each kind of weather and of trouble", (seed) => {
    const segments = planSegments(seed, 2 * MINUTE_MS);
    const spells = segments.flatMap((segment) => segment.spells.map(({ kind }) => kind));
    const troubles = segments.flatMap((segment) => segment.troubles.map(({ kind }) => kind));
    expect(new Set(spells).size).toBe(9);
    expect(new Set(troubles).size).toBe(7);
  });

  test("the shortest run has one segment with faults", () => {
    const [segment, ...more] = planSegments(1, 0.25 * MINUTE_MS);
    expect(more).toEqual([]);
    expect(segment!.faultMs).toBe(8_000);
    expect(segment!.spells.length).toBeGreaterThan(0);
    expect(segment!.troubles.length).toBeGreaterThan(0);
  });

  test("only the clock has an offset, only latency a delay, and a storm meets every request", () => {
    for (const { spells, troubles } of planSegments(5, 30 * MINUTE_MS)) {
      for (const { kind, offsetMs } of troubles) if (kind !== "clock") expect(offsetMs).toBe(0);
      for (const { kind, weather } of spells) {
        if (kind === "storm") expect(weather).toEqual({ kind: "errors", share: 1, delayMs: 0 });
        else expect(weather.delayMs > 0).toBe(kind === "latency");
      }
    }
  });
});
