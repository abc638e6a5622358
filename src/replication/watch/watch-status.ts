/**
 * The status of one watched database, for health, metrics and the heartbeat. A watcher computes it on demand
 * from its record: nothing is counted or kept for it.
 */
import { closeSync, readSync } from "node:fs";
import type { Condition } from "../../errors.ts";
import { isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import type { Txid } from "../../format/types.ts";
import { openOwn } from "../../local/own-file.ts";
import { type SpoolFile, uploadedTxidOf } from "../../local/spool.ts";
import { readState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import type { Captured } from "../capture/live-database.ts";
import type { PushStatus } from "../context/pushing.ts";

/** The status of one watched database. */
export interface DatabaseStatus {
  readonly database: string;
  /** Real path of the file. */
  readonly path: string;
  /**
   * `starting`: not attached yet; `watching`; `failing`: a failure lasts, and walrust retries; `paused`: the
   * captured files have reached their limit; `stopped`: replication stopped for good.
   */
  readonly state: "starting" | "watching" | "failing" | "paused" | "stopped";
  /** The newest captured TXID, 0 before the first or while walrust does not know it. */
  readonly txid: number;
  /**
   * The newest TXID that this process knows to be in the bucket; 0 before the first, and until the bucket has
   * confirmed what the local state calls uploaded.
   */
  readonly uploadedTxid: number;
  /** The capture time of that TXID (ms since the epoch), or null before the first upload of this process. */
  readonly uploadedTimeMs: number | null;
  /** The capture time of the newest snapshot (ms since the epoch), or null before the first. */
  readonly snapshotTimeMs: number | null;
  /**
   * When a listing last showed that the bucket leads to its newest TXID (ms since the epoch), or null before
   * the first listing of this process.
   */
  readonly listedTimeMs: number | null;
  /** Captured files that are not in the bucket, and their bytes. */
  readonly pendingCount: number;
  readonly pendingBytes: number;
  /** Bytes of all captured files on the local disk, those that were uploaded included. */
  readonly cacheBytes: number;
  /** Attempts of uploads that followed a failed one. */
  readonly retryCount: number;
  /** When the schedule takes the next snapshot (ms since the epoch); null while no commit waits for one. */
  readonly nextSnapshotTimeMs: number | null;
  /**
   * How far the bucket may be behind: the age of the oldest increment that is captured and not uploaded, or
   * the time since captures became impossible or the bucket became unknown, whichever is longer. A pending
   * snapshot counts only if it is the first. 0: every captured commit is in the bucket. Null: not known,
   * because the database was never captured by this process.
   */
  readonly lagMs: number | null;
  /** Frames in the WAL, or null while the database is not attached. */
  readonly walFrames: number | null;
  /** The writer id of its objects, or null while the database is not attached. */
  readonly writer: string | null;
  readonly circuit: "closed" | "open" | "half-open";
  /** The failure that walrust recovers from, or the reason of the stop. */
  readonly failure: {
    readonly code: string;
    readonly message: string;
    /** The remedy, as a sentence to the user; null where the message is enough. */
    readonly hint: string | null;
  } | null;
  readonly walSyncIntervalMs: number;
  /** Lasting states that an operator should know of; empty for most databases. */
  readonly conditions: readonly Condition[];
  /** The push replicas of the database; absent or empty without any. */
  readonly replicas?: readonly PushStatus[];
}

/** How far the history of a database is captured and uploaded. */
export type Progress = Pick<
  DatabaseStatus,
  | "txid"
  | "uploadedTxid"
  | "uploadedTimeMs"
  | "snapshotTimeMs"
  | "pendingCount"
  | "pendingBytes"
  | "cacheBytes"
>;

/** The progress before the first attach. */
export const NO_PROGRESS: Progress = {
  txid: 0,
  uploadedTxid: 0,
  uploadedTimeMs: null,
  snapshotTimeMs: null,
  pendingCount: 0,
  pendingBytes: 0,
  cacheBytes: 0,
};

/** The progress of a database that is not attached yet, as far as its local state knows it. */
export function recordedProgress({ folder, statePath }: Pick<StateFolder, "folder" | "statePath">): Progress {
  const reading = readState({ folder, statePath });
  if (reading.kind !== "state") return NO_PROGRESS;
  const { txid, snapshot } = reading.state;
  return { ...NO_PROGRESS, txid, snapshotTimeMs: snapshot?.timeMs ?? null };
}

/**
 * The progress of an attached database.
 * @param last its progress before the attach
 * @param continuedTxid the TXID after which the history continues, where there is no state yet
 */
export function progressOf(captured: Captured, last: Progress, continuedTxid: Txid | 0 = 0): Progress {
  const { state, pending, acknowledged } = captured;
  const txid = state?.txid ?? continuedTxid;
  let pendingBytes = 0;
  for (const { sizeBytes } of pending) pendingBytes += sizeBytes;
  return {
    txid,
    uploadedTxid: provenTxidOf(captured, last, txid),
    uploadedTimeMs: acknowledged?.timeMs ?? last.uploadedTimeMs,
    snapshotTimeMs: state?.snapshot?.timeMs ?? last.snapshotTimeMs,
    pendingCount: pending.length,
    pendingBytes,
    cacheBytes: pendingBytes + captured.sentBytes,
  };
}

/**
 * The newest TXID that is known to be in the bucket. While the bucket is unchecked, only an earlier check of
 * this process counts: a power cut may have taken captures that the state calls uploaded.
 */
function provenTxidOf({ pending, isBucketUnchecked }: Captured, last: Progress, txid: Txid | 0): number {
  const statedTxid = uploadedTxidOf(txid, pending);
  return isBucketUnchecked === true ? Math.min(last.uploadedTxid, statedTxid) : statedTxid;
}

/** The capture time of the oldest pending increment. Each oldest file is read once. */
export class OldestPending {
  #txid = 0;
  #timeMs = 0;

  /** @returns ms since the epoch, or null when no increment waits */
  timeMs(captured: Captured, nowMs: number): number | null {
    const oldest = captured.pending.find(isChainLink);
    if (oldest === undefined) return null;
    if (oldest.minTxid !== this.#txid) {
      this.#timeMs = captureTimeOf(oldest, captured) ?? nowMs;
      this.#txid = oldest.minTxid;
    }
    return this.#timeMs;
  }
}

/** The capture time of the first TXID in a file, or a time before that. Null when the file is gone. */
function captureTimeOf(file: SpoolFile, { acknowledged }: Captured): number | null {
  // The header of a merged file has the time of its last TXID. The first TXID followed the acknowledged one.
  const isMerged = file.maxTxid > file.minTxid;
  if (isMerged && acknowledged?.txid === file.minTxid - 1) return acknowledged.timeMs;
  const header = new Uint8Array(LTX_HEADER_SIZE);
  try {
    const fd = openOwn(file.path);
    try {
      readSync(fd, header, 0, LTX_HEADER_SIZE, file.offset);
    } finally {
      closeSync(fd);
    }
    return decodeLtxHeader(header).timestampMs;
  } catch {
    // The folder is gone, or the file was uploaded just now.
    return null;
  }
}
