/**
 * The choice of the next merge, the sources that may be deleted after it, and the reasons to start it early;
 * and compaction, expiry and retention over simulated days with crashes between any two operations.
 */
import { describe, expect, test } from "bun:test";
import type { CompactionConfig } from "../../../src/config/config.ts";
import type { Txid } from "../../../src/format/types.ts";
import {
  coveredTxid,
  isCompactionUrgent,
  MERGE_BYTES_MAX,
  MERGE_OBJECTS_MAX,
  planExpiry,
  planMergeOrNull,
} from "../../../src/replication/upkeep/compaction-plan.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { DataPlaneSimulation } from "../../support/histories/upkeep-simulation.ts";
import { DAY_MS, HOUR_MS } from "../../support/shifted-clock.ts";

/** "1/2-9@500": level 1, TXID 2 to 9, modified at 500. */
function objects(text: string): LtxObject[] {
  return text
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => {
      const [level, min, max, modifiedMs = 0] = word.split(/[/@-]/).map(Number) as [number, number, number];
      const key = word.split("@")[0]!;
      return { key, level, minTxid: min as Txid, maxTxid: max as Txid, sizeBytes: 1, modifiedMs };
    });
}

/** Single increments of these TXIDs. */
function increments(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, index) => `0/${from + index}-${from + index}`).join(" ");
}

const MERGES: readonly [criterion: string, below: string, covered: number, level: number, merge: string][] = [
  ["nothing", "", 0, 1, ""],
  ["one object", "0/2-2", 0, 1, "0/2-2"],
  ["all that is new", "0/2-2 0/3-3 0/4-4", 0, 1, "0/2-2 0/3-3 0/4-4"],
  ["only what is after the covered", "0/2-2 0/3-3 0/4-4", 3, 1, "0/4-4"],
  ["nothing after the covered", "0/2-2 0/3-3", 3, 1, ""],
  ["any order of the listing", "0/4-4 0/2-2 0/3-3", 0, 1, "0/2-2 0/3-3 0/4-4"],
  ["never the first snapshot", "0/1-1 0/2-2", 0, 1, "0/2-2"],
  ["only the level below", "0/2-2 1/2-2 9/1-2 0/3-3", 0, 1, "0/2-2 0/3-3"],
  ["up to a hole", "0/2-2 0/3-3 0/5-5", 0, 1, "0/2-2 0/3-3"],
  ["after a gap, from its end", "0/5-5 0/6-6", 3, 1, "0/5-5 0/6-6"],
  ["ranges", "1/2-9 1/10-10 1/11-30", 9, 2, "1/10-10 1/11-30"],
  ["past one that begins inside what is covered", "1/2-30 1/31-40", 25, 2, "1/31-40"],
  ["one of two that overlap", "1/2-9 1/2-12", 0, 2, "1/2-9"],
];

describe("planMergeOrNull", () => {
  test.each(MERGES)("planMergeOrNull takes %s", (_, below, covered, level, expected) => {
    const merge = planMergeOrNull(objects(below), covered, level);
    expect((merge?.sources ?? []).map(({ key }) => key).join(" ")).toBe(expected);
    if (merge === null) return;
    expect([merge.level, merge.minTxid, merge.maxTxid] as number[]).toEqual([
      level,
      merge.sources[0]!.minTxid,
      merge.sources.at(-1)!.maxTxid,
    ]);
  });

  test("planMergeOrNull merges a bounded number of objects, and the rest the next time", () => {
    const below = objects(increments(2, MERGE_OBJECTS_MAX + 21));
    const first = planMergeOrNull(below, 0, 1)!;
    expect([first.sources.length, Number(first.maxTxid)]).toEqual([MERGE_OBJECTS_MAX, MERGE_OBJECTS_MAX + 1]);
    const second = planMergeOrNull(below, first.maxTxid, 1)!;
    expect([second.sources.length, Number(second.minTxid)]).toEqual([20, MERGE_OBJECTS_MAX + 2]);
  });

  test("planMergeOrNull merges a bounded number of bytes, but always one object", () => {
    const sizes = [MERGE_BYTES_MAX / 2, MERGE_BYTES_MAX / 2, 1, MERGE_BYTES_MAX + 1, 1, 1];
    const below = objects(increments(2, 7)).map((object, index) => ({ ...object, sizeBytes: sizes[index]! }));
    const counts: number[] = [];
    let covered = 0;
    for (;;) {
      const merge = planMergeOrNull(below, covered, 1);
      if (merge === null) break;
      counts.push(merge.sources.length);
      covered = merge.maxTxid;
    }
    expect(counts).toEqual([2, 1, 1, 2]);
  });
});

