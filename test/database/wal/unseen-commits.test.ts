/**
 * The suspicion of commits beyond the wal-index: when the WAL is checked, and the verdict. Tables over a fake
 * clock.
 */
import { describe, expect, test } from "bun:test";
import {
  isCheckDue,
  judgeCheck,
  NO_SUSPICION,
  type Suspicion,
  suspect,
} from "../../../src/database/wal/unseen-commits.ts";

/**
 * Polls once a second. `moved` and `captured` hold at these seconds; `reading` is the result of a reading.
 */
function run(
  seconds: number,
  moved: (second: number) => boolean,
  captured: (second: number) => boolean,
  reading: (second: number) => boolean,
): { readings: number[]; alarms: number[] } {
  let suspicion: Suspicion = NO_SUSPICION;
  let capturedMs = Number.NEGATIVE_INFINITY;
  const readings: number[] = [];
  const alarms: number[] = [];
  for (let second = 0; second < seconds; second++) {
    const nowMs = second * 1000;
    suspicion = suspect(suspicion, { nowMs, hasMoved: moved(second), capturedMs });
    if (isCheckDue(suspicion, nowMs)) {
      readings.push(second);
      const verdict = judgeCheck(suspicion, reading(second), nowMs);
      if (verdict === "unseen") alarms.push(second);
      suspicion = verdict === "unseen" ? NO_SUSPICION : verdict;
    }
    if (captured(second)) capturedMs = nowMs;
  }
  return { readings, alarms };
}

const never = (): boolean => false;
const always = (): boolean => true;
const at =
  (...seconds: number[]) =>
  (second: number): boolean =>
    seconds.includes(second);

describe("a WAL that is written", () => {
  test("and captured is not read", () => {
    expect(run(600, always, always, always)).toEqual({ readings: [], alarms: [] });
    expect(
      run(
        600,
        (second) => second % 3 === 0,
        (second) => second % 3 === 0,
        always,
      ).readings,
    ).toEqual([]);
  });

  test("once, without a commit (a touch, a rollback, our own truncation), is read once", () => {
    expect(run(600, at(10), never, never)).toEqual({ readings: [15], alarms: [] });
  });

  test("for long without a commit (a spilled transaction) is read less and less often", () => {
    const { readings, alarms } = run(600, always, never, never);
    expect(alarms).toEqual([]);
    expect(readings.slice(0, 4)).toEqual([5, 16, 37, 78]);
    expect(readings.length).toBeLessThan(14);
  });

  test("with a commit that stays past the wal-index is an alarm after two readings", () => {
    expect(run(12, at(1), never, always)).toEqual({ readings: [6, 11], alarms: [11] });
  });

  test("with a commit that is published late is no alarm", () => {
    expect(run(60, at(1), at(8), (second) => second < 8)).toEqual({ readings: [6], alarms: [] });
    expect(run(60, at(1), never, (second) => second < 8).alarms).toEqual([]);
  });

  test("after a capture is suspected as quickly as at first", () => {
    const { readings } = run(300, (second) => second < 100 || second === 200, at(150), never);
    expect(readings.at(-1)).toBe(205);
  });
});
