/**
 * Restorable points: what is promised holds in a bucket that the real upkeep has worked on for hours, and
 * what cannot be promised is not.
 */
import { describe, expect, test } from "bun:test";
import { type RestorableSpan, restorablePoints } from "../../src/forecast/restorable-points.ts";
import type { Txid } from "../../src/format/types.ts";
import { planRestore } from "../../src/recovery/plan/restore-plan.ts";
import type { WatchOptions } from "../../src/replication/context/database-options.ts";
import type { MaintenanceOptions } from "../../src/replication/context/policies.ts";
import { DEFAULT_COMPACTION } from "../../src/replication/upkeep/compaction-plan.ts";
import { DEFAULT_SNAPSHOTS } from "../../src/replication/upkeep/snapshot-schedule.ts";
import { SteadyHours } from "../support/histories/steady-hours.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NEVER = Number.POSITIVE_INFINITY;
const UPKEEP: MaintenanceOptions = {
  snapshots: DEFAULT_SNAPSHOTS,
  compaction: DEFAULT_COMPACTION,
  retention: { hourly: 24, daily: 7, weekly: 12, monthly: 12 },
  retentionIntervalMs: 0,
  retainAfterSnapshot: true,
  cacheRetentionMs: DAY_MS,
};
const OPTIONS: WatchOptions = {
  walSyncIntervalMs: 1000,
  checkpointIntervalMs: 60_000,
  minCheckpointPages: 1000,
  walTruncateThresholdPages: 121_359,
  shutdownTimeoutMs: 5000,
  uploaderConcurrency: 4,
};

function pointsOf(changed: Partial<MaintenanceOptions>) {
  return restorablePoints({ ...OPTIONS, maintenance: { ...UPKEEP, ...changed } });
}

/** Spans without their words. */
function shapes(spans: readonly RestorableSpan[]): unknown[] {
  return spans.map(({ kind, until, end, spacingMs }) => [kind, until, end, spacingMs]);
}

function history(changed: Partial<MaintenanceOptions>): unknown[] {
  return shapes(pointsOf(changed).spans.filter(({ kind }) => kind !== "snapshots"));
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
    // The newest of the eleventh month back: ten whole months lie between.
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
      "The two newest snapshots always stay. Nothing before the oldest kept snapshot can be restored.",
    ]);
  });

  test("without retention nothing that was merged last ever goes", () => {
    const { spans, sentences } = pointsOf({ retainAfterSnapshot: false });
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
    expect(history({ compaction: null })).toEqual([
      ["captures", expect.any(Number), "oldest-snapshot", 1000],
    ]);
    expect(history({ compaction: null, retainAfterSnapshot: false })).toEqual([
      ["captures", null, "never", 1000],
    ]);
  });

  test("a level that is not made leaves the one below it until retention", () => {
    const compaction = { ...DEFAULT_COMPACTION, intervalsMs: [30_000, NEVER, HOUR_MS] } as const;
    expect(history({ compaction, retainAfterSnapshot: false })).toEqual([
      ["captures", HOUR_MS, "age", 1000],
      ["merges", null, "never", 30_000],
    ]);
    const none = { ...DEFAULT_COMPACTION, intervalsMs: [NEVER, 300_000, HOUR_MS], threshold: 5 } as const;
    expect(history({ compaction: none, retainAfterSnapshot: false })).toEqual([
      ["captures", null, "never", 1000],
    ]);
  });

  test("a level that lives no longer than a finer one adds nothing", () => {
    const compaction = { ...DEFAULT_COMPACTION, lifetimesMs: [DAY_MS, HOUR_MS, 2 * DAY_MS] } as const;
    expect(history({ compaction, retainAfterSnapshot: false })).toEqual([
      ["captures", DAY_MS, "age", 1000],
      ["merges", 2 * DAY_MS, "age", 300_000],
      ["merges", null, "never", HOUR_MS],
    ]);
  });

  test("retention that keeps little ends finer levels too", () => {
    const retention = { hourly: 6, daily: 0, weekly: 0, monthly: 0 };
    expect(history({ retention })).toEqual([
      ["captures", HOUR_MS, "age", 1000],
      ["merges", 5 * HOUR_MS, "oldest-snapshot", 30_000],
    ]);
    const none = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
    expect(history({ retention: none })).toEqual([["captures", HOUR_MS, "oldest-snapshot", 1000]]);
  });

  test("points are no closer than the captures or the level they are made of", () => {
    const compaction = { ...DEFAULT_COMPACTION, intervalsMs: [30_000, 1000, 0] } as const;
    const maintenance = { ...UPKEEP, compaction, retainAfterSnapshot: false };
    const { spans } = restorablePoints({ ...OPTIONS, walSyncIntervalMs: 60_000, maintenance });
    expect(spans.slice(0, 4).map(({ spacingMs }) => spacingMs)).toEqual([60_000, 60_000, 60_000, 60_000]);
  });

  test("a compaction that starts early by age makes points closer", () => {
    const compaction = { ...DEFAULT_COMPACTION, maxIncrementalAgeMs: 10_000 };
    expect(history({ compaction })[1]).toEqual(["merges", DAY_MS, "age", 10_000]);
  });

  test("snapshots by amount tell no age: the horizon is the oldest one that is kept", () => {
    const snapshots = { ...DEFAULT_SNAPSHOTS, intervalMs: 0, maxChanges: 1000 };
    const { spans } = pointsOf({ snapshots });
    expect(shapes(spans).slice(3, 5)).toEqual([
      ["merges", null, "oldest-snapshot", HOUR_MS],
      ["snapshots", DAY_MS, "age", null],
    ]);
  });

  test("retention without snapshots ends nothing", () => {
    const snapshots = { ...DEFAULT_SNAPSHOTS, intervalMs: 0 };
    const { spans, sentences } = pointsOf({ snapshots, retentionIntervalMs: HOUR_MS });
    expect(shapes(spans).at(-1)).toEqual(["merges", null, "never", HOUR_MS]);
    expect(sentences.at(-1)).toStartWith("Only the first snapshot is taken");
  });

  test("captures alone, without maintenance", () => {
    expect(shapes(restorablePoints(OPTIONS).spans)).toEqual([["captures", null, "never", 1000]]);
  });

  test("always tells something, however odd the options", () => {
    for (const odd of [0, 1, 1234.5, NEVER]) {
      const { spans, sentences } = restorablePoints({
        ...OPTIONS,
        walSyncIntervalMs: odd,
        maintenance: {
          ...UPKEEP,
          compaction: { ...DEFAULT_COMPACTION, intervalsMs: [odd, odd, odd], lifetimesMs: [odd, odd, odd] },
          snapshots: { ...DEFAULT_SNAPSHOTS, intervalMs: odd, maxIntervalMs: odd },
          retentionIntervalMs: odd,
        },
      });
      expect(spans.length).toBeGreaterThan(0);
      for (const { until } of spans) expect(until ?? 0).toBeGreaterThanOrEqual(0);
      for (const sentence of sentences) expect(sentence).not.toMatch(/NaN|Infinity|undefined|null/);
    }
  });
});