test("coveredTxid is the last TXID of a level, 0 for an empty level", () => {
  const listing = objects("0/2-2 1/2-9 1/10-12 2/2-9");
  expect([1, 2, 3].map((level) => Number(coveredTxid(listing, level)))).toEqual([12, 9, 0]);
});

/** Keys that expire at `nowMs`. */
function expired(
  listing: string,
  nowMs: number,
  policy: Partial<CompactionConfig> = {},
  unverified: readonly string[] = [],
): string {
  const isVerified = ({ key }: LtxObject): boolean => !unverified.includes(key);
  const all = planExpiry(objects(listing), { ...DEFAULT_CONFIG.compaction, ...policy }, isVerified, nowMs);
  return all.map(({ source }) => source.key).join(" ");
}

const ONE = { preserveRecent: 1 };

describe("planExpiry", () => {
  test("planExpiry retains a source exactly its level's lifetime after its merge", () => {
    const listing = "0/2-2 0/3-3 0/4-4 1/2-3@1000 1/4-9@1000 2/2-3@2000 2/4-9 3/2-3@3000";
    expect(expired(listing, 1000 + HOUR_MS - 1, ONE)).toBe("");
    expect(expired(listing, 1000 + HOUR_MS, ONE)).toBe("0/2-2 0/3-3");
    expect(expired(listing, 2000 + DAY_MS - 1, ONE)).toBe("0/2-2 0/3-3");
    expect(expired(listing, 2000 + DAY_MS, ONE)).toBe("0/2-2 0/3-3 1/2-3");
    expect(expired(listing, 3000 + 7 * DAY_MS, ONE)).toBe("0/2-2 0/3-3 1/2-3 2/2-3");
  });

  test("planExpiry keeps the recent increments, and the last of each level", () => {
    const listing = `${increments(2, 21)} 1/2-11 1/12-20 1/21-21 2/2-21 3/2-21`;
    const levelZero = (preserveRecent: number): string[] =>
      expired(listing, 30 * DAY_MS, { preserveRecent })
        .split(" ")
        .filter((key) => key.startsWith("0/"));
    expect(levelZero(10)).toEqual(increments(2, 11).split(" "));
    expect(levelZero(0)).toEqual(increments(2, 20).split(" "));
    expect(expired(listing, 30 * DAY_MS, { preserveRecent: 99 })).toBe("");
  });

  test("planExpiry deletes nothing whose replacement is missing, shorter or not verified", () => {
    expect(expired("0/2-2 0/3-3 0/4-4", DAY_MS, ONE)).toBe("");
    expect(expired("0/2-2 0/3-3 0/4-4 0/5-5 1/2-3", DAY_MS, ONE)).toBe("0/2-2 0/3-3");
    expect(expired("0/2-2 0/3-3 0/4-4 0/5-5 1/2-4", DAY_MS, ONE, ["1/2-4"])).toBe("");
    expect(expired("1/2-5 1/6-9 2/2-4", 9 * DAY_MS, ONE)).toBe("");
  });

  test("planExpiry never touches level 3, snapshots or a level without one above", () => {
    expect(expired("3/2-9 3/10-20 9/1-9 9/1-20 9/1-1", 365 * DAY_MS, ONE)).toBe("");
  });

  test("planExpiry with a clock behind the store's deletes nothing", () => {
    expect(expired(`0/2-2 0/3-3 1/2-3@${DAY_MS}`, 0, ONE)).toBe("");
  });

  // A crash between two deletions, or a day without commits, removes the level between.
  test("planExpiry deletes an increment whose replacement was itself replaced", () => {
    expect(expired("0/2-2 0/3-3 0/4-4 0/5-5 1/4-5 2/2-3", 9 * DAY_MS, ONE)).toBe("0/2-2 0/3-3");
  });

  // The remaining sources of a merge are no points any more, because the ones before them are deleted.
  test("planExpiry preserves recent increments as points: whole merges or none of them", () => {
    expect(expired(`${increments(2, 11)} 1/2-6 1/7-11`, DAY_MS, { preserveRecent: 3 })).toBe(
      increments(2, 6),
    );
  });
});

