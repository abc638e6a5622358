/**
 * The events that a watch reports, each of one database.
 */

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
