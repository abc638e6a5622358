/**
 * What watching takes and what it tells: options, events, and what all databases of one process share.
 */
import type { Env } from "../env.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { AttachTarget } from "./attach.ts";
import type { MaintenanceOptions } from "./maintenance.ts";
import type { Slots } from "./slots.ts";

/** How databases are watched; all times in ms, sizes in pages. */
export interface WatchOptions {
  /** Least time between two captures of one database; the first of a burst is not delayed. */
  readonly walSyncIntervalMs: number;
  /** A WAL with anything left to checkpoint is checkpointed at least this often. */
  readonly checkpointIntervalMs: number;
  /** A WAL with this many frames is checkpointed at once. */
  readonly minCheckpointPages: number;
  /** A WAL larger than this many pages is truncated after its checkpoint. */
  readonly walTruncateThresholdPages: number;
  /** Uploads at once, over all databases. */
  readonly uploaderConcurrency: number;
  /** How long a drain may take. */
  readonly shutdownTimeoutMs: number;
  /** Capture no further than what was acknowledged, and keep nothing that was uploaded (`--no-cache`). */
  readonly isDirect?: boolean;
  /** Most bytes of captured files on disk, over all databases; without it there is no limit. */
  readonly spoolBytesMax?: number;
  /** How often `validate` is called for each database; 0 or absent: never. */
  readonly validationIntervalMs?: number;
  /**
   * Snapshots on schedule, compaction, retention and the local cache; without it only captures are uploaded.
   */
  readonly maintenance?: MaintenanceOptions;
}

/** What looking through a database's objects found. */
export interface Validation {
  readonly status: "ok" | "warnings" | "errors";
  /** What is wrong, most serious first. */
  readonly messages: readonly string[];
}

/** Something that happened to one database. */
export type WatchEvent =
  | { readonly event: "watching"; readonly database: string; readonly path: string; readonly txid: number }
  | {
      readonly event: "uploaded";
      readonly database: string;
      readonly kind: "snapshot" | "increment";
      readonly txid: number;
      readonly time: string;
      readonly bytes: number;
      readonly key: string;
      readonly lag_ms: number;
    }
  | {
      readonly event: "re-anchored";
      readonly database: string;
      readonly txid: number;
      readonly reason: string;
    }
  | {
      readonly event: "checkpointed";
      readonly database: string;
      readonly frames: number;
      readonly held_ms: number;
    }
  | {
      readonly event: "compacted";
      readonly database: string;
      readonly level: number;
      readonly minTxid: number;
      readonly maxTxid: number;
      readonly bytes: number;
    }
  | {
      readonly event: "validated";
      readonly database: string;
      readonly status: Validation["status"];
      readonly messages: readonly string[];
    }
  | { readonly event: "failed"; readonly database: string; readonly code: string; readonly message: string }
  | { readonly event: "recovered"; readonly database: string }
  | { readonly event: "stopped"; readonly database: string; readonly code: string; readonly message: string };

/** What all watched databases of a process share. */
export interface WatchContext {
  readonly store: ObjectStore;
  readonly options: WatchOptions;
  readonly env: Env;
  readonly version: string;
  readonly uploads: Slots;
  readonly anchors: Slots;
  readonly attaches: Slots;
  readonly upkeeps: Slots;
  /** Looks through what is stored of a database; handed in, because that is not replication's to know. */
  readonly validate?: ((name: string, signal: AbortSignal) => Promise<Validation>) | undefined;
  readonly emit: (event: WatchEvent) => void;
}

export type { AttachTarget };
