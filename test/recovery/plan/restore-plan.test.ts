/** planRestore: a table of cases, and random histories against a search that tries every path. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Txid } from "../../../src/format/types.ts";
import {
  holeOrNull,
  neighbours,
  newestTxid,
  plannableTxids,
  planRestore,
} from "../../../src/recovery/plan/restore-plan.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { cases } from "../../support/property-cases.ts";

function object(level: number, minTxid: number, maxTxid: number): LtxObject {
  const key = `${level}/${minTxid}-${maxTxid}`;
  return { key, level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes: 1, modifiedMs: 0 };
}

/** Parses objects such as "9/1-1 0/2-2". */
function objects(text: string): LtxObject[] {
  return text
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => {
      const [level, min, max] = word.split(/[/-]/).map(Number) as [number, number, number];
      return object(level, min, max);
    });
}

function describePlan(text: string, target: number | null): string {
  const plan = planRestore(objects(text), target as Txid | null);
  switch (plan.kind) {
    case "plan":
      return plan.objects.map(({ key }) => key).join(" ");
    case "gap":
      return `gap after ${plan.afterTxid}, next ${plan.nextTxid}`;
    case "not-a-point":
      return `between ${plan.below} and ${plan.above}`;
    case "empty":
      return "empty";
  }
}

const ROWS: readonly [criterion: string, listing: string, target: number | null, expected: string][] = [
  ["nothing", "", null, "empty"],
  ["nothing, and a target", "", 3, "empty"],
  ["a snapshot alone", "9/1-1", null, "9/1-1"],
  ["a snapshot and increments", "9/1-1 0/2-2 0/3-3", null, "9/1-1 0/2-2 0/3-3"],
  ["an older target", "9/1-1 0/2-2 0/3-3", 2, "9/1-1 0/2-2"],
  ["the first target", "9/1-1 0/2-2 0/3-3", 1, "9/1-1"],
  ["a later snapshot", "9/1-1 0/2-2 0/3-3 9/1-3 0/4-4", null, "9/1-3 0/4-4"],
  ["a target before the later snapshot", "9/1-1 0/2-2 0/3-3 9/1-3 0/4-4", 2, "9/1-1 0/2-2"],
  ["a snapshot without the increments before it", "9/1-3 0/4-4", null, "9/1-3 0/4-4"],
  ["compactions before increments", "9/1-1 0/2-2 0/3-3 0/4-4 1/2-3", null, "9/1-1 1/2-3 0/4-4"],
  ["compactions of several levels", "9/1-1 1/2-3 1/4-5 2/2-5 0/6-6", null, "9/1-1 2/2-5 0/6-6"],
  ["a compaction past the target", "9/1-1 0/2-2 0/3-3 1/2-3", 2, "9/1-1 0/2-2"],
  ["an overlapping compaction", "9/1-4 1/2-6 0/7-7", null, "9/1-4 1/2-6 0/7-7"],
  ["an exact continuation before an overlapping one", "9/1-3 1/2-5 2/4-5", null, "9/1-3 2/4-5"],
  ["a compacted first object", "1/1-4 0/5-5", null, "1/1-4 0/5-5"],
  ["an older snapshot where the newest leads nowhere", "9/1-1 1/2-6 9/1-3", 6, "9/1-3 1/2-6"],
  ["no snapshot", "0/2-2 0/3-3", null, "gap after 0, next 2"],
  ["a gap", "9/1-1 0/2-2 0/4-4", null, "gap after 2, next 4"],
  ["a gap before a target", "9/1-1 0/3-3 0/4-4", 3, "gap after 1, next 3"],
  ["a gap that the newest snapshot bridges", "9/1-1 0/2-2 0/4-4 9/1-4", null, "9/1-4"],
  ["a gap after the target", "9/1-1 0/2-2 0/4-4", 2, "9/1-1 0/2-2"],
  ["a snapshot past the target alone", "9/1-5 0/6-6 0/3-3", 3, "gap after 0, next 3"],
  ["a target that was merged away", "9/1-1 1/2-6", 4, "between 1 and 6"],
  ["a target past the newest", "9/1-1 0/2-2", 3, "between 2 and null"],
  ["a target before the oldest", "9/1-5", 3, "between null and 5"],
];

