/** shrinkUntil: its times, and its end. */
import { expect, test } from "bun:test";
import {
  FIRST_SHRINK_MS,
  SHRINK_INTERVAL_MS,
  shrinkUntil,
} from "../../../src/commands/memory/shrink-heap.ts";
import { ManualTime } from "../../observability/manual-time.ts";

test("shrinkUntil shrinks soon, then less and less often, and stops with the signal", async () => {
  const time = new ManualTime();
  const ending = new AbortController();
  let count = 0;
  const ended = shrinkUntil(ending.signal, time.env, () => count++);
  const waitsMs = [30_000, 60_000, 120_000, 240_000, 300_000, 300_000];
  expect([waitsMs[0], waitsMs.at(-1)]).toEqual([FIRST_SHRINK_MS, SHRINK_INTERVAL_MS]);
  for (const [index, waitMs] of waitsMs.entries()) {
    await time.sleeping(waitMs);
    expect(count).toBe(index);
    time.pass(waitMs);
  }
  await time.sleeping(SHRINK_INTERVAL_MS);
  ending.abort();
  await ended;
  expect(count).toBe(6);
  expect(time.sleepsMs).toEqual([]);
});

test("Bun.shrink is there, and the program goes on after it", async () => {
  expect(Bun.shrink).toBeFunction();
  const sum = (): number => Array.from({ length: 10_000 }, (_, index) => index).reduce((a, b) => a + b);
  for (let round = 0; round < 5; round++) {
    Bun.shrink();
    await new Promise((resolve) => setImmediate(resolve));
    expect(sum()).toBe(49_995_000);
  }
});
