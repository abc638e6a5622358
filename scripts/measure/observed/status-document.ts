/**
 * The parts of the document of `walrust status --json` that an observer judges; `src/commands/README.md`
 * documents all of it.
 */

/** The health of a watch or a database, best first. */
export const HEALTHS = ["healthy", "degraded", "unhealthy"] as const;

/** One of `HEALTHS`. */
export type HealthName = (typeof HEALTHS)[number];

/** One database of a watch. */
export interface StatusDatabase {
  readonly name: string;
  readonly path: string;
  readonly status: string;
  readonly health: HealthName;
  readonly reasons: readonly string[];
  readonly remedies: readonly string[];
  /** TXIDs and lag are null while the watch does not know them. */
  readonly txid: number | null;
  readonly uploaded_txid: number | null;
  readonly lag_seconds: number | null;
  readonly pending_files: number;
  readonly pending_bytes: number;
}

/** One watch. */
export interface StatusWatch {
  readonly pid: number;
  readonly status: HealthName;
  readonly reasons: readonly string[];
  readonly version: string | null;
  readonly uptime_seconds: number | null;
  /** Why the watch gave no answer, or null. */
  readonly problem: { readonly code: string; readonly message: string } | null;
  readonly databases: readonly StatusDatabase[];
}

/** The document. */
export interface StatusDocument {
  readonly status: HealthName;
  readonly watches: readonly StatusWatch[];
  readonly not_watched: readonly string[];
}