const URGENT: readonly [
  criterion: string,
  policy: Partial<CompactionConfig>,
  waiting: Parameters<typeof isCompactionUrgent>[0],
  isUrgent: boolean,
][] = [
  ["all off", {}, { count: 1e9, bytes: 1e15, oldestAgeMs: 1e12 }, false],
  ["one below the threshold", { threshold: 5 }, { count: 4, bytes: 0, oldestAgeMs: 0 }, false],
  ["at the threshold", { threshold: 5 }, { count: 5, bytes: 0, oldestAgeMs: 0 }, true],
  ["one byte below the size", { sizeBytes: 100 }, { count: 1, bytes: 99, oldestAgeMs: 0 }, false],
  ["at the size", { sizeBytes: 100 }, { count: 1, bytes: 100, oldestAgeMs: 0 }, true],
  ["younger than the age", { maxIncrementalAgeMs: 10 }, { count: 1, bytes: 0, oldestAgeMs: 9 }, false],
  ["at the age", { maxIncrementalAgeMs: 10 }, { count: 1, bytes: 0, oldestAgeMs: 10 }, true],
  [
    "at the age with nothing waiting",
    { maxIncrementalAgeMs: 10 },
    { count: 0, bytes: 0, oldestAgeMs: 99 },
    false,
  ],
];

test.each(URGENT)("isCompactionUrgent: %s", (_, policy, waiting, isUrgent) => {
  expect(isCompactionUrgent(waiting, { ...DEFAULT_CONFIG.compaction, ...policy })).toBe(isUrgent);
});

const RETENTION = { hourly: 6, daily: 3, weekly: 2, monthly: 1 };
const COMMON = { steps: 60, compaction: DEFAULT_CONFIG.compaction, faultRate: 0.04 };

/** Runs a simulation to its end, which must have done enough to judge. */
async function simulate(options: ConstructorParameters<typeof DataPlaneSimulation>[0]): Promise<void> {
  const run = new DataPlaneSimulation(options);
  await run.run();
  expect(run.crashes).toBeGreaterThan(3);
  expect(run.deletions).toBeGreaterThan(50);
  expect(run.merges).toBeGreaterThan(5);
  expect(run.restores).toBeGreaterThan(1);
  expect(await run.uncompacted()).toBe(0);
}

test.each([1, 2, 3])(
  "seed %d: after every operation and crash, every retained point is restorable",
  async (seed) => {
    await simulate({ ...COMMON, seed, retention: RETENTION, snapshotRate: 0.12 });
  },
  20_000,
);

// Retention deleted beyond the merged TXIDs and left a gap, and nothing was merged before a restart (seeds 1
// and 4 of this policy).
test.each([1, 4])(
  "seed %d: retention of two frequent snapshots never stops compaction",
  async (seed) => {
    const retention = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
    await simulate({ ...COMMON, steps: 80, seed, retention, snapshotRate: 0.5 });
  },
  20_000,
);