describe("planRestore", () => {
  test.each(ROWS)("planRestore: %s", (_, listing, target, expected) => {
    expect(describePlan(listing, target)).toBe(expected);
  });

  test("planRestore does not depend on the order of the listing", () => {
    const listing = objects("9/1-1 0/2-2 0/3-3 1/2-3 9/1-3 0/4-4 0/5-5");
    const forwards = planRestore(listing, null);
    expect(planRestore(listing.toReversed(), null)).toEqual(forwards);
  });

  test("planRestore plans over ten thousand increments fast", () => {
    const listing = [object(9, 1, 1)];
    for (let txid = 2; txid <= 10_000; txid++) listing.push(object(0, txid, txid));
    const plan = planRestore(listing, null);
    expect(plan.kind === "plan" && plan.objects.length).toBe(10_000);
  });
});

/** The reachable TXIDs, by exhaustive search. */
function reachable(listing: readonly LtxObject[], goal: number): Set<number> {
  const reached = new Set<number>();
  for (const { minTxid, maxTxid } of listing) if (minTxid === 1 && maxTxid <= goal) reached.add(maxTxid);
  for (let isGrowing = true; isGrowing; ) {
    isGrowing = false;
    for (const { minTxid, maxTxid } of listing) {
      if (maxTxid > goal || reached.has(maxTxid)) continue;
      if (![...reached].some((txid) => minTxid <= txid + 1 && maxTxid > txid)) continue;
      reached.add(maxTxid);
      isGrowing = true;
    }
  }
  return reached;
}

const anyObject = fc
  .tuple(fc.constantFrom(0, 1, 2, 3, 9), fc.integer({ min: 1, max: 14 }), fc.integer({ min: 0, max: 5 }))
  .map(([level, min, length]) => {
    if (level === 9) return object(9, 1, min);
    return level === 0 ? object(0, min, min) : object(level, min, min + length);
  });

describe("planRestore on random histories", () => {
  test("planRestore finds a contiguous path if and only if one exists", () => {
    const history = fc.array(anyObject, { maxLength: 18 });
    const goal = fc.option(fc.integer({ min: 1, max: 20 }), { nil: null });
    fc.assert(
      fc.property(history, goal, (listing, target) => {
        const plan = planRestore(listing, target as Txid | null);
        const newest = newestTxid(listing);
        if (newest === 0) return plan.kind === "empty";
        const wanted = target ?? newest;
        const isPoint = listing.some(({ maxTxid }) => maxTxid === wanted);
        const isReachable = reachable(listing, wanted).has(wanted);
        if (plan.kind !== "plan") return !isReachable && (plan.kind === "not-a-point") === !isPoint;
        expect(isReachable).toBe(true);
        expect(plan.txid).toBe(wanted as Txid);
        let reached = 0;
        plan.objects.forEach((step, index) => {
          expect(listing).toContain(step);
          if (index === 0) expect(step.minTxid).toBe(1 as Txid);
          expect(step.minTxid).toBeLessThanOrEqual(reached + 1);
          expect(step.maxTxid).toBeGreaterThan(reached);
          reached = step.maxTxid;
        });
        expect(reached).toBe(wanted);
        return true;
      }),
      cases(3000, 20260301),
    );
  });

  test("planRestore names the newest restorable TXID before a gap", () => {
    const history = fc.array(anyObject, { maxLength: 18 });
    fc.assert(
      fc.property(history, (listing) => {
        const plan = planRestore(listing, null);
        if (plan.kind !== "gap") return;
        const reached = reachable(listing, newestTxid(listing));
        expect(plan.afterTxid as number).toBe(Math.max(0, ...reached));
        if (plan.afterTxid > 0) expect(planRestore(listing, plan.afterTxid).kind).toBe("plan");
      }),
      cases(3000, 7),
    );
  });
});

