/** The pace: the rate of each step at a steady rate of commits. */
import { describe, expect, test } from "bun:test";
import { capturesPerSecond, type SteadyPace, steadyPace } from "../../src/forecast/steady-pace.ts";
import { EXPIRY_INTERVAL_MS } from "../../src/replication/upkeep/maintenance.ts";
import { ACTIVE_TICK_MS } from "../../src/replication/watch/wake-ups.ts";
import { type ConfigChange, configWith } from "../support/config.ts";

const HOUR_MS = 3_600_000;
const INCREMENT_BYTES = 1000;

function paceOf(commitsPerSecond: number, change: ConfigChange = {}): SteadyPace {
  return steadyPace(configWith(change), { commitsPerSecond, pagesPerCommit: 4 }, INCREMENT_BYTES);
}

function captures(commitsPerSecond: number, walSyncIntervalMs: number): number {
  const { sync } = configWith({ sync: { walSyncIntervalMs } });
  return capturesPerSecond(sync, { commitsPerSecond, pagesPerCommit: 1 });
}

describe("capturesPerSecond", () => {
  test("is the rate of commits, bounded by the sync interval and the polls", () => {
    expect(captures(0.3, 1000)).toBe(0.3);
    expect(captures(50, 1000)).toBe(1);
    expect(captures(50, 0)).toBe(1000 / ACTIVE_TICK_MS);
    expect(captures(50, Number.POSITIVE_INFINITY)).toBe(0);
  });
});

describe("steadyPace", () => {
  test("merges the objects of the level below, once an interval", () => {
    const { merges } = paceOf(1, { compaction: { levelsMs: [10_000, 100_000, 1_000_000] } });
    expect(merges.map(({ mergesPerSecond }) => mergesPerSecond)).toEqual([0, 0.1, 0.01, 0.001]);
    expect(merges.map(({ sourcesPerPass }) => Math.round(sourcesPerPass))).toEqual([0, 10, 10, 10]);
  });

  test("splits a pass of more than 128 sources into several merges", () => {
    const { merges } = paceOf(1, { compaction: { levelsMs: [300_000, 3_000_000, 30_000_000] } });
    expect(merges[1]).toMatchObject({ sourcesPerPass: 300, mergesPerSecond: 3 / 300 });
  });

  test("merges level 1 early by count and by size", () => {
    const levelsMs = [HOUR_MS, HOUR_MS, HOUR_MS] as const;
    const off = { threshold: 0, sizeBytes: 0, maxIncrementalAgeMs: 0, levelsMs };
    expect(paceOf(1, { compaction: { ...off, threshold: 20 } }).merges[1]!.passesPerSecond).toBe(1 / 20);
    const bySize = paceOf(1, { compaction: { ...off, sizeBytes: 50 * INCREMENT_BYTES } });
    expect(bySize.merges[1]!.passesPerSecond).toBe(1 / 50);
    expect(bySize.merges[2]!.passesPerSecond).toBe(1000 / HOUR_MS);
  });

  test("checks for expired objects at most once an interval, and never without merges", () => {
    expect(paceOf(1).expiryChecksPerSecond).toBe(1000 / EXPIRY_INTERVAL_MS);
    expect(paceOf(1, { compaction: { enabled: false } }).expiryChecksPerSecond).toBe(0);
  });

  test("reconciles an idle database, and nothing else", () => {
    const { merges, reconcilesPerSecond, ...rest } = paceOf(0);
    expect(Object.values(rest).every((rate) => rate === 0)).toBe(true);
    expect(merges.every(({ passesPerSecond }) => passesPerSecond === 0)).toBe(true);
    expect(1 / reconcilesPerSecond).toBeCloseTo((18 * HOUR_MS) / 1000, 6);
  });
});
