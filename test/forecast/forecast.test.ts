/** The forecast against the real uploader, snapshots and upkeep, and against extreme settings. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FORECAST_CAUSES, type Forecast, forecastMonth } from "../../src/forecast/forecast.ts";
import { MONTH_HOURS } from "../../src/forecast/steady-stock.ts";
import { verifyDatabase } from "../../src/recovery/verify/verify-database.ts";
import { type ConfigChange, configWith, DEFAULT_CONFIG } from "../support/config.ts";
import { SteadyHours } from "../support/histories/steady-hours.ts";
import { cases } from "../support/property-cases.ts";
import { recordingEnv } from "../support/recording-log.ts";

const HOUR_MS = 3_600_000;
const RETAINED = configWith({ sync: { compactAfterSnapshot: true } });
const GB = { databaseBytes: 1e9, pageSizeBytes: 4096, compressionRatio: 0.5 };
/** No snapshot except the first. */
const OFF = { snapshotIntervalMs: 0 };
const UNRETAINED = { compactAfterSnapshot: false };
const UNCOMPACTED = { enabled: false };

function forecastOf(change: ConfigChange, commitsPerSecond = 1): Forecast {
  return forecastMonth(GB, configWith(change, RETAINED), { commitsPerSecond, pagesPerCommit: 4 });
}

/** Expects a figure within 15 percent of its forecast, plus or minus one. */
function expectNear(what: string, foretold: number, found: number): void {
  const isNear = Math.abs(foretold - found) <= 0.15 * found + 1;
  expect({ what, foretold, found, isNear }).toEqual({ what, foretold, found, isNear: true });
}

/**
 * Databases under load: name, seconds between commits, hours until the steady state, hours measured,
 * settings.
 */
const AT_WORK: readonly (readonly [string, number, number, number, ConfigChange])[] = [
  [
    "in the steady state of retention",
    15,
    8,
    4,
    {
      retention: { hourly: 4, daily: 0, weekly: 0, monthly: 0 },
      sync: { snapshotIntervalMs: HOUR_MS / 2 },
      compaction: {
        levelsMs: [60_000, 300_000, 1_800_000],
        lifetimesMs: [1_200_000, 7_200_000, 21_600_000],
      },
    },
  ],
  [
    "with hardly any commits, and increments that are not kept on the disk",
    1300,
    72,
    48,
    {
      cache: { retentionMs: 0 },
      sync: { ...UNRETAINED, compactIntervalMs: 6 * HOUR_MS },
      retention: { hourly: 12, daily: 0, weekly: 0, monthly: 0 },
      compaction: { lifetimesMs: [HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS] },
    },
  ],
  [
    "compacted by count, with snapshots by changes",
    10,
    4,
    3,
    {
      retention: { hourly: 2, daily: 0, weekly: 0, monthly: 0 },
      sync: { ...OFF, maxChanges: 400 },
      compaction: {
        levelsMs: [HOUR_MS, 600_000, Number.POSITIVE_INFINITY],
        threshold: 12,
        lifetimesMs: [600_000, 7_200_000, 0],
      },
    },
  ],
  [
    "that is never compacted",
    20,
    5,
    3,
    { compaction: UNCOMPACTED, retention: { hourly: 3, daily: 0, weekly: 0, monthly: 0 } },
  ],
];

