/**
 * Restorable points: every promise holds in a bucket after hours of the real upkeep, and nothing is promised
 * that may not hold.
 */
import { describe, expect, test } from "bun:test";
import { type RestorableSpan, restorablePoints } from "../../src/forecast/restorable-points.ts";
import type { Txid } from "../../src/format/types.ts";
import { planRestore } from "../../src/recovery/plan/restore-plan.ts";
import { type ConfigChange, configWith } from "../support/config.ts";
import { SteadyHours } from "../support/histories/steady-hours.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NEVER = Number.POSITIVE_INFINITY;
const RETAINED = configWith({ sync: { compactAfterSnapshot: true } });
const UNRETAINED = { compactAfterSnapshot: false };
const UNCOMPACTED = { enabled: false };

function pointsOf(change: ConfigChange) {
  return restorablePoints(configWith(change, RETAINED));
}

/** Spans without their sentences. */
function shapes(spans: readonly RestorableSpan[]): unknown[] {
  return spans.map(({ kind, until, end, spacingMs }) => [kind, until, end, spacingMs]);
}

function history(change: ConfigChange): unknown[] {
  return shapes(pointsOf(change).spans.filter(({ kind }) => kind !== "snapshots"));
}

describe("restorablePoints", () => {
  test("the defaults, with retention", () => {
    const { spans, sentences } = pointsOf({});
    const reachMs = spans[3]!.until!;
    expect(shapes(spans)).toEqual([
      ["captures", HOUR_MS, "age", 1000],
      ["merges", DAY_MS, "age", 30_000],
      ["merges", 7 * DAY_MS, "age", 300_000],
      ["merges", reachMs, "oldest-snapshot", HOUR_MS],
      ["snapshots", DAY_MS, "age", HOUR_MS],
      ["snapshots", 7 * DAY_MS, "age", DAY_MS],
      ["snapshots", 84 * DAY_MS, "age", 7 * DAY_MS],
      ["snapshots", 360 * DAY_MS, "age", 30 * DAY_MS],
    ]);
    // The newest of the eleventh month back, with ten whole months in between.
    expect(reachMs).toBeGreaterThanOrEqual(300 * DAY_MS);
    expect(reachMs).toBeLessThan(310 * DAY_MS);
    expect(sentences).toEqual([
      "Every capture (at most one every second) for at least 1 hour, and always the 10 newest.",
      "Then one point every 30 seconds for at least 1 day.",
      "Then one point every 5 minutes for at least 1 week.",
      "Then one point every hour back to the oldest snapshot that is kept (at least 10 months).",
      "The newest snapshot of each of the last 24 hours that have one.",
      "The newest snapshot of each of the last 7 days that have one.",
      "The newest snapshot of each of the last 12 weeks that have one.",
      "The newest snapshot of each of the last 12 months that have one.",
      "The 2 newest snapshots always stay. Nothing before the oldest kept snapshot can be restored.",
    ]);
  });

  test("without retention the objects of the last merge never expire", () => {
    const { spans, sentences } = pointsOf({ sync: UNRETAINED });
    expect(shapes(spans).slice(3)).toEqual([
      ["merges", null, "never", HOUR_MS],
      ["snapshots", null, "never", HOUR_MS],
    ]);
    expect(sentences.slice(3)).toEqual([
      "Then one point every hour for ever.",
      "Every snapshot (every hour) for ever.",
      "Retention does not run: the bucket grows until you run `walrust compact --force`.",
    ]);
  });

  test("without compaction every capture stays until retention", () => {
    expect(history({ compaction: UNCOMPACTED })).toEqual([
      ["captures", expect.any(Number), "oldest-snapshot", 1000],
    ]);
    expect(history({ compaction: UNCOMPACTED, sync: UNRETAINED })).toEqual([
      ["captures", null, "never", 1000],
    ]);
  });

  test("a level that is not made leaves the one below it until retention", () => {
    const compaction = { levelsMs: [30_000, NEVER, HOUR_MS] };
    expect(history({ compaction, sync: UNRETAINED })).toEqual([
      ["captures", HOUR_MS, "age", 1000],
      ["merges", null, "never", 30_000],
    ]);
    const none = { levelsMs: [NEVER, 300_000, HOUR_MS], threshold: 5 };
    expect(history({ compaction: none, sync: UNRETAINED })).toEqual([["captures", null, "never", 1000]]);
  });

  test("a level with a lifetime no longer than a finer one's adds nothing", () => {
    const compaction = { lifetimesMs: [DAY_MS, HOUR_MS, 2 * DAY_MS] } as const;
    expect(history({ compaction, sync: UNRETAINED })).toEqual([
      ["captures", DAY_MS, "age", 1000],
      ["merges", 2 * DAY_MS, "age", 300_000],
      ["merges", null, "never", HOUR_MS],
    ]);
  });

  test("short retention ends finer levels too", () => {
    const retention = { hourly: 6, daily: 0, weekly: 0, monthly: 0 };
    expect(history({ retention })).toEqual([
      ["captures", HOUR_MS, "age", 1000],
      ["merges", 5 * HOUR_MS, "oldest-snapshot", 30_000],
    ]);
    const none = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
    expect(history({ retention: none })).toEqual([["captures", HOUR_MS, "oldest-snapshot", 1000]]);
  });

  test("points are no closer than the captures or the level of their objects", () => {
    const compaction = { levelsMs: [30_000, 1000, 0] };
    const { spans } = pointsOf({ compaction, sync: { walSyncIntervalMs: 60_000, ...UNRETAINED } });
    expect(spans.slice(0, 4).map(({ spacingMs }) => spacingMs)).toEqual([60_000, 60_000, 60_000, 60_000]);
  });

  test("an early compaction by age makes points closer", () => {
    const compaction = { maxIncrementalAgeMs: 10_000 };
    expect(history({ compaction })[1]).toEqual(["merges", DAY_MS, "age", 10_000]);
  });

  test("snapshots by amount give no age: the horizon is the oldest retained one", () => {
    const { spans } = pointsOf({ sync: { snapshotIntervalMs: 0, maxChanges: 1000 } });
    expect(shapes(spans).slice(3, 5)).toEqual([
      ["merges", null, "oldest-snapshot", HOUR_MS],
      ["snapshots", DAY_MS, "age", null],
    ]);
  });

  test("retention without snapshots ends nothing", () => {
    const { spans, sentences } = pointsOf({ sync: { snapshotIntervalMs: 0, compactIntervalMs: HOUR_MS } });
    expect(shapes(spans).at(-1)).toEqual(["merges", null, "never", HOUR_MS]);
    expect(sentences.at(-1)).toStartWith("Only the first snapshot is taken");
  });

  test("captures alone, without upkeep", () => {
    expect(shapes(pointsOf({ compaction: UNCOMPACTED, sync: { snapshotIntervalMs: 0 } }).spans)).toEqual([
      ["captures", null, "never", 1000],
    ]);
  });

  test("gives at least one sentence for any settings", () => {
    for (const odd of [0, 1, 1234.5, NEVER]) {
      const { spans, sentences } = pointsOf({
        compaction: { levelsMs: [odd, odd, odd], lifetimesMs: [odd, odd, odd] },
        sync: {
          walSyncIntervalMs: odd,
          snapshotIntervalMs: odd,
          maxIntervalMs: odd,
          compactIntervalMs: odd,
        },
      });
      expect(spans.length).toBeGreaterThan(0);
      for (const { until } of spans) expect(until ?? 0).toBeGreaterThanOrEqual(0);
      for (const sentence of sentences) expect(sentence).not.toMatch(/NaN|Infinity|undefined|null/);
    }
  });
});

