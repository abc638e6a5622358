/**
 * Decides whether a WAL is captured, left as it is, or anchored anew: a pure function of the position, the
 * wal-index and the pin. Every decision carries its reason, which is logged.
 */
import type { WalPosition } from "../../database/wal/wal-tail.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";

/** The facts of a decision. */
export interface CaptureInput {
  /** The end of the last capture in the WAL; null when it is not known (first capture, after a restore). */
  readonly wal: WalPosition | null;
  /** Page size of the history. */
  readonly pageSizeBytes: number;
  /** The wal-index, or null while a writer or a recovery is changing it. */
  readonly index: WalIndexHeader | null;
  /**
   * At the last poll all frames were captured and backfilled, and the pin has held since then. A restart of
   * the WAL loses nothing then.
   */
  readonly mayRestart: boolean;
  /** The wal-index's count of commits at the last capture; null when it is not known. */
  readonly changeCount: number | null;
  /** Why the pin did not hold since the last poll, or null when it held. */
  readonly pinLost: string | null;
}

/** The decision: nothing, the frames after a position (null: from the first frame), or a new anchor. */
export type CapturePlan =
  | { readonly action: "nothing"; readonly reason: string }
  | { readonly action: "increment"; readonly after: WalPosition | null; readonly reason: string }
  | { readonly action: "re-anchor"; readonly reason: string };

/** Decides what to do with the WAL. */
export function planCapture(input: CaptureInput): CapturePlan {
  const { wal, index, pinLost } = input;
  if (pinLost !== null) return { action: "re-anchor", reason: pinLost };
  if (index === null) return { action: "nothing", reason: "the wal-index is being changed" };
  if (index.mxFrame > 0 && index.pageSizeBytes !== input.pageSizeBytes) {
    return {
      action: "re-anchor",
      reason: `page size is ${index.pageSizeBytes}, it was ${input.pageSizeBytes}`,
    };
  }
  if (wal === null) return { action: "re-anchor", reason: "the position in the WAL is not known" };
  if (isUnnamed(index) && !input.mayRestart) {
    return { action: "re-anchor", reason: "the WAL was empty while it was not watched, and is empty again" };
  }
  // While the pin yields to a checkpoint of the application, others may commit and empty the WAL again.
  if (index.mxFrame === 0 && input.changeCount !== null && index.changeCount !== input.changeCount) {
    const count = (index.changeCount - input.changeCount) >>> 0;
    return { action: "re-anchor", reason: `the WAL holds 0 of ${count} commits since the last capture` };
  }
  if (index.salt1 === wal.salt1 && index.salt2 === wal.salt2) return planSameGeneration(wal, index);
  if (wal.frameCount > 0 && !input.mayRestart) {
    return { action: "re-anchor", reason: "the WAL was restarted before all its frames were captured" };
  }
  if (wal.frameCount === 0 && !input.mayRestart) {
    return { action: "re-anchor", reason: "the WAL was started anew while it was not watched" };
  }
  if (index.mxFrame === 0) return { action: "nothing", reason: "the WAL was restarted and is empty" };
  return { action: "increment", after: null, reason: "the WAL was restarted after everything was captured" };
}

/**
 * Whether the WAL has no frame yet. Every new WAL has salts of zero until its first frame, so equal salts do
 * not prove that it is the same WAL: others may have come and gone in between.
 */
function isUnnamed(index: WalIndexHeader): boolean {
  return index.mxFrame === 0 && index.salt1 === 0 && index.salt2 === 0;
}

function planSameGeneration(wal: WalPosition, index: WalIndexHeader): CapturePlan {
  if (index.mxFrame < wal.frameCount) {
    const reason = `the WAL ends at frame ${index.mxFrame}, captured were ${wal.frameCount}`;
    return { action: "re-anchor", reason };
  }
  if (index.mxFrame > wal.frameCount) {
    return { action: "increment", after: wal, reason: `${index.mxFrame - wal.frameCount} new frames` };
  }
  const isSame = index.frameChecksum1 === wal.checksum1 && index.frameChecksum2 === wal.checksum2;
  if (wal.frameCount > 0 && !isSame) {
    return { action: "re-anchor", reason: `frame ${wal.frameCount} is not the one that was captured` };
  }
  return { action: "nothing", reason: "no new frames" };
}
