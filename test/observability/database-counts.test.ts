/** Counts of one database: the histogram, and parts that are made only when they are needed. */
import { describe, expect, test } from "bun:test";
import { DatabaseCounts, LATENCY_BOUNDS, LatencyHistogram } from "../../src/observability/database-counts.ts";
import { checkpointed, failed, stopped, uploaded, validated } from "./samples.ts";

describe("LatencyHistogram", () => {
  test("counts each latency at the first bound that is not below", () => {
    const histogram = new LatencyHistogram();
    const bounds = [...LATENCY_BOUNDS];
    expect(bounds.toSorted((a, b) => a - b)).toEqual(bounds);
    for (const seconds of [0, ...bounds, ...bounds.map((bound) => bound + 0.001)]) histogram.add(seconds);
    // The first bound has 0 and itself, each other itself and its predecessor with a bit more.
    expect([...histogram.counts]).toEqual([2, ...Array(bounds.length - 1).fill(2), 1]);
    const sum = bounds.reduce((total, bound) => total + 2 * bound + 0.001, 0);
    expect(histogram.sumSeconds).toBeCloseTo(sum, 9);
  });
});

describe("DatabaseCounts", () => {
  test("a database with a first snapshot has no histogram, no upkeep and no errors", () => {
    const counts = new DatabaseCounts();
    counts.observe(uploaded("snapshot"), 0);
    expect([counts.snapshots, counts.uploadedBytes]).toEqual([1, 1_000]);
    expect([counts.latency, counts.upkeep, counts.errors]).toEqual([null, null, null]);
    expect(counts.errorCount).toBe(0);
    counts.observe(uploaded(), 0);
    counts.observe(checkpointed(), 0);
    expect([counts.increments, counts.latency?.counts[0], counts.upkeep?.passiveCheckpoints]).toEqual([
      1, 1, 1,
    ]);
  });

  test("separates failures that walrust retries from those that ended replication", () => {
    const counts = new DatabaseCounts();
    for (const event of [failed("storage"), failed("storage"), failed("auth"), stopped("storage")]) {
      counts.observe(event, 0);
    }
    expect([...counts.errorCounts()]).toEqual([
      ["transient", "storage", 2],
      ["transient", "auth", 1],
      ["permanent", "storage", 1],
    ]);
    expect(counts.errorCount).toBe(4);
  });

  test("keeps time and result of the last validation", () => {
    const counts = new DatabaseCounts();
    counts.observe(validated("warnings"), 7_000);
    expect(counts.upkeep).toMatchObject({ validationSuccesses: 1, isLastValidationSound: true });
    counts.observe(validated("errors"), 9_000);
    expect(counts.upkeep).toMatchObject({
      validationSuccesses: 1,
      validationFailures: 1,
      lastValidationTimeMs: 9_000,
      isLastValidationSound: false,
    });
  });
});
