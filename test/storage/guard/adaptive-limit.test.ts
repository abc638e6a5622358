/** AdaptiveLimit: single decisions, and whole runs against simulated stores on a simulated clock. */
import { describe, expect, test } from "bun:test";
import {
  AdaptiveLimit,
  LIMIT_FLOOR,
  type PutOutcome,
  type PutSample,
} from "../../../src/storage/guard/adaptive-limit.ts";

function sample(outcome: PutOutcome, more: Partial<PutSample> = {}): PutSample {
  const rest = { nowMs: 1_000, latencyMs: 50, sizeBytes: 4_000, inFlight: 4, isContended: true };
  return { outcome, ...rest, ...more };
}

/** A store as AdaptiveLimit sees it: the latency of one upload by the number of uploads in flight. */
interface SimulatedStore {
  readonly latencyMs: (inFlight: number, nowMs: number) => number;
  /** Uploads in flight from which the store refuses another one. */
  readonly refusesFrom?: number;
  readonly sizeBytes?: number;
  /** Latency at which an upload stalls and is cut off. */
  readonly stallMs?: number;
}

/** Outcome of a run. */
interface Run {
  readonly stored: number;
  readonly refused: number;
  readonly stalled: number;
  readonly limits: number[];
}

/** Uploads for `durationMs` with a full queue. @param waiting uploads available to send */
function simulate(pace: AdaptiveLimit, store: SimulatedStore, durationMs: number, startMs = 0): Run {
  const onWay: { endMs: number; startedMs: number; outcome: PutOutcome }[] = [];
  const counts = { stored: 0, throttled: 0, stalled: 0 };
  const limits: number[] = [];
  let nowMs = startMs;
  const begin = (): void => {
    while (onWay.length < pace.limit) {
      const inFlight = onWay.length + 1;
      const latencyMs = store.latencyMs(inFlight, nowMs);
      const isRefused = inFlight > (store.refusesFrom ?? Number.POSITIVE_INFINITY);
      const isStalled = latencyMs > (store.stallMs ?? Number.POSITIVE_INFINITY);
      const tookMs = isRefused ? 5 : isStalled ? store.stallMs! : latencyMs;
      const outcome = isRefused ? "throttled" : isStalled ? "stalled" : "stored";
      onWay.push({ endMs: nowMs + tookMs, startedMs: nowMs, outcome });
    }
  };
  begin();
  while (nowMs < startMs + durationMs) {
    onWay.sort((a, b) => a.endMs - b.endMs);
    const { endMs, startedMs, outcome } = onWay.shift()!;
    nowMs = endMs;
    counts[outcome as keyof typeof counts]++;
    const inFlight = onWay.length + 1;
    const { sizeBytes = 4_000 } = store;
    pace.ended({ outcome, nowMs, latencyMs: nowMs - startedMs, sizeBytes, inFlight, isContended: true });
    limits.push(pace.limit);
    begin();
  }
  return { stored: counts.stored, refused: counts.throttled, stalled: counts.stalled, limits };
}

describe("AdaptiveLimit decides", () => {
  test.each([
    [1, 1],
    [3, 3],
    [4, 4],
    [128, LIMIT_FLOOR],
  ])("with a ceiling of %d it starts at %d", (ceiling, limit) => {
    expect(new AdaptiveLimit(ceiling).limit).toBe(limit);
  });

  test("it grows only while other uploads wait", () => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 100; time++) pace.ended(sample("stored", { isContended: false }));
    expect(pace.limit).toBe(LIMIT_FLOOR);
    for (let time = 0; time < 10; time++) pace.ended(sample("stored"));
    expect(pace.limit).toBe(LIMIT_FLOOR + 10);
  });

  test.each([1, 2, 8, 128])("it never passes its ceiling of %d", (ceiling) => {
    const pace = new AdaptiveLimit(ceiling);
    for (let time = 0; time < 1_000; time++) pace.ended(sample("stored"));
    expect([pace.limit, pace.reason]).toEqual([ceiling, "ceiling"]);
  });

  test.each([
    ["throttled", 40, 20],
    ["failed", 40, 20],
    ["stalled", 40, 20],
    ["throttled", 2, 1],
    ["failed", 2, 4],
    ["stalled", 2, 1],
    ["stalled", 1, 64],
    ["answered", 2, 64],
  ] as const)("%s with %d on their way leaves a limit of %d", (outcome, inFlight, limit) => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 60; time++) pace.ended(sample("stored"));
    expect(pace.limit).toBe(64);
    expect(pace.ended(sample(outcome, { inFlight, nowMs: 2_000 }))).toBe(limit);
  });

  test("uploads that fail together count as one failure", () => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 60; time++) pace.ended(sample("stored"));
    for (let inFlight = 64; inFlight > 0; inFlight--) {
      pace.ended(sample("throttled", { nowMs: 2_000 + 64 - inFlight, latencyMs: 500, inFlight }));
    }
    expect(pace.limit).toBe(32);
    pace.ended(sample("throttled", { nowMs: 4_000, latencyMs: 500, inFlight: 32 }));
    expect(pace.limit).toBe(16);
  });

  test("it grows slowly from one upload in flight", () => {
    const pace = new AdaptiveLimit(128);
    pace.ended(sample("stalled", { inFlight: 2, nowMs: 30_000, latencyMs: 30_000 }));
    expect([pace.limit, pace.reason]).toEqual([1, "stalled"]);
    const slow = [40_000, 89_000, 90_001].map((nowMs) =>
      pace.ended(sample("stored", { nowMs, latencyMs: 9_000 })),
    );
    // Once a minute while uploads are slow: each stall wastes everything in flight.
    expect(slow).toEqual([1, 1, 2]);
    const quick = [91_000, 91_100, 91_200, 91_300, 91_400].map((nowMs) =>
      pace.ended(sample("stored", { nowMs })),
    );
    expect(quick).toEqual([2, 3, 3, 3, 4]);
  });

  test("a single stalled upload does not change the limit", () => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 60; time++) pace.ended(sample("stored"));
    expect(pace.ended(sample("stalled", { inFlight: 1, nowMs: 40_000, latencyMs: 30_000 }))).toBe(64);
  });

  test("one unusually fast answer does not make the others slow", () => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 30; time++) pace.ended(sample("stored", { latencyMs: 100 }));
    pace.ended(sample("stored", { latencyMs: 1 }));
    for (let time = 0; time < 200; time++) pace.ended(sample("stored", { latencyMs: 100 }));
    expect(pace.limit).toBe(128);
  });

  test("a slow large upload is compared with large ones", () => {
    const pace = new AdaptiveLimit(128);
    for (let time = 0; time < 400; time++) {
      const isLarge = time % 2 === 1;
      pace.ended(sample("stored", isLarge ? { sizeBytes: 8 << 20, latencyMs: 4_000 } : {}));
    }
    expect(pace.limit).toBe(128);
  });
});

