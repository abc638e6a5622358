/**
 * The settings that a watch reads: for the process, and for each database that has its own.
 */
import type { BreakerPolicy } from "../../storage/contract/circuit.ts";
import type { MaintenanceOptions } from "./policies.ts";

/** How one database is watched; all times in ms, sizes in pages. */
export interface DatabaseOptions {
  /** Least time between two captures of one database; the first of a burst is not delayed. */
  readonly walSyncIntervalMs: number;
  /** A WAL with anything left to checkpoint is checkpointed at least this often. */
  readonly checkpointIntervalMs: number;
  /** A WAL with this many frames is checkpointed at once. */
  readonly minCheckpointPages: number;
  /** A WAL larger than this many pages is truncated after its checkpoint. */
  readonly walTruncateThresholdPages: number;
  /** How long its drain may take. */
  readonly shutdownTimeoutMs: number;
  /** How often `validate` is called for each database; 0 or absent: never. */
  readonly validationIntervalMs?: number;
  /**
   * Snapshots on schedule, compaction, retention and the local cache; without it only captures are uploaded.
   */
  readonly maintenance?: MaintenanceOptions;
}

/**
 * How databases are watched: what holds for the process, and for each database without options of its own.
 */
export interface WatchOptions extends DatabaseOptions {
  /** The most uploads at once, over all databases. */
  readonly uploaderConcurrency: number;
  /** Capture no further than what was acknowledged, and keep nothing that was uploaded (`--no-cache`). */
  readonly isDirect?: boolean;
  /** Most bytes of captured files on disk, over all databases; without it there is no limit. */
  readonly spoolBytesMax?: number;
  /** When a database's requests to the store are suspended; null or absent: never. */
  readonly breaker?: BreakerPolicy | null;
}
