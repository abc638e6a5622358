/**
 * The judgement of a trend, over the shapes that the figures of a process have: noise, a sawtooth of
 * collections, a warm-up that lasts, bursts of faults, steps, and leaks that are slow against the noise.
 */
import { describe, expect, test } from "bun:test";
import { judgeTrend, type Point, theilSenSlope, windowsOf } from "../../../scripts/soak/trend.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const MINUTE_MS = 60_000;
const READING_MS = 3_000;
const ALLOWANCE = { quantile: 0.5, growth: 6, step: 12 };
const DESCRIPTORS = { quantile: 0.5, growth: 12, step: 24 };
const MEMORY = { quantile: 0.1, growth: 20, step: 30 };

/** Readings of 44 minutes, each the value at its minute plus noise of up to 1.5 each way. */
function readings(valueAt: (minute: number) => number, minutes = 44): Point[] {
  const random = seededRandom(minutes);
  return Array.from({ length: (minutes * MINUTE_MS) / READING_MS }, (_, index) => ({
    atMs: index * READING_MS,
    value: valueAt((index * READING_MS) / MINUTE_MS) + 3 * random() - 1.5,
  }));
}

const isInBurst = (minute: number): boolean => minute % 7 >= 3 && minute % 7 < 3.5;

describe("judgeTrend", () => {
  test.each<[string, (minute: number) => number]>([
    ["noise around a level", () => 30],
    ["a sawtooth of collections", (minute) => 25 + 10 * ((minute * 6) % 1)],
    ["a sawtooth as long as a window", (minute) => 25 + 10 * ((minute / 5) % 1)],
    ["a plateau after the warm-up", (minute) => 30 - 15 * Math.exp(-minute / 3)],
    ["bursts of faults", (minute) => (isInBurst(minute) ? 80 : 30)],
    ["bursts that begin late", (minute) => (minute > 25 && isInBurst(minute) ? 80 : 30)],
    ["one small step", (minute) => (minute < 20 ? 30 : 38)],
    ["one small step in the middle", (minute) => (minute < 22 ? 30 : 38)],
    ["growth that ends in the middle", (minute) => 30 + Math.min(minute, 22) / 2],
    ["a level that falls", (minute) => 60 - minute],
    ["a slope below the allowance", (minute) => 30 + (4 * minute) / 44],
  ])("passes %s", (_shape, valueAt) => {
    expect(judgeTrend(readings(valueAt), ALLOWANCE).kind).toBe("steady");
  });

  // 50,000 increments in 44 minutes: 1 KB each is 1.1 MB a minute.
  test.each<[string, (minute: number) => number]>([
    ["1 KB an increment", (minute) => 30 + 1.1 * minute],
    ["200 bytes an increment", (minute) => 30 + 0.23 * minute],
    ["a leak below a sawtooth", (minute) => 25 + 10 * ((minute * 6) % 1) + 0.3 * minute],
    ["a leak below bursts of faults", (minute) => (isInBurst(minute) ? 80 : 30 + 0.3 * minute)],
    ["a leak of 3 in each outage, as a staircase", (minute) => 30 + 3 * Math.floor(minute / 7)],
    ["a leak that begins in the middle", (minute) => 30 + Math.max(0, minute - 15)],
    ["growth after a long warm-up", (minute) => 30 - 15 * Math.exp(-minute / 3) + 0.4 * minute],
  ])("catches %s", (_shape, valueAt) => {
    expect(judgeTrend(readings(valueAt), ALLOWANCE).kind).toBe("grows");
  });

  // Anonymous memory of a sound run: 60 to 110 MB, with a shrink of the heap every five minutes.
  const garbage = (minute: number): number => 60 + 30 * ((minute / 5) % 1) + 20 * ((minute * 1.3) % 1);

  test("the floor of memory: passes garbage, and catches 1 KB an increment below it", () => {
    expect(judgeTrend(readings(garbage), MEMORY).kind).toBe("steady");
    const leak = (minute: number): number => garbage(minute) + 1.1 * minute;
    expect(judgeTrend(readings(leak), MEMORY).kind).toBe("grows");
  });

  test("catches one descriptor a minute, with whole numbers and a pool that breathes", () => {
    const count = (minute: number): number => 250 + Math.floor(minute) + (minute % 2 < 0.6 ? 8 : 0);
    expect(judgeTrend(readings(count), DESCRIPTORS).kind).toBe("grows");
    const sound = (minute: number): number => count(minute) - Math.floor(minute);
    expect(judgeTrend(readings(sound), DESCRIPTORS).kind).toBe("steady");
  });

  test.each([10, 15, 22, 30])("catches a large step after %d minutes", (atMinute) => {
    const { kind } = judgeTrend(
      readings((minute) => (minute < atMinute ? 30 : 60)),
      ALLOWANCE,
    );
    expect(["stepped", "grows"]).toContain(kind);
  });

  test("reports the thirds, the slope an hour and the projected growth of a straight line", () => {
    const line = Array.from({ length: 600 }, (_, index) => ({ atMs: index * READING_MS, value: index / 20 }));
    const { first, last, slopePerHour, projected } = judgeTrend(line, ALLOWANCE);
    expect(slopePerHour).toBeCloseTo(60, 0);
    expect(projected).toBeCloseTo(30, 0);
    expect((last - first) * 1.5).toBeCloseTo(projected, -1);
  });

  test.each([0, 1, 2, 8])("has no verdict on %d readings", (count) => {
    const few = readings(() => 30).slice(0, count);
    expect(judgeTrend(few, ALLOWANCE).kind).toBe("too short");
  });
});

describe("windowsOf", () => {
  test("takes the median of each window, the last reading included, and skips empty windows", () => {
    const points = [0, 1, 2, 3, 30, 31, 32, 40].map((atMs) => ({ atMs, value: atMs === 1 ? 900 : atMs }));
    expect(windowsOf(points, 0.5, 4)).toEqual([
      { atMs: 5, value: 2 },
      { atMs: 35, value: 31 },
    ]);
  });
});

test("theilSenSlope ignores a quarter of wild values", () => {
  const points = Array.from({ length: 20 }, (_, index) => ({
    atMs: index,
    value: index % 5 === 4 ? 1e6 : 2 * index,
  }));
  expect(theilSenSlope(points)).toBe(2);
  expect(theilSenSlope([])).toBe(0);
});
