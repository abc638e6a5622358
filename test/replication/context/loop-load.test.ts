/** The load of the loop: slow passes make checkpoints rarer and give them a share of the time. */
import { describe, expect, test } from "bun:test";
import { LoopLoad } from "../../../src/replication/context/loop-load.ts";

/** A load after one pass. */
function loadAfter(passMs: number): LoopLoad {
  const load = new LoopLoad();
  load.passed(passMs, 0);
  return load;
}

describe("a WAL", () => {
  test("may be longer before its checkpoint as a pass takes longer, up to three times", () => {
    expect(new LoopLoad().walStretch).toBe(1);
    const stretches = [0, 5, 500, 1_000, 1_500, 60_000].map((passMs) => loadAfter(passMs).walStretch);
    expect(stretches).toEqual([1, 1, 1, 2, 3, 3]);
  });

  test("may be longer for ten seconds after a slow pass, whatever the next one takes", () => {
    const load = loadAfter(1_000);
    load.passed(20, 9_900);
    expect(load.walStretch).toBe(2);
    load.passed(1_500, 9_950);
    load.passed(20, 19_900);
    expect(load.walStretch).toBe(3);
    load.passed(20, 19_950);
    expect(load.walStretch).toBe(1);
  });
});

describe("checkpoints", () => {
  test("have no limit while the loop is in time", () => {
    const load = new LoopLoad();
    for (let nowMs = 0; nowMs < 1_000; nowMs += 10) {
      expect(load.mayCheckpoint(1, nowMs)).toBe(true);
      load.checkpointed(10);
    }
  });

  test("take some 30 % of the time of a slow loop, and long WALs are checkpointed in any case", () => {
    const load = loadAfter(2_000);
    let spentMs = 0;
    for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
      expect(load.mayCheckpoint(6, nowMs)).toBe(true);
      if (!load.mayCheckpoint(5.9, nowMs)) continue;
      load.checkpointed(10);
      spentMs += 10;
    }
    expect(spentMs).toBeGreaterThanOrEqual(3_000);
    expect(spentMs).toBeLessThanOrEqual(3_200);
  });

  test("that took long before are forgotten soon", () => {
    const load = loadAfter(2_000);
    load.mayCheckpoint(1, 0);
    load.checkpointed(60_000);
    expect(load.mayCheckpoint(1, 300)).toBe(false);
    expect(load.mayCheckpoint(1, 350)).toBe(true);
  });
});
