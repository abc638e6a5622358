/**
 * One watched database while it is attached: its pin, its persisted position, and what was learned since the
 * last look. A plain record. The functions of this folder change it; their caller runs one at a time.
 */
import type { AnyPin } from "../../database/pin/open-pin.ts";
import type { ComparedContent } from "../../database/wal/own-wal.ts";
import type { Txid } from "../../format/types.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { DatabaseState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import type { OwnWriters } from "../context/own-writers.ts";

/** What is captured of a database, and what of it is in the bucket: all that an upload needs. */
export interface Captured {
  /** Real path of the database file. */
  readonly path: string;
  /** Key below the destination. */
  readonly name: string;
  readonly paths: StateFolder;
  /** The persisted position; null until the first snapshot is in the spool. */
  state: DatabaseState | null;
  /** The bucket could not be looked at when it was attached: it is before anything is uploaded. */
  isBucketUnchecked?: boolean;
  /** Nor was it then confirmed what a state that was copied here says. */
  isUnconfirmedCopy?: boolean;
  /** Captured files that are not in the bucket yet, in the order of upload. */
  readonly pending: SpoolFile[];
  /** The newest link of the chain that the store acknowledged while this was attached, or null. */
  acknowledged: { readonly txid: Txid; readonly timeMs: number; readonly chain: string } | null;
  /** Bytes of increments that were uploaded while this was attached. */
  uploadedBytes: number;
  /** Bytes of uploaded increments that are still in the spool, as far as is known. */
  sentBytes: number;
}

/** What replication knows of a database between two looks. */
export interface LiveDatabase extends Captured {
  readonly pin: AnyPin;
  /**
   * At the last look everything was captured and backfilled under the pin: a restart of the WAL loses
   * nothing.
   */
  mayRestart: boolean;
  /** The wal-index's count of commits at the last capture under this pin, or null when it is not known. */
  changeCount: number | null;
  /** Why the pin did not hold since the last capture, or null. */
  pinLost: string | null;
  /** The last comparison of the file with the page sums, after it was written over. */
  compared?: ComparedContent | null;
  /** The ids that this process has written with. */
  readonly ownWriters?: OwnWriters;
  /** While the WAL is empty: the file's last change, and since when (monotonic) it is seen to stand still. */
  still?: { readonly restedNs: string; readonly sinceMs: number } | null;
}

/** Remembers what a look at the wal-index established, after everything up to its mxFrame was captured. */
export function markCaptured(live: LiveDatabase, index: WalIndexHeader): void {
  live.mayRestart = index.backfilled >= index.mxFrame;
  live.changeCount = index.changeCount;
  live.pinLost = null;
}
