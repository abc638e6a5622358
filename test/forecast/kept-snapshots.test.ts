/**
 * The number of retained snapshots in the long run, against planPruning applied after each snapshot for two
 * years.
 */
import { describe, expect, test } from "bun:test";
import type { RetentionConfig } from "../../src/config/config.ts";
import { keptSnapshots } from "../../src/forecast/kept-snapshots.ts";
import { planPruning } from "../../src/replication/upkeep/retention-plan.ts";
import type { LtxObject } from "../../src/storage/bucket/catalog.ts";

const HOUR_MS = 3_600_000;
const GFS = { hourly: 24, daily: 7, weekly: 12, monthly: 12 };

describe("keptSnapshots is the number that planPruning retains", () => {
  test.each([
    ["24/7/12/12 every hour", GFS, HOUR_MS],
    ["24/7/12/12 every 5 hours", GFS, 5 * HOUR_MS],
    ["24/7/12/12 every 3 days", GFS, 72 * HOUR_MS],
    ["0/3/0/2 twice a day", { hourly: 0, daily: 3, weekly: 0, monthly: 2 }, 12 * HOUR_MS],
    ["none, every hour", { hourly: 0, daily: 0, weekly: 0, monthly: 0 }, HOUR_MS],
    ["48 hours, every 20 minutes", { hourly: 48, daily: 0, weekly: 0, monthly: 0 }, HOUR_MS / 3],
  ])("%s", (_, policy, periodMs) => {
    const { count, reachMs, reachMinMs } = keptSnapshots(policy, periodMs);
    const found = pruneOverTwoYears(policy, periodMs);
    expect(Math.abs(count - found.count)).toBeLessThanOrEqual(0.02 * found.count);
    expect(Math.abs(reachMs - found.reachMs)).toBeLessThanOrEqual(0.02 * found.reachMs);
    expect(reachMinMs).toBeGreaterThanOrEqual(found.reachMinMs * 0.98);
    expect(reachMinMs).toBeLessThanOrEqual(found.reachMinMs * 1.05);
  });

  test("the seeds' 24, 7, 12 and 12 are less than 55, because one snapshot serves several rules", () => {
    const { count } = keptSnapshots(GFS, HOUR_MS);
    expect(count).toBeGreaterThan(48);
    expect(count).toBeLessThan(51);
  });

  test("a snapshot every few years is retained for as many years", () => {
    const yearMs = 366 * 24 * HOUR_MS;
    expect(keptSnapshots(GFS, 2 * yearMs)).toEqual({
      count: 24,
      reachMs: 46 * yearMs,
      reachMinMs: 46 * yearMs,
    });
  });
});

/** Runs retention after each snapshot for two and a half years. @returns means over the last year */
function pruneOverTwoYears(policy: RetentionConfig, periodMs: number) {
  const startMs = Date.UTC(2026, 0, 1, 0, 29);
  const dayMs = 24 * HOUR_MS;
  const times = new Map<string, number>();
  let objects: LtxObject[] = [];
  let samples = 0;
  const mean = { count: 0, reachMs: 0, reachMinMs: Number.POSITIVE_INFINITY };
  // Shorter for policies that reach less far.
  const days = policy.monthly > 0 ? 900 : 40;
  for (let index = 1; index * periodMs < days * dayMs; index++) {
    const timeMs = startMs + index * periodMs;
    const key = `app/0009/${index}`;
    times.set(key, timeMs);
    const txid = index as LtxObject["maxTxid"];
    objects.push({
      key,
      level: 9,
      minTxid: 1 as typeof txid,
      maxTxid: txid,
      sizeBytes: 1,
      modifiedMs: timeMs,
    });
    const gone = new Set(planPruning(objects, times, policy).deletions.map((object) => object.key));
    objects = objects.filter((object) => !gone.has(object.key));
    if (index * periodMs < (days - 370) * dayMs && policy.monthly > 0) continue;
    if (index * periodMs < 10 * dayMs) continue;
    samples++;
    const reachMs = timeMs - times.get(objects[0]!.key)!;
    mean.count += objects.length;
    mean.reachMs += reachMs;
    mean.reachMinMs = Math.min(mean.reachMinMs, reachMs);
  }
  return { ...mean, count: mean.count / samples, reachMs: mean.reachMs / samples };
}
