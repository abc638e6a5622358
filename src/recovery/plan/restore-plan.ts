/**
 * Plans a restore: the objects that lead to a TXID, in order, or the gap that is in the way. Pure.
 *
 * A plan begins with an object that holds the whole database (min TXID 1). Each next object begins at or
 * before the next TXID and reaches furthest, so a compacted object is preferred to the increments it
 * replaced. The newest snapshot is tried first, then older ones.
 */
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** The objects that lead to a TXID. */
export interface RestorePlan {
  readonly kind: "plan";
  /** The first object holds the whole database; each next object continues the one before. */
  readonly objects: readonly LtxObject[];
  readonly txid: Txid;
}

/** The reason why no objects lead to a TXID. */
export type NoRestorePlan =
  /** The listing is empty. */
  | { readonly kind: "empty" }
  /** The history has a gap: objects that must exist are gone. */
  | { readonly kind: "gap"; readonly afterTxid: Txid; readonly nextTxid: Txid | null }
  /** The TXID is inside a compacted object, before the first point, or after the last point. */
  | { readonly kind: "not-a-point"; readonly below: Txid | null; readonly above: Txid | null };

/** The greatest TXID that any object reaches, or 0. */
export function newestTxid(objects: readonly LtxObject[]): Txid | 0 {
  return objects.reduce<Txid | 0>((max, object) => Math.max(max, object.maxTxid) as Txid, 0);
}

/**
 * Plans the path to `target`, or to the newest TXID of the listing if the target is null. Takes O(n log n)
 * for any number of snapshots: once the paths from two snapshots meet, they are one path.
 */
export function planRestore(objects: readonly LtxObject[], target: Txid | null): RestorePlan | NoRestorePlan {
  const newest = newestTxid(objects);
  if (newest === 0) return { kind: "empty" };
  const goal = target ?? newest;
  const useful = objects.filter((object) => object.maxTxid <= goal);
  const bases = useful
    .filter((object) => object.minTxid === 1)
    .sort((a, b) => b.maxTxid - a.maxTxid || b.level - a.level);
  const continuations = useful.filter((object) => object.minTxid > 1).sort((a, b) => a.minTxid - b.minTxid);
  const paths = new Paths(continuations);
  let furthest: { readonly base: LtxObject; readonly endTxid: number } | null = null;
  for (const base of bases) {
    const endTxid = paths.endFrom(base.maxTxid);
    if (endTxid === goal) return { kind: "plan", objects: [base, ...paths.from(base.maxTxid)], txid: goal };
    if (furthest === null || endTxid > furthest.endTxid) furthest = { base, endTxid };
  }
  if (target !== null && !objects.some((object) => object.maxTxid === target)) {
    return { kind: "not-a-point", ...neighbours(objects, target) };
  }
  const afterTxid = (furthest?.endTxid ?? 0) as Txid;
  const next = continuations.find((object) => object.minTxid > afterTxid);
  return { kind: "gap", afterTxid, nextTxid: next?.minTxid ?? null };
}

/**
 * The greedy paths over objects that continue others: from a TXID always to the object that reaches furthest.
 * That object depends on the TXID alone, so each TXID is searched once.
 */
class Paths {
  /** Objects by ascending min TXID. */
  readonly #objects: readonly LtxObject[];
  /** For each index, the object that reaches furthest among the objects up to it. */
  readonly #furthest: LtxObject[] = [];
  readonly #ends = new Map<number, number>();

  constructor(objects: readonly LtxObject[]) {
    this.#objects = objects;
    for (const object of objects) {
      const best = this.#furthest.at(-1);
      this.#furthest.push(best === undefined || isBetter(object, best) ? object : best);
    }
  }

  /** The last TXID of the path from `txid`. */
  endFrom(txid: number): number {
    const passed: number[] = [];
    let reached = txid;
    let end = this.#ends.get(reached);
    while (end === undefined) {
      passed.push(reached);
      const next = this.#nextOrNull(reached);
      if (next === null) end = reached;
      else {
        reached = next.maxTxid;
        end = this.#ends.get(reached);
      }
    }
    for (const point of passed) this.#ends.set(point, end);
    return end;
  }

  /** The objects of the path from `txid`. */
  *from(txid: number): Generator<LtxObject> {
    for (let next = this.#nextOrNull(txid); next !== null; next = this.#nextOrNull(next.maxTxid)) yield next;
  }

  /** The object that reaches furthest from a state at `txid`, or null. */
  #nextOrNull(txid: number): LtxObject | null {
    let low = 0;
    let high = this.#objects.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#objects[middle]!.minTxid <= txid + 1) low = middle + 1;
      else high = middle;
    }
    const best = this.#furthest[low - 1];
    return best !== undefined && best.maxTxid > txid ? best : null;
  }
}

/**
 * Prefers the object that ends later, and of two with one end the object that begins later: it overlaps less.
 */
function isBetter(object: LtxObject, best: LtxObject): boolean {
  return object.maxTxid === best.maxTxid ? object.minTxid > best.minTxid : object.maxTxid > best.maxTxid;
}

/**
 * The TXIDs that a path leads to, ascending. Answers for all TXIDs in one pass what planRestore answers for
 * one.
 */
export function plannableTxids(objects: readonly LtxObject[]): Txid[] {
  const points: Txid[] = [];
  let reached = 0;
  for (const { minTxid, maxTxid } of [...objects].sort((a, b) => a.maxTxid - b.maxTxid)) {
    if (maxTxid === reached || (minTxid > 1 && (reached === 0 || minTxid > reached + 1))) continue;
    reached = maxTxid;
    points.push(maxTxid);
  }
  return points;
}

/** The nearest restorable TXIDs below and above a TXID. */
export function neighbours(
  objects: readonly LtxObject[],
  txid: Txid,
): { below: Txid | null; above: Txid | null } {
  const points = plannableTxids(objects);
  return {
    below: points.findLast((point) => point < txid) ?? null,
    above: points.find((point) => point > txid) ?? null,
  };
}

/** A range of TXIDs that no object holds. */
export interface Hole {
  readonly firstTxid: Txid;
  readonly lastTxid: Txid;
}

/**
 * The hole in the history around a TXID, or null. A merged TXID is held by the merged object. TXIDs before
 * the oldest snapshot or after the newest object are no hole.
 */
export function holeOrNull(objects: readonly LtxObject[], txid: Txid): Hole | null {
  let baseTxid = Number.POSITIVE_INFINITY;
  let lastBefore = 0;
  let firstAfter = Number.POSITIVE_INFINITY;
  for (const { level, minTxid, maxTxid } of objects) {
    const isBase = minTxid === 1;
    if (isBase) baseTxid = Math.min(baseTxid, maxTxid);
    if (level !== SNAPSHOT_LEVEL && minTxid <= txid && txid <= maxTxid) return null;
    if (maxTxid <= txid) lastBefore = Math.max(lastBefore, maxTxid);
    // A snapshot holds its last TXID only.
    if (maxTxid >= txid) firstAfter = Math.min(firstAfter, isBase ? maxTxid : minTxid);
  }
  if (txid <= baseTxid || lastBefore === txid || !Number.isFinite(firstAfter)) return null;
  return { firstTxid: (lastBefore + 1) as Txid, lastTxid: (firstAfter - 1) as Txid };
}
