/**
 * The table of options that only the command line has, by verb. Those that walrust.toml has too are in
 * settings.ts.
 */
import { group, type OptionGroup, type OptionSpec } from "./option-spec.ts";
import {
  CACHE_OPTIONS,
  COMPACTION_OPTIONS,
  KEEP_OPTIONS,
  RETENTION_OPTIONS,
  RETRY_OPTIONS,
  STATE_OPTIONS,
  STORE_OPTIONS,
  SYNC_OPTIONS,
} from "./settings.ts";
import { DATABASE_OPTIONS, HEARTBEAT_OPTIONS, METRICS_OPTIONS, WEBHOOK_OPTIONS } from "./settings-notify.ts";

/** Options of every verb. */
export const GLOBAL_OPTIONS = group({
  config: {
    flag: "config",
    kind: "text",
    value: "PATH",
    meaning: "Configuration file; by itself: ./walrust.toml, if there is one",
  },
  json: {
    flag: "json",
    kind: "switch",
    default: false,
    meaning: "Print one JSON document (a line each in watch and replicate)",
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

/** How long a verb waits for the store. */
export const PATIENCE_OPTIONS = group({
  timeoutMs: {
    flag: "timeout",
    kind: "duration",
    value: "DURATION",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "Give up when the store has answered nothing for this long, tries included",
  },
});

/** Spellings of the Rust version: they name what walrust does anyway. */
export const COMPATIBLE_OPTIONS = group({
  independentTasks: {
    flag: "independent-tasks",
    kind: "switch",
    default: false,
    isHidden: true,
    meaning: "Always so",
  },
  enableCache: { flag: "enable-cache", kind: "switch", default: false, isHidden: true, meaning: "Always so" },
});

/** The options of `watch`, which `explain` takes too. */
export const WATCH_GROUPS = [
  STORE_OPTIONS,
  SYNC_OPTIONS,
  COMPACTION_OPTIONS,
  RETENTION_OPTIONS,
  STATE_OPTIONS,
  CACHE_OPTIONS,
  RETRY_OPTIONS,
  METRICS_OPTIONS,
  COMPATIBLE_OPTIONS,
] as const;

/** Options of compact. */
export const COMPACT_OPTIONS = group({
  all: { flag: "all", kind: "switch", default: false, meaning: "All databases of the destination" },
  ...KEEP_OPTIONS,
  force: {
    flag: "force",
    kind: "switch",
    default: false,
    meaning: "Do it; without it nothing is written or deleted",
  },
});

/** Options of list. */
export const LIST_OPTIONS = group({
  local: {
    flag: "local",
    kind: "switch",
    default: false,
    meaning: "Show where the files of each database lie on this machine, and the socket of its watch",
  },
});

/** Options of restore. */
export const RESTORE_OPTIONS = group({
  output: {
    flag: "output",
    alias: "o",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "File to restore to (required)",
  },
  pointInTime: {
    flag: "point-in-time",
    kind: "text",
    value: "POINT",
    meaning:
      "Restore the newest capture at or before a point: a time such as 2026-03-01T12:00:00Z, " +
      "a duration ago (-2h), now, seconds since 1970, or txid:N",
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
  integrityCheck: {
    flag: "integrity-check",
    kind: "text",
    value: "MODE",
    choices: ["full", "quick", "off"],
    default: "full",
    meaning: "SQLite's check of the restored file: full also compares indexes with their tables",
  },
  strict: {
    flag: "strict",
    kind: "switch",
    default: false,
    meaning: "Exit 5 when SQLite finds a fault that the source had already, instead of a warning",
  },
  cacheDir: {
    flag: "cache-dir",
    key: "cache.path",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning:
      "Where the watch on this machine kept captured files, if not beside PATH; used before the network",
  },
});

/** Options of replicate. */
export const REPLICATE_OPTIONS = group({
  local: {
    flag: "local",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "The replica's database file (required)",
  },
  intervalMs: {
    flag: "interval",
    kind: "duration",
    value: "DURATION",
    default: 5,
    min: 0.01,
    max: 86_400,
    meaning: "Look for something new this often",
  },
  once: { flag: "once", kind: "switch", default: false, meaning: "Apply what is there and end" },
});

/** Options of verify. */
export const VERIFY_OPTIONS = group({
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

/** Options of explain, beside those of watch. */
export const EXPLAIN_OPTIONS = group({
  commitsPerSecond: {
    flag: "commits-per-second",
    kind: "number",
    value: "RATE",
    default: 0.1,
    max: 100_000,
    meaning: "What the estimate assumes of each database: commits a second, on average over the month",
  },
  pagesPerCommit: {
    flag: "pages-per-commit",
    kind: "number",
    value: "N",
    default: 4,
    min: 1,
    max: 1_000_000,
    meaning: "What the estimate assumes of each commit: pages it changes",
  },
});

/** Options of pragma. */
export const PRAGMA_OPTIONS = group({
  output: {
    flag: "output",
    alias: "o",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "Write to a file, not to stdout",
  },
  comments: {
    flag: "comments",
    kind: "switch",
    value: "true|false",
    default: true,
    meaning: "Say why beside each setting",
  },
});

/** A section of walrust.toml. */
export interface Section {
  readonly name: string;
  readonly meaning: string;
  /** Whether it is a list: `[[name]]`. */
  readonly isList: boolean;
  /** Whether its keys can be set for one database too. */
  readonly isPerDatabase: boolean;
  readonly options: OptionGroup;
}

function section(name: string, options: OptionGroup, meaning: string, shape = "one"): Section {
  return { name, meaning, options, isList: shape === "list", isPerDatabase: shape === "each" };
}

/** The sections of walrust.toml, in the order in which they are shown. */
export const SECTIONS: readonly Section[] = [
  section("s3", STORE_OPTIONS, "where objects go"),
  section("sync", SYNC_OPTIONS, "capture, checkpoints and snapshots", "each"),
  section("state", STATE_OPTIONS, "where walrust keeps its own files"),
  section("cache", CACHE_OPTIONS, "captured files on the local disk"),
  section("compaction", COMPACTION_OPTIONS, "merging increments", "each"),
  section("retention", RETENTION_OPTIONS, "which snapshots stay", "each"),
  section("retry", RETRY_OPTIONS, "when the store fails"),
  section("metrics", METRICS_OPTIONS, "the HTTP server of watch"),
  section("heartbeat", HEARTBEAT_OPTIONS, "a URL that is called while all is well"),
  section("webhooks", WEBHOOK_OPTIONS, "who is told of failures", "list"),
  section("databases", DATABASE_OPTIONS, "what is replicated", "list"),
];

/** The last part of an option's key. */
export function keyName(spec: OptionSpec): string {
  return spec.key?.slice(spec.key.indexOf(".") + 1) ?? "";
}
