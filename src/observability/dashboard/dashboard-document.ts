/**
 * The document `/dashboard.json`: all that the page shows at one moment. Types only; the page and the process
 * share them. The rows are arrays in the order of `DASHBOARD_COLUMNS`, a third of the size of objects: the
 * document of 1,000 databases is sent every few seconds. Keys and columns are only ever added, columns at the
 * end.
 *
 * Ages are seconds before `time`, so the clock of the reader does not matter.
 */

/** How sound the backup of something is, best first. */
export type Soundness = "healthy" | "degraded" | "unhealthy";

/** The columns of a row, in their order. */
export const DASHBOARD_COLUMNS = [
  /** The name in the bucket. Other people choose it: it may contain any character. */
  "database",
  /** `starting`, `syncing`, `failing`, `paused` or `stopped`. */
  "status",
  "health",
  /** Seconds by which the store may be behind the database, or null while that is not known. */
  "lag_seconds",
  /** The newest captured TXID, and the newest that is known to be in the store; 0 before the first. */
  "txid",
  "uploaded_txid",
  /** Captured files that are not in the store, and their bytes. */
  "pending_files",
  "pending_bytes",
  /** Size of the -wal file, or null where there is none. */
  "wal_bytes",
  /** Age of the capture that this process uploaded last, or null. */
  "last_sync_age_seconds",
  /** Age of the newest snapshot, or null. */
  "snapshot_age_seconds",
  /** `closed`, `half-open` or `open`. */
  "circuit",
  "errors_last_hour",
] as const;

/** One database; see `DASHBOARD_COLUMNS`. */
export type DashboardRow = readonly [
  database: string,
  status: string,
  health: Soundness,
  lagSeconds: number | null,
  txid: number,
  uploadedTxid: number,
  pendingFiles: number,
  pendingBytes: number,
  walBytes: number | null,
  lastSyncAgeSeconds: number | null,
  snapshotAgeSeconds: number | null,
  circuit: string,
  errorsLastHour: number,
];

/** A state that somebody should know of, in plain words, with the remedy. */
export interface Problem {
  /** The code of an error or of a condition, or `lag`, `starting`, `paused`, `circuit-open`. */
  readonly code: string;
  readonly health: "degraded" | "unhealthy";
  /** Null for a problem of the store, or of the machine (`disk-…`), which all databases share. */
  readonly database: string | null;
  readonly message: string;
  readonly hint: string;
}

/**
 * Sums of the last hour, oldest first, one value a step. Null where no page was open. The newest step is not
 * complete yet.
 */
export interface HourOfSums {
  readonly step_seconds: number;
  /** The most that any database was behind. */
  readonly lag_seconds: readonly (number | null)[];
  /** The most databases that were not healthy. */
  readonly not_healthy: readonly (number | null)[];
  /** The most bytes that waited for their upload. */
  readonly pending_bytes: readonly (number | null)[];
  readonly uploads_per_second: readonly (number | null)[];
  readonly upload_bytes_per_second: readonly (number | null)[];
}

/** The document. */
export interface DashboardDocument {
  readonly version: string;
  readonly hostname: string;
  /** The wall clock of the process, RFC 3339. */
  readonly time: string;
  readonly uptime_seconds: number;
  /** Health of the process, as in /health. */
  readonly status: Soundness;
  readonly reasons: readonly string[];
  readonly store: {
    readonly connected: boolean;
    /** Seconds since the last upload of this process, or null. */
    readonly last_upload_age_seconds: number | null;
  };
  readonly totals: {
    readonly healthy: number;
    readonly degraded: number;
    readonly unhealthy: number;
    /** The longest lag that is known; null when no database has one. */
    readonly lag_seconds: number | null;
    readonly pending_files: number;
    readonly pending_bytes: number;
    readonly wal_bytes: number;
    /** Objects that this process uploaded, and their bytes. */
    readonly uploads: number;
    readonly upload_bytes: number;
  };
  readonly history: HourOfSums;
  /** Worst first. */
  readonly problems: readonly Problem[];
  readonly columns: typeof DASHBOARD_COLUMNS;
  readonly databases: readonly DashboardRow[];
}
