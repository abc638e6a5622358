/**
 * What watching takes and what it tells: options, events, and what all databases of one process share.
 */
import type { Env } from "../../env.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { BreakerPolicy } from "../../storage/guard/circuit-breaker.ts";
import type { Outage } from "../../storage/guard/outage.ts";
import type { PutGate } from "../../storage/guard/put-gate.ts";
import type { Slots } from "../../storage/guard/slots.ts";
import type { AttachTarget } from "../attach/attach.ts";
import type { OwnWriters } from "../capture/own-writers.ts";
import type { MaintenanceOptions } from "../upkeep/maintenance.ts";
import type { Conditions } from "./conditions.ts";

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

/** A database to watch. */
export interface WatchTarget extends AttachTarget {
  /** Its own options; without them those of the watch. One object for all databases that share them. */
  readonly options?: DatabaseOptions;
  /** Found by a glob: what cannot be watched is looked at again with the next discovery, not given up. */
  readonly isDiscovered?: boolean;
}

/** What looking through a database's objects found. */
export interface Validation {
  readonly status: "ok" | "warnings" | "errors";
  /** What is wrong, most serious first. */
  readonly messages: readonly string[];
}

/**
 * Looks through the objects of the database with this name, in its own store (behind its circuit breaker).
 */
export type Validate = (name: string, signal: AbortSignal, store: ObjectStore) => Promise<Validation>;

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
  | {
      readonly event: "circuit-open";
      readonly database: string;
      /** Calls in a row that failed. */
      readonly failures: number;
      /** When the next one is tried, as RFC 3339. */
      readonly until: string;
      readonly message: string;
    }
  | {
      /** A state that lasts began or ended; see `Condition`. */
      readonly event: "condition";
      readonly state: "raised" | "cleared";
      /** Null when it concerns the store that all databases share. */
      readonly database: string | null;
      readonly code: string;
      readonly health: "degraded" | "unhealthy";
      readonly message: string;
    }
  | { readonly event: "let-go"; readonly database: string; readonly reason: string }
  | { readonly event: "stopped"; readonly database: string; readonly code: string; readonly message: string };

/**
 * What all watched databases of a process share. Each has a copy with what is its own: its options, and the
 * store behind its circuit breaker.
 */
export interface WatchContext {
  readonly store: ObjectStore;
  readonly options: WatchOptions;
  readonly env: Env;
  readonly version: string;
  /** The gate that all puts pass, if they pass one: an upload takes its turn before it chooses its file. */
  readonly puts?: PutGate;
  readonly anchors: Slots;
  readonly attaches: Slots;
  readonly upkeeps: Slots;
  /** The ids that this process has written with. */
  readonly writers: OwnWriters;
  /** Looks through what is stored of a database; handed in, because that is not replication's to know. */
  readonly validate?: Validate | undefined;
  /** Aborts when watching is to end: nothing new is begun then. */
  readonly stopping: AbortSignal;
  /** Aborts when this database is closed, after its drain: what still runs is broken off then. */
  readonly closing?: AbortSignal;
  readonly emit: (event: WatchEvent) => void;
  /** Conditions of this database; in the shared context those of the store. */
  readonly conditions: Conditions;
  /** Conditions of the store that all databases share. */
  readonly storeConditions: Conditions;
  /** Finds the end of an outage for all databases at once. */
  readonly outage?: Outage;
}

export type { AttachTarget };