describe("forecastMonth predicts a database", () => {
  test.each(AT_WORK)("%s", async (_, secondsPerCommit, warmHours, hours, change) => {
    const config = configWith(change, RETAINED);
    const pageCount = 200;
    const run = new SteadyHours({
      pageCount,
      secondsPerCommit,
      pagesPerCommit: 4,
      config,
      seed: 1,
      tickMs: 5000,
    });
    await run.pass(warmHours);
    run.takeRequests();
    const sum = { snapshots: 0, increments: 0, merges: 0 };
    // Out of step with hourly deletions.
    const samples = 13;
    for (let i = 0; i < samples; i++) {
      await run.pass(hours / samples);
      for (const { level, sizeBytes } of await run.objects()) {
        sum[level === 9 ? "snapshots" : level === 0 ? "increments" : "merges"] += sizeBytes / samples;
      }
    }
    const found = run.takeRequests();
    const shape = { databaseBytes: pageCount * 512, pageSizeBytes: 512, compressionRatio: 1 };
    const rate = { commitsPerSecond: 1 / secondsPerCommit, pagesPerCommit: 4 };
    const { requests, stored } = forecastMonth(shape, config, rate);
    for (const kind of ["put", "list", "get", "delete"] as const) {
      expectNear(kind, (requests[kind] / MONTH_HOURS) * hours, found[kind]);
    }
    expectNear("bytes of snapshots", stored.snapshotBytes, sum.snapshots);
    expectNear("bytes of increments", stored.incrementBytes, sum.increments);
    expectNear("bytes of merges", stored.mergeBytes, sum.merges);
    expect(stored.growthBytesPerMonth).toBe(0);
  });

  test("in its first hour under the defaults", async () => {
    const run = new SteadyHours({
      pageCount: 100,
      secondsPerCommit: 1,
      pagesPerCommit: 4,
      config: RETAINED,
      seed: 2,
    });
    await run.pass(1);
    const found = run.takeRequests();
    const shape = { databaseBytes: 100 * 512, pageSizeBytes: 512, compressionRatio: 1 };
    // Ten commits a second are one capture a second.
    const { requests, causes } = forecastMonth(shape, RETAINED, { commitsPerSecond: 10, pagesPerCommit: 4 });
    expectNear("put", requests.put / MONTH_HOURS, found.put);
    // Retention has a single snapshot to judge so far, and listings are short: the counts converge later.
    expectNear("get", (requests.get - causes.upkeep.get) / MONTH_HOURS, found.get);
    expect(requests.list / MONTH_HOURS).toBeGreaterThan(found.list);
    const objects = await run.objects();
    const counts = [0, 1, 2, 3].map((level) => objects.filter((one) => one.level === level).length);
    expect(counts).toEqual([3600, 120, 12, 1]);
  });

  test("that commits every ten seconds, without a single listing", async () => {
    const config = configWith({ compaction: { levelsMs: [30_000, 300_000, 3_600_000] } });
    const rate = { commitsPerSecond: 0.1, pagesPerCommit: 4 };
    const run = new SteadyHours({
      pageCount: 100,
      secondsPerCommit: 10,
      pagesPerCommit: 4,
      config,
      seed: 4,
      tickMs: 5_000,
    });
    await run.pass(1.5);
    run.takeRequests();
    await run.pass(3);
    const found = run.takeRequests();
    expect(found.list).toBe(0);
    const shape = { databaseBytes: 100 * 512, pageSizeBytes: 512, compressionRatio: 1 };
    const { requests } = forecastMonth(shape, config, rate);
    for (const kind of ["put", "get", "delete"] as const) {
      expectNear(kind, (requests[kind] / MONTH_HOURS) * 3, found[kind]);
    }
    // The goal of a month, with the daily check.
    expect(requests.list).toBeLessThan(1_000);
  });

  test("that is verified", async () => {
    const run = new SteadyHours({
      pageCount: 100,
      secondsPerCommit: 60,
      pagesPerCommit: 4,
      config: DEFAULT_CONFIG,
      seed: 3,
      tickMs: 10_000,
    });
    await run.pass(3);
    run.takeRequests();
    const report = await verifyDatabase(run.store, "app", {}, recordingEnv().env);
    const found = run.takeRequests();
    const shape = { databaseBytes: 100 * 512, pageSizeBytes: 512, compressionRatio: 1 };
    const rate = { commitsPerSecond: 1 / 60, pagesPerCommit: 4 };
    const unverified = configWith({ compaction: UNCOMPACTED, sync: OFF }, RETAINED);
    const verified = configWith({ sync: { validationIntervalMs: 10 * HOUR_MS } }, unverified);
    const without = forecastMonth(shape, unverified, rate);
    const withIt = forecastMonth(shape, verified, rate);
    const runs = MONTH_HOURS / 10;
    const gets = (withIt.requests.get - without.requests.get) / runs;
    const perObject = gets / withIt.stored.objectCount;
    expect(report.checked.objects).toBeGreaterThan(250);
    expectNear("get for each object", perObject * report.checked.objects, found.get);
  });
});

