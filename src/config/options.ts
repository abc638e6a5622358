/**
 * The one table of options: flag, kind, default, range, meaning. Parsing, validation and `--help` are made from
 * it; a flag that is not here does not exist.
 */

/** How the text of an option becomes a value. Seconds may be fractions; a duration takes a unit (s, m, h, d). */
export type OptionKind = "text" | "switch" | "seconds" | "duration" | "count";

/** One option. */
export interface OptionSpec {
  readonly flag: string;
  readonly alias?: string;
  readonly kind: OptionKind;
  /** What stands for the value in help, e.g. `SECONDS`. */
  readonly value?: string;
  readonly default?: string | number | boolean;
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
  independentTasks: { flag: "independent-tasks", kind: "switch", isHidden: true, meaning: "Always so" },
  enableCache: { flag: "enable-cache", kind: "switch", isHidden: true, meaning: "Always so" },
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
