/**
 * What a running watch knows of one database at this moment: for health, metrics and the heartbeat. Taken on
 * demand from what the watcher holds anyway; nothing is counted or kept for it.
 */

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
  /** Age of the oldest commit that was captured and is not in the bucket; 0 when there is none. */
  readonly lagMs: number;
  /** Frames in the WAL, or null while the database is not attached. */
  readonly walFrames: number | null;
  readonly circuit: "closed" | "open" | "half-open";
  /** The failure it is getting over, or why it stopped. */
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly walSyncIntervalMs: number;
}
