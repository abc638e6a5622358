/**
 * The events that a watch reports, each about one database, or about the store that all databases share.
 */

/** The result of a validation: the stored objects of one database are verified. */
export interface Validation {
  readonly status: "ok" | "warnings" | "errors";
  /** The findings, most serious first. */
  readonly messages: readonly string[];
}

/** An event of a watch. */
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
      /** How the WAL ended up: copied into the database file, or also truncated. */
      readonly type: "passive" | "truncate";
      readonly held_ms: number;
      readonly duration_ms: number;
    }
  | {
      readonly event: "compacted";
      readonly database: string;
      readonly level: number;
      readonly minTxid: number;
      readonly maxTxid: number;
      readonly bytes: number;
      /** The objects that were merged into this one. */
      readonly sources: number;
      readonly duration_ms: number;
    }
  | {
      readonly event: "validated";
      readonly database: string;
      readonly status: Validation["status"];
      readonly messages: readonly string[];
    }
  | {
      /** A push replica has applied everything up to this TXID, durably. */
      readonly event: "acknowledged";
      readonly database: string;
      readonly replica: string;
      readonly txid: number;
    }
  | { readonly event: "failed"; readonly database: string; readonly code: string; readonly message: string }
  | { readonly event: "recovered"; readonly database: string }
  | {
      readonly event: "circuit-open";
      readonly database: string;
      /** Calls in a row that failed. */
      readonly failures: number;
      /** The time of the next trial, as RFC 3339. */
      readonly until: string;
      readonly message: string;
    }
  | {
      /** A lasting state began or ended; see `Condition`. */
      readonly event: "condition";
      readonly state: "raised" | "cleared";
      /** Null for a condition of the store that all databases share. */
      readonly database: string | null;
      readonly code: string;
      readonly health: "degraded" | "unhealthy";
      readonly message: string;
    }
  /** Replication stopped because discovery does not find the database any more. */
  | { readonly event: "let-go"; readonly database: string; readonly reason: string }
  /** Replication stopped for good, or a named database is set aside. */
  | { readonly event: "stopped"; readonly database: string; readonly code: string; readonly message: string };