describe("AdaptiveLimit keeps up", () => {
  test.each([
    ["50 ms away", 50, 2_000],
    ["200 ms away", 200, 6_000],
  ])("a store %s is used to the ceiling within seconds", (_, latencyMs, withinMs) => {
    const pace = new AdaptiveLimit(128);
    simulate(pace, { latencyMs: () => latencyMs }, withinMs);
    expect(pace.limit).toBe(128);
  });

  test("a store with 400 uploads a second gets more in flight over time, and no fewer a second", () => {
    const pace = new AdaptiveLimit(128);
    // Beyond 20 in flight uploads queue, and the store serves one every 2.5 ms.
    const latencyMs = (inFlight: number): number => Math.max(50, inFlight * 2.5);
    const first = simulate(pace, { latencyMs }, 1_000);
    expect(Math.max(...first.limits)).toBeLessThan(120);
    const { stored } = simulate(pace, { latencyMs }, 30_000, 1_000);
    expect(stored / 30).toBeGreaterThan(350);
  });

  test("a store that refuses more than 30 in flight is seldom sent more", () => {
    const pace = new AdaptiveLimit(128);
    const store = { latencyMs: () => 50, refusesFrom: 30 };
    const { stored, refused } = simulate(pace, store, 60_000);
    expect(refused / stored).toBeLessThan(0.01);
    expect(stored / 60).toBeGreaterThan(0.6 * (30 / 0.05));
  });

  // Regression: with a floor of four, such a store refused four of five requests for ever.
  test.each([1, 2, 3])("a store that refuses more than %d in flight is seldom sent more", (refusesFrom) => {
    const pace = new AdaptiveLimit(128);
    const { stored, refused } = simulate(pace, { latencyMs: () => 50, refusesFrom }, 60_000);
    expect(refused / stored).toBeLessThan(0.15);
    expect(stored / 60).toBeGreaterThan(0.6 * (refusesFrom / 0.05));
  });

  test("a store that refuses everything for a while gets one upload at a time, and more afterwards", () => {
    const pace = new AdaptiveLimit(128);
    simulate(pace, { latencyMs: () => 50 }, 5_000);
    simulate(pace, { latencyMs: () => 50, refusesFrom: 0 }, 5_000, 5_000);
    expect(pace.limit).toBe(1);
    // One more each second, until the refusal is forgotten after a minute.
    simulate(pace, { latencyMs: () => 50 }, 30_000, 10_000);
    expect(pace.limit).toBeGreaterThan(25);
    simulate(pace, { latencyMs: () => 50 }, 35_000, 40_000);
    expect(pace.limit).toBe(128);
  });

  test("a busy machine that takes ten times as long for everything does not stop the growth", () => {
    const pace = new AdaptiveLimit(128);
    simulate(pace, { latencyMs: (_, nowMs) => (nowMs < 200 ? 50 : 500) }, 40_000);
    expect(pace.limit).toBe(128);
  });

  test("a higher latency to the store does not change the limit", () => {
    const pace = new AdaptiveLimit(128);
    simulate(pace, { latencyMs: () => 10 }, 5_000);
    const { limits } = simulate(pace, { latencyMs: () => 100 }, 20_000, 5_000);
    expect(Math.min(...limits)).toBe(128);
  });

  test("on a line too slow for eight in flight, all uploads succeed", () => {
    const pace = new AdaptiveLimit(128);
    // 240 KB each over a shared 40 KB/s; an upload stalls after 30 s without movement.
    const latencyMs = (inFlight: number): number => inFlight * 6_000;
    const store = { latencyMs, sizeBytes: 240_000, stallMs: 30_000 };
    for (let time = 0; time < 20; time++) pace.ended(sample("stored", { latencyMs: 20 }));
    const first = simulate(pace, store, 200_000, 10_000);
    expect(first.stalled).toBeGreaterThan(24);
    const { stored, stalled } = simulate(pace, store, 600_000, 210_000);
    // The line carries 100 uploads in that time.
    expect(stored).toBeGreaterThan(80);
    expect(stalled).toBeLessThan(15);
  });

  test("on a line where one upload takes half the stall limit, uploads succeed one after the other", () => {
    const pace = new AdaptiveLimit(128);
    const store = { latencyMs: (inFlight: number) => inFlight * 16_000, sizeBytes: 1 << 20, stallMs: 30_000 };
    const { stored, limits } = simulate(pace, store, 1_200_000);
    expect(stored).toBeGreaterThan(20);
    expect(Math.min(...limits)).toBe(1);
  });
});
