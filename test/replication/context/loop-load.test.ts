/** The load of the loop: slow passes make checkpoints rarer and give them a share of the time. */
import { describe, expect, test } from "bun:test";
import { LoopLoad } from "../../../src/replication/context/loop-load.ts";

/** The load of a loop whose last two passes ended at `endMs`. */
function loadAfter(passMs: number, endMs = 0): LoopLoad {
  const load = new LoopLoad();
  load.passed(passMs, endMs);
  load.passed(passMs, endMs);
  return load;
}

function mayBegin(load: LoopLoad, nowMs: number): boolean {
  return load.freeAtMs(nowMs) <= nowMs;
}

/** Begins a checkpoint of 10 ms whenever one may begin. @returns the time of all of them, in ms */
function spend(load: LoopLoad, fromMs: number, toMs: number): number {
  let spentMs = 0;
  for (let nowMs = fromMs; nowMs < toMs; nowMs += 10) {
    if (!mayBegin(load, nowMs)) continue;
    load.checkpointed(10);
    spentMs += 10;
  }
  return spentMs;
}

describe("a WAL", () => {
  test("may be longer before its checkpoint as passes take longer, up to three times", () => {
    expect(new LoopLoad().walStretch).toBe(1);
    const stretches = [0, 5, 500, 1_000, 1_500, 60_000].map((passMs) => loadAfter(passMs).walStretch);
    expect(stretches).toEqual([1, 1, 1, 2, 3, 3]);
  });

  test("is as long as ever after one slow pass: a stall, or a stopped process", () => {
    const load = new LoopLoad();
    load.passed(3_600_000, 3_600_000);
    load.passed(20, 3_600_020);
    load.passed(3_000, 3_610_000);
    expect([load.walStretch, mayBegin(load, 3_610_000)]).toEqual([1, true]);
  });

  test("may be longer for ten seconds after the last slow pass, whatever is in between", () => {
    const load = loadAfter(1_000);
    load.passed(20, 9_000);
    load.passed(600, 9_900);
    load.passed(20, 19_800);
    expect(load.walStretch).toBe(2);
    load.passed(20, 19_900);
    expect(load.walStretch).toBe(1);
  });

  test("is as long as ever when there is one database", () => {
    const load = loadAfter(2_000);
    load.isShared = false;
    expect([load.walStretch, spend(load, 0, 1_000)]).toEqual([1, 1_000]);
  });
});

describe("checkpoints", () => {
  test("have no limit while the loop is in time", () => {
    expect(spend(new LoopLoad(), 0, 1_000)).toBe(1_000);
  });

  test("take some 30 % of the time of a slow loop, and of the ten seconds after", () => {
    const load = loadAfter(2_000);
    const spentMs = spend(load, 0, 9_990);
    load.passed(20, 10_000);
    expect(load.walStretch).toBe(1);
    const afterwardsMs = spend(load, 10_000, 19_990);
    expect([spentMs, afterwardsMs].map((ms) => Math.round(ms / 500) * 500)).toEqual([3_000, 3_000]);
    expect(spend(load, 20_000, 21_000)).toBe(1_000);
  });

  test("get no time twice when a caller asks with an older time", () => {
    const load = loadAfter(2_000);
    load.freeAtMs(0);
    load.checkpointed(400);
    const freeMs = load.freeAtMs(100);
    load.freeAtMs(0);
    expect(load.freeAtMs(100)).toBeCloseTo(freeMs);
  });

  test("may begin again at the named time; a very long one is owed for three seconds", () => {
    const load = loadAfter(2_000);
    load.freeAtMs(0);
    load.checkpointed(60_000);
    const freeMs = load.freeAtMs(0);
    expect(freeMs).toBeCloseTo(1_000 / 0.3);
    expect([mayBegin(load, freeMs - 1), mayBegin(load, freeMs + 1)]).toEqual([false, true]);
  });
});
