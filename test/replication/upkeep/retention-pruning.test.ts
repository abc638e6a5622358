/** The deletions of pruning, stopped after any of them: every retained point stays restorable throughout. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { RetentionConfig } from "../../../src/config/config.ts";
import { SNAPSHOT_LEVEL } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { newestTxid, planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { planPruning } from "../../../src/replication/upkeep/retention-plan.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { cases } from "../../support/property-cases.ts";
import { DAY_MS } from "../../support/shifted-clock.ts";

function object(level: number, minTxid: number, maxTxid: number): LtxObject {
  const key = `${level}/${minTxid}-${maxTxid}`;
  return { key, level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes: 1, modifiedMs: 0 };
}

/** A snapshot of TXID n was taken n times 20 minutes after the first. */
function timesOf(objects: readonly LtxObject[]): Map<string, number> {
  const snapshots = objects.filter(({ level }) => level === SNAPSHOT_LEVEL);
  return new Map(snapshots.map(({ key, maxTxid }) => [key, maxTxid * 20 * 60_000]));
}

/** TXIDs that a restore can reach. */
function restorable(objects: readonly LtxObject[]): Set<number> {
  const points = new Set(objects.map(({ maxTxid }) => maxTxid));
  return new Set([...points].filter((txid) => planRestore(objects, txid).kind === "plan"));
}

/**
 * Whether a compaction holds the TXID and continues after it. A merged TXID is a point only by chance, while
 * a snapshot in the middle leads to the remaining increments.
 */
function isInsideMerge(objects: readonly LtxObject[], txid: number): boolean {
  return objects.some(
    ({ level, minTxid, maxTxid }) => level > 0 && level < SNAPSHOT_LEVEL && minTxid <= txid && txid < maxTxid,
  );
}

interface History {
  readonly objects: LtxObject[];
}

/**
 * Merges consecutive runs of a level into the next. Some sources remain, as before the end of their lifetime.
 */
function compacted(below: readonly LtxObject[], sizes: readonly number[], level: number): LtxObject[] {
  const merged: LtxObject[] = [];
  let from = 0;
  for (const size of sizes) {
    const sources = below.slice(from, from + size);
    if (sources.length === 0) break;
    merged.push(object(level, sources[0]!.minTxid, sources.at(-1)!.maxTxid));
    from += size;
  }
  return merged;
}

const SIZES = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 12 });

/** A legal history: snapshots over increments, three levels, and the deletions of expired sources. */
const HISTORY: fc.Arbitrary<History> = fc
  .record({
    newest: fc.integer({ min: 1, max: 40 }),
    snapshots: fc.uniqueArray(fc.integer({ min: 2, max: 40 }), { maxLength: 10 }),
    sizes: fc.tuple(SIZES, SIZES, SIZES),
    expired: fc.tuple(fc.nat(40), fc.nat(12), fc.nat(6)),
  })
  .map(({ newest, snapshots, sizes, expired }) => {
    const levels: LtxObject[][] = [Array.from({ length: newest - 1 }, (_, i) => object(0, i + 2, i + 2))];
    for (const level of [1, 2, 3]) levels.push(compacted(levels[level - 1]!, sizes[level - 1]!, level));
    const alive = levels.map((objects, level) => {
      const covered = levels[level + 1]?.at(-1)?.maxTxid ?? 0;
      const mayGo = objects.filter(({ maxTxid }) => maxTxid <= covered).slice(0, expired[level] ?? 0);
      return objects.slice(mayGo.length);
    });
    const taken = snapshots.filter((txid) => txid <= newest).map((txid) => object(SNAPSHOT_LEVEL, 1, txid));
    return { objects: [...alive.flat(), object(SNAPSHOT_LEVEL, 1, 1), ...taken] };
  });
const COUNT = fc.constantFrom(0, 1, 2, 5);
const POLICY = fc.record({ hourly: COUNT, daily: COUNT, weekly: COUNT, monthly: COUNT });

