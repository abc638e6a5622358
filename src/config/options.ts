/**
 * The one table of options: flag, kind, default, range, meaning. Parsing, validation and `--help` are made
 * from it; a flag that is not here does not exist.
 */

/**
 * How the text of an option becomes a value. Seconds may be fractions; a duration takes a unit (s, m, h, d),
 * bytes one of KB, MB, GB.
 */
export type OptionKind = "text" | "switch" | "seconds" | "duration" | "count" | "bytes" | "percent";

/** One option. */
export interface OptionSpec {
  readonly flag: string;
  readonly alias?: string;
  readonly kind: OptionKind;
  /** What stands for the value in help, e.g. `SECONDS`. */
  readonly value?: string;
  readonly default?: string | number | boolean;
  /** The text that a flag without a value stands for; a value is then given only as `--flag=VALUE`. */
  readonly bare?: string;
  readonly min?: number;
  readonly max?: number;
  readonly choices?: readonly string[];
  readonly meaning: string;
  /** Accepted, but not shown: it names what walrust does anyway. */
  readonly isHidden?: boolean;
}

function table<const T extends Record<string, OptionSpec>>(specs: T): T {
  return specs;
}

/** A count of snapshots of one kind that retention keeps. */
function retention<const F extends string>(flag: F, kind: string, count: number) {
  return {
    flag,
    kind: "count",
    value: "N",
    default: count,
    max: 10_000,
    meaning: `Keep the newest snapshot of each of the last N ${kind} periods`,
  } as const satisfies OptionSpec;
}

/** Options of every verb. */
export const GLOBAL_OPTIONS = table({
  json: {
    flag: "json",
    kind: "switch",
    default: false,
    meaning: "Print one JSON document (a line each in watch)",
  },
  logLevel: {
    flag: "log-level",
    kind: "text",
    value: "LEVEL",
    default: "info",
    choices: ["debug", "info", "warn", "error"],
    meaning: "Least severity that is logged",
  },
  logFormat: {
    flag: "log-format",
    kind: "text",
    value: "FORMAT",
    default: "text",
    choices: ["text", "json"],
    meaning: "How log lines look on stderr",
  },
  help: { flag: "help", alias: "h", kind: "switch", default: false, meaning: "Show this help" },
  version: {
    flag: "version",
    kind: "switch",
    default: false,
    meaning: "Show versions of walrust, Bun and SQLite",
  },
});

/** Options of every verb that works on a destination. */
export const STORE_OPTIONS = table({
  bucket: {
    flag: "bucket",
    alias: "b",
    kind: "text",
    value: "URL",
    meaning: "Destination: s3://bucket/prefix or file:///folder (required)",
  },
  endpoint: { flag: "endpoint", kind: "text", value: "URL", meaning: "S3 endpoint, for anything but AWS" },
});

/** Options of watch. */
export const WATCH_OPTIONS = table({
  walSyncInterval: {
    flag: "wal-sync-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 1,
    min: 0.01,
    max: 3600,
    meaning: "Least time between two uploads of one database; the first of a burst goes at once",
  },
  checkpointInterval: {
    flag: "checkpoint-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 60,
    min: 0.1,
    max: 86_400,
    meaning: "Checkpoint a WAL that is shorter than that at least this often",
  },
  minCheckpointPages: {
    flag: "min-checkpoint-pages",
    kind: "count",
    value: "N",
    default: 1000,
    min: 1,
    max: 10_000_000,
    meaning: "Checkpoint as soon as the WAL has this many pages",
  },
  walTruncateThreshold: {
    flag: "wal-truncate-threshold",
    kind: "count",
    value: "N",
    default: 121_359,
    min: 1,
    max: 1_000_000_000,
    meaning: "Truncate a WAL of more than this many pages after its checkpoint",
  },
  uploaderConcurrency: {
    flag: "uploader-concurrency",
    kind: "count",
    value: "N",
    default: 8,
    min: 1,
    max: 256,
    meaning: "Uploads at once over all databases",
  },
  validationInterval: {
    flag: "validation-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: 31_536_000,
    meaning: "Verify what is stored of each database this often, as `walrust verify` does; 0: never",
  },
  snapshotInterval: {
    flag: "snapshot-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 3600,
    max: 31_536_000,
    meaning: "Snapshot a database that changed at least this often; 0: never",
  },
  maxChanges: {
    flag: "max-changes",
    kind: "count",
    value: "N",
    default: 0,
    max: 1_000_000_000,
    meaning: "Snapshot after this many WAL frames; 0: off",
  },
  maxInterval: {
    flag: "max-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: 31_536_000,
    meaning: "Snapshot this long after the first change since the last one; 0: off",
  },
  onIdle: {
    flag: "on-idle",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: 31_536_000,
    meaning: "Snapshot after this long without a change; 0: off",
  },
  onStartup: {
    flag: "on-startup",
    kind: "switch",
    value: "true|false",
    default: true,
    meaning: "Snapshot at start when the newest is older than --snapshot-interval",
  },
  compactThreshold: {
    flag: "compact-threshold",
    kind: "count",
    value: "N",
    default: 0,
    max: 1_000_000,
    meaning: "Compact as soon as this many increments wait; 0: every 30 s",
  },
  compactSize: {
    flag: "compact-size",
    kind: "bytes",
    value: "BYTES",
    default: 0,
    meaning: "Compact as soon as increments of this size wait; 0: every 30 s",
  },
  compactAge: {
    flag: "compact-age",
    kind: "duration",
    value: "DURATION",
    default: 0,
    meaning: "Compact as soon as an increment has waited this long; 0: every 30 s",
  },
  compactInterval: {
    flag: "compact-interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: 31_536_000,
    meaning: "Apply retention this often; 0: never",
  },
  compactAfterSnapshot: {
    flag: "compact-after-snapshot",
    kind: "switch",
    default: false,
    meaning: "Apply retention after each snapshot",
  },
  retainHourly: retention("retain-hourly", "hourly", 24),
  retainDaily: retention("retain-daily", "daily", 7),
  retainWeekly: retention("retain-weekly", "weekly", 12),
  retainMonthly: retention("retain-monthly", "monthly", 12),
  cacheDir: {
    flag: "cache-dir",
    kind: "text",
    value: "PATH",
    meaning: "Keep captured files there instead of beside each database",
  },
  cacheRetention: {
    flag: "cache-retention",
    kind: "duration",
    value: "DURATION",
    default: 86_400,
    meaning: "Keep uploaded increments on disk this long, for compaction and restore",
  },
  cacheMaxSize: {
    flag: "cache-max-size",
    kind: "bytes",
    value: "BYTES",
    default: 5 * 1024 ** 3,
    min: 1024 ** 2,
    meaning: "Most bytes of captured files on disk, over all databases",
  },
  noCache: {
    flag: "no-cache",
    kind: "switch",
    default: false,
    meaning: "Capture no further than what was uploaded, and keep nothing of it on disk",
  },
  independentTasks: { flag: "independent-tasks", kind: "switch", isHidden: true, meaning: "Always so" },
  enableCache: { flag: "enable-cache", kind: "switch", isHidden: true, meaning: "Always so" },
});

