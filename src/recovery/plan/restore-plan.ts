/**
 * The restore plan: which objects, in which order, lead to a TXID, or which gap is in the way. A pure
 * function of the listing.
 *
 * A plan begins with an object that holds the whole database (min TXID 1) and goes on with objects that each
 * begin at or before the next TXID and end after it, newest end first, so that compacted objects are
 * preferred over the increments they replaced. A path is sought from the newest snapshot first and from older
 * ones if that leads nowhere.
 */
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** A path of objects to a TXID. */
export interface RestorePlan {
  readonly kind: "plan";
  /** The first holds the whole database; each next one continues it. */
  readonly objects: readonly LtxObject[];
  readonly txid: Txid;
}

/** Why there is no path. */
export type NoRestorePlan =
  /** Nothing to restore from. */
  | { readonly kind: "empty" }
  /** The history has a hole between two TXIDs: objects that must exist are gone. */
  | { readonly kind: "gap"; readonly afterTxid: Txid; readonly nextTxid: Txid | null }
  /** The TXID lies inside compacted objects, before the first or after the last point. */
  | { readonly kind: "not-a-point"; readonly below: Txid | null; readonly above: Txid | null };

/** The greatest TXID that any object reaches, or 0. */
export function newestTxid(objects: readonly LtxObject[]): Txid | 0 {
  return objects.reduce<Txid | 0>((max, object) => Math.max(max, object.maxTxid) as Txid, 0);
}

/**
 * Plans the way to `target`, or to the newest TXID of the listing when it is null. In O(n log n), however
 * many bases there are: the ways from two bases are one from where they meet.
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
  const ways = new Ways(continuations);
  let furthest: { readonly base: LtxObject; readonly endTxid: number } | null = null;
  for (const base of bases) {
    const endTxid = ways.endFrom(base.maxTxid);
    if (endTxid === goal) return { kind: "plan", objects: [base, ...ways.from(base.maxTxid)], txid: goal };
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
 * The greedy ways over objects that continue others: from a TXID always the object that reaches furthest.
 * That object depends on the TXID alone, so each TXID is looked up once.
 */
class Ways {
  /** By ascending min TXID. */
  readonly #objects: readonly LtxObject[];
  /** The object that reaches furthest among those up to the same index. */
  readonly #furthest: LtxObject[] = [];
  readonly #ends = new Map<number, number>();

  constructor(objects: readonly LtxObject[]) {
    this.#objects = objects;
    for (const object of objects) {
      const best = this.#furthest.at(-1);
      this.#furthest.push(best === undefined || isBetter(object, best) ? object : best);
    }
  }

  /** The TXID that the way from `txid` ends at. */
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

  /** The objects of the way from `txid`. */
  *from(txid: number): Generator<LtxObject> {
    for (let next = this.#nextOrNull(txid); next !== null; next = this.#nextOrNull(next.maxTxid)) yield next;
  }

  /** The object that leads furthest on from a state at `txid`, or null. */
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

/** Further is better; at the same end, the one that begins later: it overlaps least. */
function isBetter(object: LtxObject, best: LtxObject): boolean {
  return object.maxTxid === best.maxTxid ? object.minTxid > best.minTxid : object.maxTxid > best.maxTxid;
}

/**
 * The TXIDs that a path leads to, ascending: a hole or a missing snapshot makes what is behind it no point.
 * The same answer as planRestore for each, in one pass.
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

/** The nearest restorable TXIDs on both sides of one that is not. */
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

/** The TXIDs around one that no object holds. */
export interface Hole {
  readonly firstTxid: Txid;
  readonly lastTxid: Txid;
}

/**
 * The hole in the history that a TXID lies in, or null: what was merged is held by the merged object, and
 * what is before the oldest snapshot or after the newest object is no hole.
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
    // A snapshot holds the state at its last TXID and no other point.
    if (maxTxid >= txid) firstAfter = Math.min(firstAfter, isBase ? maxTxid : minTxid);
  }
  if (txid <= baseTxid || lastBefore === txid || !Number.isFinite(firstAfter)) return null;
  return { firstTxid: (lastBefore + 1) as Txid, lastTxid: (firstAfter - 1) as Txid };
}