/** Checks a pruning, and each state that a crash could leave. */
function judge(objects: readonly LtxObject[], policy: RetentionConfig): void {
  const before = restorable(objects);
  const newest = newestTxid(objects);
  const { keptSnapshots, deletions } = planPruning(objects, timesOf(objects), policy);
  const oldest = Math.min(...keptSnapshots.map(({ txid }) => txid));
  const going = new Set(
    objects.filter(({ level }) => level === SNAPSHOT_LEVEL).map(({ maxTxid }) => maxTxid),
  );
  for (const { txid } of keptSnapshots) going.delete(txid);
  const lasting = restorable(
    objects.filter(({ level, maxTxid }) => level < SNAPSHOT_LEVEL || !going.has(maxTxid)),
  );
  const wanted = [...before].filter(
    (txid) => txid >= oldest && (lasting.has(txid) || !isInsideMerge(objects, txid)),
  );
  for (const { level, maxTxid } of deletions) {
    if (level === SNAPSHOT_LEVEL) expect(going.has(maxTxid)).toBe(true);
    else expect(maxTxid).toBeLessThanOrEqual(oldest);
  }
  expect(new Set(deletions).size).toBe(deletions.length);
  for (let done = 0; done <= deletions.length; done++) {
    const left = objects.filter((one) => !deletions.slice(0, done).includes(one));
    const after = restorable(left);
    expect(newestTxid(left)).toBe(newest);
    expect(before.has(newest) && !after.has(newest)).toBe(false);
    for (const txid of wanted) {
      expect([done, txid, after.has(txid)]).toEqual([done, txid, true]);
    }
  }
}

test("planPruning of legal histories: stopped anywhere, retained points remain and nothing else goes", () => {
  const property = fc.property(HISTORY, POLICY, ({ objects }, policy) => judge(objects, policy));
  fc.assert(property, cases(300));
});

test("planPruning again deletes nothing more", () => {
  const property = fc.property(HISTORY, POLICY, ({ objects }, policy) => {
    const { deletions } = planPruning(objects, timesOf(objects), policy);
    const left = objects.filter((one) => !deletions.includes(one));
    expect(planPruning(left, timesOf(left), policy).deletions).toEqual([]);
  });
  fc.assert(property, cases(100));
});

const TWO: RetentionConfig = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };

test("planPruning of nothing, and of increments without any snapshot, deletes nothing", () => {
  expect(planPruning([], new Map(), TWO)).toEqual({ keptSnapshots: [], deletions: [] });
  expect(planPruning([object(0, 2, 2)], new Map(), TWO).deletions).toEqual([]);
});

test("planPruning never counts a snapshot whose time is unknown", () => {
  const objects = [1, 5, 9].map((txid) => object(SNAPSHOT_LEVEL, 1, txid));
  const times = timesOf(objects);
  times.delete("9/1-1");
  const { keptSnapshots, deletions } = planPruning(objects, times, TWO);
  expect(keptSnapshots.map(({ txid }) => Number(txid))).toEqual([9, 5]);
  expect(deletions).toEqual([]);
});

test("planPruning keeps a compaction that reaches past the oldest retained snapshot", () => {
  const objects = [
    object(0, 7, 7),
    object(1, 2, 3),
    object(1, 4, 6),
    ...[1, 3, 5, 7].map((txid) => object(SNAPSHOT_LEVEL, 1, txid)),
  ];
  const { deletions } = planPruning(objects, timesOf(objects), TWO);
  expect(deletions.map(({ key }) => key)).toEqual(["9/1-1", "9/1-3", "1/2-3"]);
  judge(objects, TWO);
});

// Regression: only the snapshot after a gap in the increments (deleted objects) bridges the gap.
test("planPruning keeps a snapshot that bridges a gap for the increments after it", () => {
  const snapshots = [3, 6, 9, 12].map((txid) => object(SNAPSHOT_LEVEL, 1, txid));
  const increments = [4, 6, 7, 8, 9, 10, 11, 12].map((txid) => object(0, txid, txid));
  const objects = [...snapshots, ...increments];
  const times = new Map(snapshots.map(({ key, maxTxid }) => [key, maxTxid === 3 ? 0 : DAY_MS + maxTxid]));
  expect(restorable(objects).has(7)).toBe(true);
  const { keptSnapshots, deletions } = planPruning(objects, times, { ...TWO, daily: 2 });
  expect(keptSnapshots.map(({ txid }) => Number(txid))).toEqual([12, 9, 3]);
  expect(restorable(objects.filter((one) => !deletions.includes(one))).has(7)).toBe(true);
});
