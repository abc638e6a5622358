/** The retained snapshots: boundaries of each kind of period, and random histories against another oracle. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { RetentionConfig } from "../../../src/config/config.ts";
import type { Txid } from "../../../src/format/types.ts";
import { planRetention, type SnapshotPoint } from "../../../src/replication/upkeep/retention-plan.ts";
import { cases } from "../../support/property-cases.ts";

const NONE: RetentionConfig = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
const MINUTE_MS = 60_000;

/** Snapshots at these times, TXIDs ascending from 1. */
function at(...times: string[]): SnapshotPoint[] {
  return times.map((time, index) => ({ txid: (index + 1) as Txid, timeMs: Date.parse(time) }));
}

/** The kept times, oldest first, as `2026-01-05T10:00`. */
function kept(policy: Partial<RetentionConfig>, ...times: string[]): string[] {
  return planRetention(at(...times), { ...NONE, ...policy })
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ timeMs }) => new Date(timeMs).toISOString().slice(0, 16))
    .reverse();
}

test("planRetention of no snapshots retains none", () => {
  expect(planRetention([], { hourly: 24, daily: 7, weekly: 12, monthly: 12 })).toEqual([]);
});

test("planRetention with a policy of zeros retains the newest two", () => {
  const times = ["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-01T00:02"].map((time) => `${time}Z`);
  expect(kept({}, ...times)).toEqual(["2026-01-01T00:01", "2026-01-01T00:02"]);
  expect(kept({}, times[0]!)).toEqual(["2026-01-01T00:00"]);
});

test("planRetention: an hour ends with its last millisecond", () => {
  const times = ["2026-01-01T09:59:59.999Z", "2026-01-01T10:00:00.000Z", "2026-01-01T10:59:59.999Z"];
  const more = [...times, "2026-01-01T11:00:00.000Z", "2026-01-01T11:00:00.001Z"];
  const verdicts = planRetention(at(...more), { ...NONE, hourly: 3 });
  expect(verdicts.map(({ txid, reasons }) => [Number(txid), reasons.includes("hourly")])).toEqual([
    [5, true],
    [4, false],
    [3, true],
    [2, false],
    [1, true],
  ]);
});

test("planRetention: periods without a snapshot do not count", () => {
  const times = ["2025-12-01T00:00Z", "2025-12-20T05:00Z", "2025-12-20T05:30Z", "2026-01-01T10:00Z"];
  expect(kept({ hourly: 3 }, ...times)).toEqual(["2025-12-01T00:00", "2025-12-20T05:30", "2026-01-01T10:00"]);
});

test("planRetention: weeks begin on Monday, also over the end of a year", () => {
  // 2026-01-01 is a Thursday: the week is 2025-12-29 to 2026-01-04.
  const times = [
    "2025-12-28T23:59Z",
    "2025-12-29T00:00Z",
    "2026-01-04T23:59Z",
    "2026-01-05T00:00Z",
    "2026-01-05T01:00Z",
  ];
  expect(kept({ weekly: 3 }, ...times)).toEqual([
    "2025-12-28T23:59",
    "2026-01-04T23:59",
    "2026-01-05T00:00",
    "2026-01-05T01:00",
  ]);
});

test("planRetention: months differ in length, February of a leap year included", () => {
  const times = [
    "2024-01-31T23:59Z",
    "2024-02-01T00:00Z",
    "2024-02-29T23:59Z",
    "2024-03-01T00:00Z",
    "2025-03-01T00:00Z",
    "2025-03-31T23:59Z",
  ];
  expect(kept({ monthly: 4 }, ...times)).toEqual([
    "2024-01-31T23:59",
    "2024-02-29T23:59",
    "2024-03-01T00:00",
    "2025-03-01T00:00",
    "2025-03-31T23:59",
  ]);
});

test("planRetention: times before 1970 do not collapse into one period", () => {
  expect(kept({ daily: 9 }, "1969-12-30T12:00Z", "1969-12-31T12:00Z", "1970-01-01T12:00Z")).toEqual([
    "1969-12-30T12:00",
    "1969-12-31T12:00",
    "1970-01-01T12:00",
  ]);
});

/** Random snapshots over about two years, clustered so that periods hold several. */
const HISTORY = fc
  .array(fc.record({ gap: fc.constantFrom(1, 7, 59, 61, 300, 1440, 10_081, 40_000), count: fc.nat(4) }), {
    maxLength: 40,
  })
  .map((bursts) => {
    const points: SnapshotPoint[] = [];
    let timeMs = Date.UTC(2024, 1, 27, 22, 30);
    for (const { gap, count } of bursts) {
      for (let i = 0; i <= count; i++) {
        timeMs += gap * MINUTE_MS;
        points.push({ txid: (points.length * 3 + 1) as Txid, timeMs });
      }
    }
    return points;
  });
const COUNT = fc.constantFrom(0, 1, 2, 3, 7, 24);
const POLICY = fc.record({ hourly: COUNT, daily: COUNT, weekly: COUNT, monthly: COUNT });

/** The calendar's name of a period, computed without the arithmetic of the code under test. */
const LABELS: Record<keyof RetentionConfig, (timeMs: number) => string> = {
  hourly: (timeMs) => new Date(timeMs).toISOString().slice(0, 13),
  daily: (timeMs) => new Date(timeMs).toISOString().slice(0, 10),
  monthly: (timeMs) => new Date(timeMs).toISOString().slice(0, 7),
  weekly: (timeMs) => {
    const date = new Date(timeMs);
    while (date.getUTCDay() !== 1) date.setUTCDate(date.getUTCDate() - 1);
    return date.toISOString().slice(0, 10);
  },
};

/** The snapshots to retain, tier by tier: the last member of each of the last N non-empty periods. */
function oracle(points: readonly SnapshotPoint[], policy: RetentionConfig): Set<number> {
  const result = new Set<number>(points.slice(-2).map(({ txid }) => txid));
  for (const tier of ["hourly", "daily", "weekly", "monthly"] as const) {
    const lastOf = new Map<string, number>();
    for (const { txid, timeMs } of points) lastOf.set(LABELS[tier](timeMs), txid);
    const members = policy[tier] === 0 ? [] : [...lastOf.values()].slice(-policy[tier]);
    for (const txid of members) result.add(txid);
  }
  return result;
}

test("planRetention retains the calendar's choice, the newest and two, over random histories", () => {
  const property = fc.property(HISTORY, POLICY, fc.boolean(), (points, policy, isReversed) => {
    const verdicts = planRetention(isReversed ? points.toReversed() : points, policy);
    expect(verdicts.map(({ txid }) => Number(txid))).toEqual(
      points.map(({ txid }) => Number(txid)).reverse(),
    );
    const found = new Set(verdicts.filter(({ reasons }) => reasons.length > 0).map(({ txid }) => txid));
    expect(found as Set<number>).toEqual(oracle(points, policy));
  });
  fc.assert(property, cases(300));
});

test("planRetention: every earlier run had retained the snapshots of a later run", () => {
  // Otherwise yesterday's run deleted a snapshot that today's run retains.
  const property = fc.property(HISTORY, POLICY, (points, policy) => {
    let before = new Set<number>();
    for (let count = 1; count <= points.length; count++) {
      const known = points.slice(0, count);
      const now = oracle(known, policy);
      const verdicts = planRetention(known, policy).filter(({ reasons }) => reasons.length > 0);
      for (const { txid } of verdicts) {
        expect(txid === known.at(-1)!.txid || before.has(txid)).toBe(true);
      }
      before = now;
    }
  });
  fc.assert(property, cases(40));
});