describe("forecastMonth", () => {
  test("sends a snapshot of 1 GB in parts of 8 MB, and checks its key before", () => {
    const { causes } = forecastOf({}, 1);
    const parts = Math.ceil((1e9 * 0.5) / 2 ** 23);
    expect(causes.snapshots.put / MONTH_HOURS).toBeGreaterThanOrEqual(parts + 2);
    expect(causes.snapshots.put / MONTH_HOURS).toBeLessThan(parts + 4);
    expect(causes.snapshots.get / MONTH_HOURS).toBeCloseTo(2, 6);
  });

  test("sums the causes to the requests", () => {
    const { requests, causes, uploadedBytes } = forecastOf({}, 0.3);
    for (const kind of ["put", "list", "get", "delete"] as const) {
      const sum = FORECAST_CAUSES.reduce((total, cause) => total + causes[cause][kind], 0);
      expect(sum).toBeCloseTo(requests[kind], 3);
    }
    const sum = FORECAST_CAUSES.reduce((total, cause) => total + causes[cause].uploadedBytes, 0);
    expect(sum).toBeCloseTo(uploadedBytes, 0);
  });

  test("charges an idle database for the daily check alone, and for storing one snapshot", () => {
    const { requests, stored, uploadedBytes } = forecastOf({}, 0);
    // Every 18 hours: five levels, unfinished uploads, and the newest object.
    const looks = MONTH_HOURS / 18;
    expect(requests).toMatchObject({ put: 0, delete: 0 });
    expect(requests.list).toBeCloseTo(looks * 6, 6);
    expect(requests.get).toBeCloseTo(looks, 6);
    expect(uploadedBytes).toBe(0);
    expect(stored).toMatchObject({ snapshotCount: 1, growthBytesPerMonth: 0, steadyAfterMs: 0 });
    expect(stored.totalBytes).toBe(stored.snapshotBytes);
  });

  test("without retention lets all snapshots and level 3 grow, and nothing else", () => {
    const { stored, causes } = forecastOf({ sync: UNRETAINED }, 1);
    const added = causes.snapshots.uploadedBytes + causes.level3.uploadedBytes;
    expect(stored.growthBytesPerMonth).toBeCloseTo(added, -3);
    expect(stored.steadyAfterMs).toBeNull();
    expect(stored.snapshotCount).toBeCloseTo(1 + MONTH_HOURS, 3);
  });

  test("with retention but without snapshots deletes nothing: level 3 grows", () => {
    const { stored, causes } = forecastOf({ sync: { ...OFF, compactIntervalMs: HOUR_MS } }, 1);
    expect(stored.snapshotCount).toBe(1);
    expect(stored.growthBytesPerMonth).toBeCloseTo(causes.level3.uploadedBytes, -3);
  });

  test("without upkeep lets captures grow", () => {
    const month = forecastOf({ compaction: UNCOMPACTED, sync: OFF }, 5);
    expect(month.requests.put).toBeCloseTo(MONTH_HOURS * 3600, 3);
    expect(month.stored.growthBytesPerMonth).toBeCloseTo(month.uploadedBytes, -3);
  });

  test("never gives a merge more pages than the database", () => {
    const shape = { databaseBytes: 4096 * 50, pageSizeBytes: 4096, compressionRatio: 1 };
    const { causes } = forecastMonth(shape, RETAINED, { commitsPerSecond: 100, pagesPerCommit: 40 });
    const snapshotBytes = causes.snapshots.uploadedBytes / causes.snapshots.put;
    for (const cause of ["level1", "level2", "level3"] as const) {
      const objectBytes = causes[cause].uploadedBytes / causes[cause].put;
      expect(objectBytes).toBeLessThanOrEqual(snapshotBytes * 1.000001);
      expect(objectBytes).toBeGreaterThan(snapshotBytes * 0.99);
    }
  });

  test("counts on-idle snapshots only where commits are further apart", () => {
    const sync = { ...OFF, onIdleMs: 60_000 };
    expect(forecastOf({ sync }, 1 / 50).causes.snapshots.put).toBe(0);
    const { causes } = forecastOf({ sync }, 1 / 600);
    expect(causes.snapshots.uploadedBytes / MONTH_HOURS).toBeCloseTo(
      6 * forecastOf({}, 0).stored.totalBytes,
      -3,
    );
  });
});