/** Policies whose bucket is checked after some hours: name, seconds between commits, hours, settings. */
const BUCKETS: readonly (readonly [string, number, number, ConfigChange])[] = [
  [
    "three levels, two of which retention cuts short",
    15,
    14,
    {
      retention: { hourly: 9, daily: 0, weekly: 0, monthly: 0 },
      compaction: {
        levelsMs: [60_000, 300_000, 1_800_000],
        lifetimesMs: [1_800_000, 2 * HOUR_MS, 5 * HOUR_MS],
      },
    },
  ],
  [
    "finer levels that live longer",
    20,
    9,
    {
      sync: UNRETAINED,
      compaction: {
        levelsMs: [60_000, 300_000, 1_800_000],
        lifetimesMs: [2 * HOUR_MS, HOUR_MS, 4 * HOUR_MS],
      },
    },
  ],
  [
    "no compaction",
    20,
    8,
    { compaction: UNCOMPACTED, retention: { hourly: 4, daily: 0, weekly: 0, monthly: 0 } },
  ],
];

describe("restorablePoints promises only existing points", () => {
  test.each(BUCKETS)("%s", async (_, secondsPerCommit, hours, change) => {
    const paced = configWith({ sync: { walSyncIntervalMs: secondsPerCommit * 1000 } }, RETAINED);
    const config = configWith(change, paced);
    const shared = { pageCount: 60, pagesPerCommit: 3, tickMs: 5000, seed: 5 };
    const run = new SteadyHours({ ...shared, secondsPerCommit, config });
    const spans = restorablePoints(config).spans.filter(({ kind }) => kind !== "snapshots");
    await run.pass(hours - 1);
    // Out of step with hourly deletions.
    for (let i = 0; i < 3; i++) {
      await run.pass(0.37);
      const ages = await restorableAges(run);
      let fromMs = 0;
      for (const { until, spacingMs } of spans) {
        const untilMs = until ?? hours * HOUR_MS - HOUR_MS;
        const slackMs = 2 * shared.tickMs;
        expect(largestGap(ages, fromMs, untilMs)).toBeLessThanOrEqual(spacingMs! + slackMs);
        fromMs = untilMs;
      }
      // Thinner where promised: an expired object is deleted after an interval, a merge and a check.
      const first = spans[0]!;
      const second = spans[1];
      if (first.end !== "age" || second === undefined) continue;
      const goneMs = first.until! + 600_000 + second.spacingMs! + 60_000;
      const finest = ages.filter((age) => age > goneMs && age < goneMs + 1_200_000);
      expect(finest.length).toBeLessThanOrEqual(Math.ceil(1_200_000 / second.spacingMs!) + 1);
    }
  });
});

/** Ages of all restorable points, ascending. */
async function restorableAges(run: SteadyHours): Promise<number[]> {
  const objects = await run.objects();
  const candidates = new Set(objects.map(({ maxTxid }) => maxTxid));
  const restorable = [...candidates].filter((txid: Txid) => planRestore(objects, txid).kind === "plan");
  return restorable.map((txid) => run.nowMs - run.times.get(txid)!).sort((a, b) => a - b);
}

/** The longest time between two ages without a point; the edges count. */
function largestGap(ages: readonly number[], fromMs: number, untilMs: number): number {
  const newer = ages.filter((age) => age <= fromMs).at(-1) ?? fromMs;
  let gap = 0;
  let lastMs = newer;
  for (const age of ages.filter((one) => one > fromMs)) {
    gap = Math.max(gap, age - lastMs);
    lastMs = age;
    if (age >= untilMs) return gap;
  }
  return Math.max(gap, untilMs - lastMs);
}
