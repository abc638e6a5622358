/**
 * How a replica at a TXID gets on, as a pure function of a listing.
 */
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** What a listing means for a replica. */
export type ForwardPlan =
  /** Objects that each continue the one before, to `txid`. */
  | { readonly kind: "forward"; readonly objects: readonly LtxObject[]; readonly txid: Txid }
  /** The replica is at the newest TXID. */
  | { readonly kind: "current" }
  /** Nothing leads on from here: what would was merged into a snapshot or deleted. */
  | { readonly kind: "gap"; readonly nextTxid: Txid }
  /** The newest TXID is older than the replica: the source's history began anew. */
  | { readonly kind: "behind"; readonly newest: Txid | 0 };

/**
 * Plans the way on from `txid`. Objects that hold the whole database (min TXID 1) are no way on: they are
 * what a replica begins with. At each step the object that reaches furthest is taken.
 */
export function planForward(objects: readonly LtxObject[], txid: Txid): ForwardPlan {
  let newest: Txid | 0 = 0;
  for (const { maxTxid } of objects) newest = Math.max(newest, maxTxid) as Txid;
  if (newest === txid) return { kind: "current" };
  if (newest < txid) return { kind: "behind", newest };
  const candidates = objects
    .filter(({ minTxid, maxTxid }) => minTxid > 1 && maxTxid > txid)
    .sort((a, b) => a.minTxid - b.minTxid);
  const path: LtxObject[] = [];
  let reached = txid;
  let next = 0;
  let best: LtxObject | null = null;
  for (;;) {
    for (; next < candidates.length && candidates[next]!.minTxid <= reached + 1; next++) {
      const candidate = candidates[next]!;
      if (best === null || isBetter(candidate, best)) best = candidate;
    }
    if (best === null || best.maxTxid <= reached) break;
    path.push(best);
    reached = best.maxTxid;
  }
  // A way that ends before the newest TXID is gone as far as it leads: the rest shows at the next look.
  if (path.length > 0) return { kind: "forward", objects: path, txid: reached };
  return { kind: "gap", nextTxid: candidates[0]?.minTxid ?? (newest as Txid) };
}

/**
 * Further is better; at the same end, the one that begins later: it overlaps less of what is applied already.
 */
function isBetter(candidate: LtxObject, best: LtxObject): boolean {
  if (candidate.maxTxid !== best.maxTxid) return candidate.maxTxid > best.maxTxid;
  return candidate.minTxid > best.minTxid;
}