describe("neighbours", () => {
  test("are the nearest ends of objects on both sides", () => {
    const listing = objects("9/1-1 1/2-6 0/9-9");
    expect(neighbours(listing, 4 as Txid)).toEqual({ below: 1 as Txid, above: 6 as Txid });
    expect(neighbours(objects("9/1-1 0/2-2 0/3-3"), 2 as Txid)).toEqual({
      below: 1 as Txid,
      above: 3 as Txid,
    });
    expect(neighbours([], 4 as Txid)).toEqual({ below: null, above: null });
  });
  // Once the hint proposed a point behind a gap, and requesting that point was an error again.
  test("are always reachable by a path", () => {
    const listing = objects("9/1-1 1/2-6 0/9-9");
    expect(neighbours(listing, 7 as Txid)).toEqual({ below: 6 as Txid, above: null });
    expect(neighbours(listing, 20 as Txid)).toEqual({ below: 6 as Txid, above: null });
  });

  test("and plannableTxids are the TXIDs for which planRestore has a plan", () => {
    fc.assert(
      fc.property(fc.array(anyObject, { maxLength: 18 }), (listing) => {
        const points = [...new Set(listing.map(({ maxTxid }) => maxTxid))].sort((a, b) => a - b);
        const planned = points.filter((txid) => planRestore(listing, txid).kind === "plan");
        expect(plannableTxids(listing)).toEqual(planned);
      }),
      cases(2000, 11),
    );
  });
});

describe("holeOrNull", () => {
  test.each([
    ["between increments", "9/1-1 0/2-2 0/5-5", 3, [3, 4]],
    ["before a later snapshot alone", "9/1-1 0/2-2 9/1-6", 4, [3, 5]],
    ["what was merged is none", "9/1-1 1/2-6 9/1-9", 4, null],
    ["what Litestream merged with the snapshot is none", "9/1-1 1/1-6", 4, null],
    ["before the oldest snapshot there is none", "9/1-5 0/6-6", 3, null],
    ["after the newest object there is none", "9/1-1 0/2-2", 3, null],
    ["without a snapshot there is none", "0/2-2 0/5-5", 3, null],
  ] as const)("holeOrNull: %s", (_, listing, txid, expected) => {
    const hole = holeOrNull(objects(listing), txid as Txid);
    expect(hole === null ? null : [hole.firstTxid, hole.lastTxid]).toEqual(
      expected === null ? null : [expected[0] as Txid, expected[1] as Txid],
    );
  });
});

describe("the work of planning", () => {
  /** Objects that count how often their last TXIDs are read. */
  function counted(texts: readonly string[]): { listing: LtxObject[]; reads: () => number } {
    let reads = 0;
    const listing = texts.flatMap(objects).map((one) => {
      return Object.defineProperty({ ...one }, "maxTxid", {
        enumerable: true,
        get: () => {
          reads++;
          return one.maxTxid;
        },
      });
    });
    return { listing, reads: () => reads };
  }

  const upTo = (count: number, word: (txid: number) => string): string[] =>
    Array.from({ length: count }, (_, index) => word(index + 2));
  const listings: [string, (count: number) => string[]][] = [
    [
      "many snapshots before a gap",
      (n) => [...upTo(n, (i) => `9/1-${i} 0/${i}-${i}`), `0/${n + 9}-${n + 9}`],
    ],
    [
      "many snapshots that nothing continues",
      (n) => upTo(n, (i) => `9/1-${2 * i} 0/${2 * n + i}-${2 * n + i}`),
    ],
    ["overlaps", (n) => ["9/1-1", ...upTo(n, (i) => `1/2-${i} 0/${i}-${i}`)]],
  ];
  test.each(listings)("grows with n log n for %s", (_what, listingOf) => {
    const [small, large] = [2_000, 20_000].map((count) => {
      const { listing, reads } = counted(listingOf(count));
      planRestore(listing, null);
      neighbours(listing, 5 as Txid);
      holeOrNull(listing, 5 as Txid);
      return reads();
    });
    // Ten times the objects take some 13 times the work; quadratic work would be a hundred times as much.
    expect(large! / small!).toBeLessThan(20);
  });
});
