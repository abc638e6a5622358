/**
 * Backoff: waits grow up to a limit, can wait for a known moment, restart after a success, and stay finite.
 */
import { describe, expect, test } from "bun:test";
import { Backoff, backoffMs } from "../../../src/storage/contract/backoff.ts";

describe("Backoff", () => {
  test("grows from a quarter of a second to half a minute, and restarts after a reset", () => {
    const backoff = new Backoff();
    const waits: number[] = [];
    for (let nowMs = 0, time = 0; time < 10; time++) {
      backoff.extend(nowMs);
      const startMs = nowMs;
      while (!backoff.isOver(nowMs)) nowMs += 250;
      waits.push(nowMs - startMs);
    }
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    backoff.reset();
    expect(backoff.isOver(0)).toBe(true);
    backoff.extend(0);
    expect([backoff.isOver(249), backoff.isOver(250)]).toEqual([false, true]);
  });

  test("waits exactly until a known moment, without growing", () => {
    const backoff = new Backoff();
    for (let time = 0; time < 20; time++) backoff.waitUntil(60_000);
    expect([backoff.isOver(59_999), backoff.isOver(60_000)]).toEqual([false, true]);
    backoff.extend(60_000);
    expect([backoff.isOver(60_249), backoff.isOver(60_250)]).toEqual([false, true]);
  });

  test("waits no longer than the limit of one wait", () => {
    const backoff = new Backoff();
    for (let time = 0; time < 20; time++) backoff.extend(0, 5_000);
    expect([backoff.isOver(4_999), backoff.isOver(5_000)]).toEqual([false, true]);
    backoff.extend(0);
    expect(backoff.isOver(29_999)).toBe(false);
  });

  test("grows by the factor of its policy", () => {
    const backoff = new Backoff({ firstMs: 2_000, maxMs: 10_000, factor: 1.5 });
    expect(backoff.nextMs).toBe(2_000);
    expect([1, 2, 3, 4, 5, 6].map(() => backoff.takeMs())).toEqual([
      2_000, 3_000, 4_500, 6_750, 10_000, 10_000,
    ]);
    expect(backoff.isOver(0)).toBe(true);
  });
});

test("backoffMs is finite after any number of failures", () => {
  expect(
    [0, 1, 2, 3].map((index) => backoffMs({ firstMs: 1_000, maxMs: 3_500, factor: 1.5 }, index)),
  ).toEqual([1_000, 1_500, 2_250, 3_375]);
  for (const index of [50, 1_024, Number.MAX_SAFE_INTEGER]) {
    expect(backoffMs({ firstMs: 100, maxMs: 30_000 }, index)).toBe(30_000);
    expect(backoffMs({ firstMs: 0, maxMs: 30_000 }, index)).toBe(0);
    expect(backoffMs({ firstMs: 100, maxMs: 0 }, index)).toBe(0);
  }
});
