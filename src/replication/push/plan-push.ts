/**
 * PURE: decides what a replica gets next, by its position and by the files and objects that are at hand.
 *
 * A captured file of the spool comes first. Without one, a replica that has a bucket of its own fills the gap
 * itself: it is shown the newest TXID, which it refuses. Otherwise objects of the bucket of this watch
 * follow: the one that leads furthest from the position, else the newest snapshot. A replica of another
 * history gets a snapshot only, and only one with a TXID that it does not have.
 */
import type { PushPosition } from "../../format/push.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** TXIDs of a file or an object. */
type Range = Pick<LtxObject, "level" | "minTxid" | "maxTxid">;

/** Facts about the captures of a database. */
export interface PushFacts<File extends Range> {
  readonly position: PushPosition;
  /** The newest captured TXID; 0 before the first. */
  readonly headTxid: number;
  /** The database checksum at that TXID, 16 hex digits; null before the first. */
  readonly headChecksum: string | null;
  /** The file of the spool that continues the position, or null. */
  readonly next: File | null;
  /** The replica refused a file because it has another history. */
  readonly isDiverged: boolean;
  /** The replica was shown the newest TXID, and has not moved since. */
  readonly isShown: boolean;
}

/** The next step of a push. */
export type PushStep<File extends Range> =
  | { readonly kind: "idle" }
  /** The replica does something of its own. */
  | { readonly kind: "wait" }
  /** The replica holds a state that this history does not have. */
  | { readonly kind: "foreign" }
  | { readonly kind: "send"; readonly file: File }
  /** Shows a replica with its own bucket that it has a gap before this TXID. */
  | { readonly kind: "show"; readonly txid: Txid }
  | { readonly kind: "from-bucket" };

/** Plans the next step. */
export function planPush<File extends Range>(facts: PushFacts<File>): PushStep<File> {
  const { position, headTxid, headChecksum, next, isDiverged, isShown } = facts;
  if (headTxid === 0) return { kind: "idle" };
  if (position.state === "catching-up" || position.state === "waiting") return { kind: "wait" };
  if (position.txid > headTxid) return { kind: "foreign" };
  if (position.txid === headTxid) {
    const isSame = position.checksum === null || headChecksum === null || position.checksum === headChecksum;
    return { kind: isSame ? "idle" : "foreign" };
  }
  if (isDiverged) return { kind: "from-bucket" };
  if (next !== null) return { kind: "send", file: next };
  const hasGap = position.txid === 0 || headTxid > position.txid + 1;
  if (position.hasBucket && hasGap && !isShown) return { kind: "show", txid: headTxid as Txid };
  return { kind: "from-bucket" };
}

/** Whether a file or object continues a replica at `txid`; at 0 a replica begins with a snapshot. */
export function continues({ minTxid, maxTxid }: Range, txid: number): boolean {
  if (txid === 0) return minTxid === 1;
  return minTxid > 1 && minTxid <= txid + 1 && maxTxid > txid;
}

/**
 * The file that leads furthest from `txid`, and of two the one that begins later; null when none continues.
 */
export function furthestOrNull<File extends Range>(files: readonly File[], txid: number): File | null {
  let best: File | null = null;
  for (const file of files) {
    if (!continues(file, txid)) continue;
    const isFurther = best === null || file.maxTxid > best.maxTxid;
    const isFiner = best !== null && file.maxTxid === best.maxTxid && file.minTxid > best.minTxid;
    if (isFurther || isFiner) best = file;
  }
  return best;
}

/** The next object of the bucket for a replica at `txid`, or null. @param isDiverged only a snapshot helps */
export function nextObjectOrNull(
  objects: readonly LtxObject[],
  txid: number,
  isDiverged: boolean,
): LtxObject | null {
  const step = isDiverged || txid === 0 ? null : furthestOrNull(objects, txid);
  if (step !== null) return step;
  const snapshots = objects.filter(({ minTxid, maxTxid }) => minTxid === 1 && maxTxid > txid);
  return furthestOrNull(snapshots, 0);
}
