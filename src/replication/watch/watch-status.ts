/**
 * What a running watch knows of one database at this moment: for health, metrics and the heartbeat. Taken on
 * demand from what the watcher holds anyway; nothing is counted or kept for it.
 */
import { closeSync, readSync } from "node:fs";
import type { Condition } from "../../errors.ts";
import { isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import { openOwn } from "../../local/own-file.ts";
import { type SpoolFile, uploadedTxidOf } from "../../local/spool.ts";
import type { Captured } from "../capture/live-database.ts";

/** One watched database, now. */
export interface DatabaseStatus {
  readonly database: string;
  /** Real path of the file. */
  readonly path: string;
  /**
   * `starting`: not attached yet; `watching`; `failing`: a failure lasts, and is tried again; `paused`: the
   * captured files have reached their limit; `stopped`: given up for good.
   */
  readonly state: "starting" | "watching" | "failing" | "paused" | "stopped";
  /** The newest captured TXID, 0 before the first. */
  readonly txid: number;
  /** The newest TXID in the bucket, 0 before the first. */
  readonly uploadedTxid: number;
  /** When that was captured (ms since the epoch), or null when this process has uploaded nothing yet. */
  readonly uploadedTimeMs: number | null;
  /** Captured files that are not in the bucket, and their bytes. */
  readonly pendingCount: number;
  readonly pendingBytes: number;
  /**
   * How long the bucket may have been behind: the age of the oldest increment that was captured and is not
   * there, or the time since nothing could be captured any more if that is longer; 0 when neither is so. A
   * snapshot on its way counts only if it is the first. What a glob found and was never watched has none.
   */
  readonly lagMs: number;
  /** Frames in the WAL, or null while the database is not attached. */
  readonly walFrames: number | null;
  /** The id its objects are written under, or null while it is not attached. */
  readonly writer: string | null;
  readonly circuit: "closed" | "open" | "half-open";
  /** The failure it is getting over, or why it stopped. */
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly walSyncIntervalMs: number;
  /** States that last and that an operator should know of; empty for most. */
  readonly conditions: readonly Condition[];
}

/** Where a database's history stands, here and in the bucket. */
export type Progress = Pick<
  DatabaseStatus,
  "txid" | "uploadedTxid" | "uploadedTimeMs" | "pendingCount" | "pendingBytes"
>;

/** Before anything is known. */
export const NO_PROGRESS: Progress = {
  txid: 0,
  uploadedTxid: 0,
  uploadedTimeMs: null,
  pendingCount: 0,
  pendingBytes: 0,
};

/** What is captured and what of it is uploaded. @param last what was known before it was attached */
export function progressOf(captured: Captured, last: Progress): Progress {
  const { state, pending, acknowledged } = captured;
  const txid = state?.txid ?? 0;
  let pendingBytes = 0;
  for (const { sizeBytes } of pending) pendingBytes += sizeBytes;
  return {
    txid,
    uploadedTxid: uploadedTxidOf(txid, pending),
    uploadedTimeMs: acknowledged?.timeMs ?? last.uploadedTimeMs,
    pendingCount: pending.length,
    pendingBytes,
  };
}

/**
 * When the oldest increment that waits was captured; its file is read once for as long as it is the oldest.
 */
export class OldestPending {
  #txid = 0;
  #timeMs = 0;

  /** @returns ms since the epoch, or null when none waits */
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

/** The capture time of a file: of its first TXID, or before that. Null when it is gone. */
function captureTimeOf(file: SpoolFile, { acknowledged }: Captured): number | null {
  // A merged file has the time of its last TXID; the first followed what was acknowledged last.
  const isMerged = file.maxTxid > file.minTxid;
  if (isMerged && acknowledged?.txid === file.minTxid - 1) return acknowledged.timeMs;
  const header = new Uint8Array(LTX_HEADER_SIZE);
  try {
    const fd = openOwn(file.path);
    try {
      readSync(fd, header, 0, LTX_HEADER_SIZE, 0);
    } finally {
      closeSync(fd);
    }
    return decodeLtxHeader(header).timestampMs;
  } catch {
    // Its folder is gone, or it was sent just now.
    return null;
  }
}
