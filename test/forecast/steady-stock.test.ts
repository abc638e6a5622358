/** The stock: the objects in the bucket in the long run, by level. */
import { describe, expect, test } from "bun:test";
import { MONTH_SECONDS, type SteadyStock, steadyStock } from "../../src/forecast/steady-stock.ts";
import { EXPIRY_INTERVAL_MS } from "../../src/replication/upkeep/maintenance.ts";
import { type ConfigChange, configWith } from "../support/config.ts";

const SHAPE = { databaseBytes: 4096 * 100, pageSizeBytes: 4096, compressionRatio: 1 };
const RATE = { commitsPerSecond: 1, pagesPerCommit: 1 };

function stockOf(change: ConfigChange): SteadyStock {
  return steadyStock(SHAPE, configWith(change), RATE);
}

describe("steadyStock", () => {
  test("an increment stays for its lifetime, the wait for its merge, and the wait for its deletion", () => {
    const { levels } = stockOf({
      compaction: { levelsMs: [60_000, 600_000, 6_000_000], lifetimesMs: [600_000, 1, 1] },
    });
    const ageMs = 600_000 + 60_000 / 2 + EXPIRY_INTERVAL_MS / 2;
    expect(levels[0]).toMatchObject({ count: ageMs / 1000, growthBytesPerMonth: 0, expiredPerSecond: 1 });
  });

  test("without compaction and retention every increment stays", () => {
    const { levels, reachMs } = stockOf({
      compaction: { enabled: false },
      sync: { compactAfterSnapshot: false, compactIntervalMs: 0 },
    });
    expect(reachMs).toBe(Number.POSITIVE_INFINITY);
    expect(levels[0]).toMatchObject({ count: MONTH_SECONDS, expiredPerSecond: 0 });
    expect(levels[0]!.growthBytesPerMonth).toBe(MONTH_SECONDS * levels[0]!.objectBytes);
    expect(levels.slice(1).map(({ count }) => count)).toEqual([0, 0, 0]);
  });

  test("an object holds each changed page once, and at most the pages of the database", () => {
    const { levels, snapshots } = stockOf({ compaction: { levelsMs: [10_000, 100_000, 10_000_000] } });
    const [increments, first, second, third] = levels.map(({ objectBytes }) => objectBytes);
    expect(first!).toBeLessThan(increments! * 10);
    expect(second!).toBeGreaterThan(first!);
    expect(third!).toBeLessThanOrEqual(snapshots.objectBytes);
  });

  test("a rate or a shape out of range is clamped", () => {
    const shape = { databaseBytes: -1, pageSizeBytes: 0, compressionRatio: 99 };
    const { snapshots } = steadyStock(shape, configWith({}), { commitsPerSecond: -1, pagesPerCommit: 1e9 });
    expect(snapshots.objectBytes).toBeGreaterThan(512);
    expect(snapshots.objectBytes).toBeLessThan(1000);
  });
});
