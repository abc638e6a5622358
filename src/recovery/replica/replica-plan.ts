/**
 * Plans how a replica moves on from its TXID, by a listing of the source, and names the error when it cannot.
 * Pure.
 */
import { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** The meaning of a listing for a replica. */
export type ForwardPlan =
  /** Each object continues the one before; the last leads to `txid`. */
  | { readonly kind: "forward"; readonly objects: readonly LtxObject[]; readonly txid: Txid }
  /** The replica is at the newest TXID. */
  | { readonly kind: "current" }
  /** No object continues the replica: the objects in between were deleted. */
  | { readonly kind: "gap"; readonly nextTxid: Txid }
  /** The newest TXID is older than the replica: the source's history began anew. */
  | { readonly kind: "behind"; readonly newest: Txid | 0 };

/** The objects do not continue the replica, so it needs the newest state as a whole. */
export class DivergedError extends WalrustError {
  constructor(message: string) {
    super("integrity", message, { hint: "walrust brings the replica to the newest state of the source" });
  }
}

/**
 * Plans the path from `txid`. Objects that hold the whole database (min TXID 1) are no continuation: a
 * replica only begins with them. Each step takes the object that reaches furthest.
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
  // A path may end before the newest TXID. The replica follows it, and the next listing shows the rest.
  if (path.length > 0) return { kind: "forward", objects: path, txid: reached };
  return { kind: "gap", nextTxid: candidates[0]?.minTxid ?? (newest as Txid) };
}

/**
 * Prefers the object that ends later, and of two with one end the object that begins later: it overlaps less.
 */
function isBetter(candidate: LtxObject, best: LtxObject): boolean {
  if (candidate.maxTxid !== best.maxTxid) return candidate.maxTxid > best.maxTxid;
  return candidate.minTxid > best.minTxid;
}