describe("forecastMonth of random input", () => {
  const interval = fc.oneof(
    fc.constantFrom(0, 1, 1000, HOUR_MS, Number.POSITIVE_INFINITY),
    fc.double({ min: 0, max: 1e12, noNaN: true }),
  );
  const count = fc.constantFrom(0, 1, 7, 128, 1_000_000_000);
  const tier = fc.constantFrom(0, 1, 24, 10_000);
  const change: fc.Arbitrary<ConfigChange> = fc.record({
    sync: fc.record({
      walSyncIntervalMs: interval,
      validationIntervalMs: interval,
      snapshotIntervalMs: interval,
      maxChanges: count,
      maxIntervalMs: interval,
      onIdleMs: fc.constant(0),
      onStartup: fc.boolean(),
      compactIntervalMs: interval,
      compactAfterSnapshot: fc.boolean(),
    }),
    compaction: fc.record({
      enabled: fc.boolean(),
      levelsMs: fc.array(interval, { maxLength: 3 }),
      threshold: count,
      sizeBytes: count,
      maxIncrementalAgeMs: interval,
      preserveRecent: count,
      lifetimesMs: fc.tuple(interval, interval, interval),
    }),
    retention: fc.record({ hourly: tier, daily: tier, weekly: tier, monthly: tier }),
    cache: fc.record({ retentionMs: interval }),
  });
  const rate = fc.record({
    commitsPerSecond: fc.oneof(fc.constantFrom(0, 1e-9, 1e9), fc.double({ min: 0, max: 1000, noNaN: true })),
    pagesPerCommit: fc.constantFrom(0, 1, 4, 1e6),
  });
  const shape = fc.record({
    databaseBytes: fc.constantFrom(0, 512, 1e6, 1e9, 1e12, 1e18),
    pageSizeBytes: fc.constantFrom(512, 4096, 65_536),
    compressionRatio: fc.constantFrom(0, 0.4, 1, 1.004),
  });

  test("is finite and not negative", () => {
    const property = fc.property(shape, change, rate, (database, changed, given) => {
      const month = forecastMonth(database, configWith(changed), given);
      for (const value of numbersOf(month)) expect(value >= 0 && Number.isFinite(value)).toBe(true);
    });
    fc.assert(property, cases(150, 11));
  });

  // An object above 80 GB has parts that grow by the megabyte, so more data may need fewer parts.
  test("never falls with more commits", () => {
    const small = shape.filter(({ databaseBytes }) => databaseBytes <= 1e9);
    const property = fc.property(small, change, rate, (database, changed, given) => {
      const at = (commitsPerSecond: number): Forecast =>
        forecastMonth(database, configWith(changed), { ...given, commitsPerSecond });
      const less = at(given.commitsPerSecond);
      const more = at(given.commitsPerSecond * 1.7);
      expect(more.uploadedBytes).toBeGreaterThanOrEqual(less.uploadedBytes * 0.9999);
      expect(more.requests.put).toBeGreaterThanOrEqual(less.requests.put * 0.9999);
    });
    fc.assert(property, cases(150, 12));
  });

  test("never falls with a larger database", () => {
    const property = fc.property(shape, change, rate, (database, changed, given) => {
      const of = (databaseBytes: number): Forecast =>
        forecastMonth({ ...database, databaseBytes }, configWith(changed), given);
      const small = of(database.databaseBytes);
      const large = of(database.databaseBytes * 1.7);
      expect(large.uploadedBytes).toBeGreaterThanOrEqual(small.uploadedBytes * 0.9999);
      expect(large.stored.totalBytes).toBeGreaterThanOrEqual(small.stored.totalBytes * 0.9999);
    });
    fc.assert(property, cases(150, 13));
  });
});

/** All numbers in a value. */
function numbersOf(value: unknown): number[] {
  if (typeof value === "number") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(numbersOf) : [];
}