/** Options of compact. */
export const COMPACT_OPTIONS = table({
  all: { flag: "all", kind: "switch", default: false, meaning: "All databases of the destination" },
  hourly: retention("hourly", "hourly", 24),
  daily: retention("daily", "daily", 7),
  weekly: retention("weekly", "weekly", 12),
  monthly: retention("monthly", "monthly", 12),
  force: {
    flag: "force",
    kind: "switch",
    default: false,
    meaning: "Do it; without it nothing is written or deleted",
  },
});

/** Options of restore. */
export const RESTORE_OPTIONS = table({
  output: {
    flag: "output",
    alias: "o",
    kind: "text",
    value: "PATH",
    meaning: "File to restore to (required)",
  },
  pointInTime: {
    flag: "point-in-time",
    kind: "text",
    value: "POINT",
    meaning: "txid:N, or a time such as 2026-03-01T12:00:00Z (the newest capture at or before it)",
  },
  force: {
    flag: "force",
    kind: "switch",
    default: false,
    meaning: "Replace an existing file; it is kept as PATH.pre-restore-<time>",
  },
  ifDbNotExists: {
    flag: "if-db-not-exists",
    kind: "switch",
    default: false,
    meaning: "Exit 0 without doing anything when PATH exists",
  },
  ifReplicaExists: {
    flag: "if-replica-exists",
    kind: "switch",
    default: false,
    meaning: "Exit 0 without doing anything when there is no backup",
  },
  dryRun: {
    flag: "dry-run",
    kind: "switch",
    default: false,
    meaning: "Say what would be restored; write nothing",
  },
  cacheDir: {
    flag: "cache-dir",
    kind: "text",
    value: "PATH",
    meaning:
      "Where the watch on this machine kept captured files, if not beside PATH; used before the network",
  },
});

/** Options of replicate. */
export const REPLICATE_OPTIONS = table({
  local: { flag: "local", kind: "text", value: "PATH", meaning: "The replica's database file (required)" },
  interval: {
    flag: "interval",
    kind: "duration",
    value: "DURATION",
    default: 5,
    min: 0.01,
    max: 86_400,
    meaning: "Look for something new this often",
  },
  once: { flag: "once", kind: "switch", default: false, meaning: "Apply what is there and end" },
  endpoint: STORE_OPTIONS.endpoint,
});

/** Options of verify. */
export const VERIFY_OPTIONS = table({
  all: { flag: "all", kind: "switch", default: false, meaning: "Every database of the destination" },
  readData: {
    flag: "read-data",
    kind: "percent",
    value: "PERCENT",
    bare: "100",
    min: 0.01,
    max: 100,
    meaning: "Also read objects in full: all, or each with this probability (small ones always are)",
  },
  restore: {
    flag: "restore",
    kind: "switch",
    default: false,
    meaning: "Also restore the newest state into a temporary file and check it",
  },
  fix: {
    flag: "fix",
    kind: "switch",
    default: false,
    meaning: "Rewrite the manifest and delete what belongs to nothing; never an object that a restore needs",
  },
});

/** The value type of an option. */
export type OptionValue<S extends OptionSpec> = S["kind"] extends "switch"
  ? boolean
  : S["kind"] extends "text"
    ? S extends { default: string }
      ? string
      : string | undefined
    : S extends { default: number }
      ? number
      : number | undefined;

/** The values of a group of options. Seconds and durations are ms. */
export type OptionValues<T extends Record<string, OptionSpec>> = {
  readonly [K in keyof T]: OptionValue<T[K]>;
};
