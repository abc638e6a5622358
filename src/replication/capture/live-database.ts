/**
 * The record of one attached database: its pin, its persisted position, and the facts since the last poll.
 * The functions of capture, attach, upload and upkeep work on it; captures and blocking jobs take turns.
 */
import type { AnyPin } from "../../database/pin/open-pin.ts";
import type { ComparedContent } from "../../database/wal/wal-gate.ts";
import type { Txid } from "../../format/types.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { SpoolLog } from "../../local/spool-log.ts";
import type { DatabaseState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import type { OwnWriters } from "../context/own-writers.ts";

/** The captures of a database, and how far the bucket has them: all that an upload needs. */
export interface Captured {
  /** Real path of the database file. */
  readonly path: string;
  /** The name of the database, which begins its keys in the bucket. */
  readonly name: string;
  readonly paths: StateFolder;
  /** The persisted position; null until the first snapshot is in the spool. */
  state: DatabaseState | null;
  /**
   * The bucket did not answer at the attach, or a power cut may have torn the state. So the bucket is checked
   * before the first upload, and also when nothing waits: what the state calls uploaded may be missing,
   * because captured files that a power cut took wait for no upload.
   */
  isBucketUnchecked?: boolean;
  /** Nor has the bucket confirmed the state, which was copied here. */
  isUnconfirmedCopy?: boolean;
  /** Whether small increments lie in logs; otherwise each has a file of its own. */
  usesLogs?: boolean;
  /** Takes small increments, from the first one on: an idle database has none. */
  log?: SpoolLog | null;
  /**
   * The bucket may hold links up to this TXID, although their files wait: an earlier process has sent them
   * and ended, or a power cut took back what it had noted. No merge takes them in.
   */
  revivedTxid?: Txid | undefined;
  /** Captured files that wait for their upload, in its order. */
  readonly pending: SpoolFile[];
  /** The newest link of the chain that the store acknowledged since the attach, or null. */
  acknowledged: { readonly txid: Txid; readonly timeMs: number; readonly chain: string } | null;
  /** The TXID whose image is being read, or null: the chain up to it stays as it is. */
  imageTxid?: number | null;
  /** Bytes of increments uploaded since the attach. */
  uploadedBytes: number;
  /** Bytes of uploaded increments that the spool still keeps, at the last count. */
  sentBytes: number;
}

/** An attached database between two polls. */
export interface LiveDatabase extends Captured {
  readonly pin: AnyPin;
  /**
   * Whether everything was captured and backfilled under the pin at the last poll: a restart loses nothing.
   */
  mayRestart: boolean;
  /** The wal-index's count of commits at the last capture under this pin; null when it is not known. */
  changeCount: number | null;
  /** Why the pin did not hold since the last capture; null when it held. */
  pinLost: string | null;
  /** The last comparison of an overwritten file with the page sums. */
  compared?: ComparedContent | null;
  /** The writer ids of this process. */
  readonly ownWriters?: OwnWriters;
  /** While the WAL is empty: the last change of the file, and when that was first seen (monotonic clock). */
  still?: { readonly restedNs: string; readonly sinceMs: number } | null;
}

/** Why the pin counts as lost between the write of a state and the write of its page sums. */
export const SUMS_UNWRITTEN = "the page sums could not be written";

/** Records that everything up to the mxFrame of this wal-index is captured. */
export function markCaptured(live: LiveDatabase, index: WalIndexHeader): void {
  live.mayRestart = index.backfilled >= index.mxFrame;
  live.changeCount = index.changeCount;
  live.pinLost = null;
}

/** Frames of the WAL past the position; all of them if nobody knows. */
export function uncapturedFrames({ state }: LiveDatabase, index: WalIndexHeader | null): number {
  const wal = state?.wal ?? null;
  if (index === null || wal === null) return Number.POSITIVE_INFINITY;
  const isSameWal = index.salt1 === wal.salt1 && index.salt2 === wal.salt2;
  return index.mxFrame - (isSameWal ? wal.frameCount : 0);
}
