/** From times of commits and objects to lags: the pure arithmetic of the case `load`. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { lossOf, pickEvenly } from "../../../scripts/bench/cases/verify.ts";
import { mergeResults, readCommitTimes, splitTurns } from "../../../scripts/bench/processes/writer.ts";
import { behindAt, behindOf, lagsOf, ticksOf, visibleTimes } from "../../../scripts/bench/results/behind.ts";
import { tempFolder } from "../../support/temp.ts";

const COMMITS = Float64Array.of(100, 200, 300, 400);
const object = (captureMs: number, visibleMs: number) => ({ captureMs, visibleMs });

describe("visibleTimes", () => {
  test("a commit is in the first object captured at its time or later", () => {
    const objects = [object(200, 250), object(399, 450)];
    expect([...visibleTimes(COMMITS, objects)]).toEqual([250, 250, 450, Number.POSITIVE_INFINITY]);
  });

  test("an object that appears before the one before it counts only after both", () => {
    const objects = [object(200, 900), object(400, 450)];
    expect([...visibleTimes(COMMITS, objects)]).toEqual([900, 900, 900, 900]);
  });

  test("objects without commits of their own, and no objects at all", () => {
    const objects = [object(50, 60), object(70, 80), object(500, 510)];
    expect([...visibleTimes(COMMITS, objects)]).toEqual([510, 510, 510, 510]);
    expect([...visibleTimes(COMMITS, [])]).toEqual(Array(4).fill(Number.POSITIVE_INFINITY));
  });
});

test("lagsOf sorts the lags of the window, and ages what never became visible", () => {
  const visible = visibleTimes(COMMITS, [object(300, 350)]);
  expect([...lagsOf([COMMITS], [visible], { startMs: 200, endMs: 500 }, 1_000)]).toEqual([50, 150, 600]);
  expect(lagsOf([COMMITS], [visible], { startMs: 500, endMs: 900 }, 1_000)).toHaveLength(0);
});

test("lagsOf reports no negative lag when the clocks round differently", () => {
  const visible = Float64Array.of(99.8);
  expect([...lagsOf([Float64Array.of(100)], [visible], { startMs: 0, endMs: 200 }, 300)]).toEqual([0]);
});

describe("behindAt", () => {
  const visible = visibleTimes(COMMITS, [object(200, 250), object(300, 360)]);

  test.each([
    [90, 0],
    [150, 50],
    [249, 149],
    [250, 0],
    [330, 30],
    [360, 0],
    [1_000, 600],
  ])("at %d ms the oldest commit that is not visible is %d ms old", (atMs, ageMs) => {
    expect(behindAt(COMMITS, visible, atMs)).toBe(ageMs);
  });

  test("behindOf takes every database at every time", () => {
    const both = behindOf([COMMITS, Float64Array.of()], [visible, Float64Array.of()], [150, 330]);
    expect([...both]).toEqual([0, 0, 30, 50]);
  });
});

test("ticksOf ends at the end of the window", () => {
  expect(ticksOf({ startMs: 0, endMs: 1_000 }, 300)).toEqual([1_000, 700, 400, 100]);
});

describe("lossOf", () => {
  test("counts the commits before the kill that the copy lacks", () => {
    expect(lossOf(COMMITS, 1, 350)).toEqual({ commitCount: 2, ageMs: 150 });
  });

  test("commits after the kill are not lost, and a commit in flight may be kept", () => {
    expect(lossOf(COMMITS, 3, 350)).toEqual({ commitCount: 0, ageMs: 0 });
    expect(lossOf(COMMITS, 4, 350)).toEqual({ commitCount: 0, ageMs: 0 });
  });
});

test("splitTurns gives each database its commits", () => {
  const parts = splitTurns(Float64Array.of(1, 2, 3, 4, 5), 3).map((part) => [...part]);
  expect(parts).toEqual([[1, 4], [2, 5], [3]]);
  expect(splitTurns(Float64Array.of(1), 3).map(({ length }) => length)).toEqual([1, 0, 0]);
});

test("readCommitTimes puts the commits of all processes in the order of the databases", () => {
  const folder = tempFolder("times");
  // Two processes and five databases: the first has the databases 0, 2 and 4, the second 1 and 3.
  const timesPaths = [
    [10, 12, 14, 20, 22],
    [11, 13, 21],
  ].map((times, share) => {
    const path = join(folder, String(share));
    writeFileSync(path, Float64Array.from(times));
    return path;
  });
  const times = readCommitTimes({ children: [], timesPaths, databaseCount: 5 });
  expect(times.map((one) => [...one])).toEqual([[10, 20], [11, 21], [12, 22], [13], [14]]);
});

test("mergeResults adds the commits and takes the percentiles over all processes", () => {
  const share = { commitCount: 10, durationMs: 100, latestMs: 5, commitsMs: [1, 2, 3] };
  expect(mergeResults([share, { ...share, durationMs: 120, latestMs: 2, commitsMs: [4, 5, 90] }])).toEqual({
    ...{ commitCount: 20, durationMs: 120, latestMs: 5, commitP50Ms: 3, commitP99Ms: 90 },
  });
});

test("pickEvenly picks at even distances, and all when asked for more", () => {
  expect(pickEvenly([0, 1, 2, 3, 4, 5], 3)).toEqual([0, 2, 4]);
  expect(pickEvenly([0, 1, 2], 10)).toEqual([0, 1, 2]);
  expect(pickEvenly([0, 1, 2], Number.POSITIVE_INFINITY)).toEqual([0, 1, 2]);
});