/** Policies whose bucket is looked at after some hours: name, seconds between commits, hours, maintenance. */
const BUCKETS: readonly (readonly [string, number, number, Partial<MaintenanceOptions>])[] = [
  [
    "three levels, two of which retention cuts short",
    15,
    14,
    {
      retention: { hourly: 9, daily: 0, weekly: 0, monthly: 0 },
      compaction: {
        ...DEFAULT_COMPACTION,
        intervalsMs: [60_000, 300_000, 1_800_000],
        lifetimesMs: [1_800_000, 2 * HOUR_MS, 5 * HOUR_MS],
      },
    },
  ],
  [
    "finer levels that live longer",
    20,
    9,
    {
      retainAfterSnapshot: false,
      compaction: {
        ...DEFAULT_COMPACTION,
        intervalsMs: [60_000, 300_000, 1_800_000],
        lifetimesMs: [2 * HOUR_MS, HOUR_MS, 4 * HOUR_MS],
      },
    },
  ],
  ["no compaction", 20, 8, { compaction: null, retention: { hourly: 4, daily: 0, weekly: 0, monthly: 0 } }],
];

describe("what restorablePoints promises is there", () => {
  test.each(BUCKETS)("%s", async (_, secondsPerCommit, hours, changed) => {
    const maintenance = { ...UPKEEP, ...changed };
    const options = { ...OPTIONS, walSyncIntervalMs: secondsPerCommit * 1000 };
    const shared = { pageCount: 60, pagesPerCommit: 3, tickMs: 5000, seed: 5 };
    const run = new SteadyHours({ ...shared, secondsPerCommit, options, maintenance });
    const spans = restorablePoints({ ...options, maintenance }).spans.filter(
      ({ kind }) => kind !== "snapshots",
    );
    await run.pass(hours - 1);
    // Not in step with anything that is deleted by the hour.
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
      // Thinner where it is said so: what has expired is gone an interval, a merge and a look later.
      const first = spans[0]!;
      const second = spans[1];
      if (first.end !== "age" || second === undefined) continue;
      const goneMs = first.until! + 600_000 + second.spacingMs! + 60_000;
      const finest = ages.filter((age) => age > goneMs && age < goneMs + 1_200_000);
      expect(finest.length).toBeLessThanOrEqual(Math.ceil(1_200_000 / second.spacingMs!) + 1);
    }
  });
});

/** Ages of all points that can be restored, ascending. */
async function restorableAges(run: SteadyHours): Promise<number[]> {
  const objects = await run.objects();
  const candidates = new Set(objects.map(({ maxTxid }) => maxTxid));
  const restorable = [...candidates].filter((txid: Txid) => planRestore(objects, txid).kind === "plan");
  return restorable.map((txid) => run.nowMs - run.times.get(txid)!).sort((a, b) => a - b);
}

/** The longest time without a point between two ages; the edges count. */
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
