/** The pace of checkpoints: the predicted growth of a WAL, and the waits after each obstacle. */
import { describe, expect, test } from "bun:test";
import { type CheckpointObstacle, CheckpointPace } from "../../../src/replication/capture/checkpoint-pace.ts";

const LONG = 1_000;

describe("dueMs of a WAL", () => {
  test("that grows steadily is half of the way to the time at which it is long", () => {
    const pace = new CheckpointPace();
    pace.saw(0, 1_000);
    pace.saw(500, 1_100);
    expect(pace.dueMs(LONG)).toBe(1_150);
    pace.saw(750, 1_150);
    expect(pace.dueMs(LONG)).toBe(1_175);
    pace.saw(875, 1_175);
    expect(pace.dueMs(LONG)).toBe(1_200);
  });

  test("whose writers have become faster is found at half of the way", () => {
    const pace = new CheckpointPace();
    pace.saw(0, 1_000);
    pace.saw(100, 1_100);
    expect(pace.dueMs(LONG)).toBe(1_550);
    pace.saw(1_300, 1_550);
    expect(pace.dueMs(LONG)).toBe(1_550);
  });

  test("that was seen once, or rests, is never", () => {
    const pace = new CheckpointPace();
    pace.saw(0, 1_000);
    expect(pace.dueMs(LONG)).toBe(Number.POSITIVE_INFINITY);
    pace.saw(500, 1_100);
    pace.saw(500, 1_200);
    expect(pace.dueMs(LONG)).toBe(Number.POSITIVE_INFINITY);
  });

  test("that is long already is the moment at which it was seen", () => {
    const pace = new CheckpointPace();
    pace.saw(LONG, 1_000);
    expect(pace.dueMs(LONG)).toBe(1_000);
  });

  test("that has begun anew keeps its pace", () => {
    const pace = new CheckpointPace();
    pace.saw(0, 1_000);
    pace.saw(2_000, 1_100);
    pace.completed(1_105);
    expect(pace.dueMs(LONG)).toBe(1_130);
  });

  test("is not moved by a second look after a few ms", () => {
    const pace = new CheckpointPace();
    pace.saw(0, 1_000);
    pace.saw(100, 1_100);
    pace.saw(190, 1_105);
    expect(pace.dueMs(130)).toBe(1_130);
  });
});

/** The waits after one obstacle that comes again and again. */
function waitsAfter(obstacle: CheckpointObstacle, count: number): number[] {
  const pace = new CheckpointPace();
  pace.saw(LONG, 1_000);
  return Array.from({ length: count }, (_, index) => {
    const nowMs = 10_000 * (index + 1);
    pace.hindered(obstacle, nowMs);
    expect([pace.isFree(pace.dueMs(LONG) - 1), pace.isFree(pace.dueMs(LONG))]).toEqual([false, true]);
    return pace.dueMs(LONG) - nowMs;
  });
}

test.each([
  ["unseen", [5, 10, 20, 40, 40]],
  ["busy", [10, 10, 10, 20, 40, 80, 160, 250, 250]],
  ["spent", [50, 50, 50, 50, 50]],
  ["partial", [20, 40, 80, 160, 320, 640, 1_000, 1_000]],
] as const)("after the obstacle %s a checkpoint waits", (obstacle, waits) => {
  expect(waitsAfter(obstacle, waits.length)).toEqual([...waits]);
});

test("the attempt for the write lock grows while writers keep it, until a checkpoint is complete", () => {
  const pace = new CheckpointPace();
  const budgets = Array.from({ length: 9 }, () => {
    pace.hindered("busy", 0);
    return pace.lockBudgetMs(1);
  });
  expect(budgets).toEqual([20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000]);
  pace.hindered("partial", 5_000);
  pace.completed(5_001);
  expect([pace.lockBudgetMs(1), pace.isFree(5_001)]).toEqual([10, true]);
});

test("the attempt for the write lock is longer, the longer the WAL is", () => {
  const pace = new CheckpointPace();
  expect([0.1, 1, 2.5, 4, 100].map((share) => pace.lockBudgetMs(share))).toEqual([10, 10, 25, 40, 40]);
});
