/**
 * The table of options that only the command line has, by verb, and the list of the sections of walrust.toml.
 * The name of a row is its flag in camelCase, with the unit.
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
    meaning: "Configuration file; default: ./walrust.toml, if it exists",
  },
  json: {
    flag: "json",
    kind: "switch",
    default: false,
    meaning: "Print one JSON document; watch, replicate and serve print one line of JSON for each event",
  },
  logLevel: {
    flag: "log-level",
    kind: "text",
    value: "LEVEL",
    default: "info",
    choices: ["debug", "info", "warn", "error"],
    meaning: "Least severity to log",
  },
  logFormat: {
    flag: "log-format",
    kind: "text",
    value: "FORMAT",
    default: "text",
    choices: ["text", "json"],
    meaning: "Format of the log lines on stderr",
  },
  help: { flag: "help", alias: "h", kind: "switch", default: false, meaning: "Show this help" },
  version: {
    flag: "version",
    kind: "switch",
    default: false,
    meaning: "Show the versions of walrust, Bun and SQLite",
  },
});

/** The patience of a verb that a person waits for. */
export const PATIENCE_OPTIONS = group({
  timeoutMs: {
    flag: "timeout",
    kind: "duration",
    value: "DURATION",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "Give up once the store has not answered for this long, over all retries",
  },
});

/** The progress of a verb that a person waits for. */
export const PROGRESS_OPTIONS = group({
  progress: {
    flag: "progress",
    kind: "switch",
    default: false,
    meaning: "With --json, also print progress as lines of JSON on stderr",
  },
});

/** Flags of the Rust walrust for modes that are on by default here. */
export const COMPATIBLE_OPTIONS = group({
  independentTasks: {
    flag: "independent-tasks",
    kind: "switch",
    default: false,
    isHidden: true,
    meaning: "Has no effect: each database is always replicated independently",
  },
  enableCache: {
    flag: "enable-cache",
    kind: "switch",
    default: false,
    isHidden: true,
    meaning: "Has no effect: the cache is on without `--no-cache`",
  },
});

/** The options of `watch` and `explain`. */
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

/** Options of watch alone, for its start and its end. */
export const COURSE_OPTIONS = group({
  once: {
    flag: "once",
    kind: "switch",
    default: false,
    meaning: "Capture and upload everything that is committed, then exit",
  },
  restoreIfMissing: {
    flag: "restore-if-missing",
    kind: "switch",
    default: false,
    meaning: "First restore each named database that is missing and has a backup; wait for one that has none",
  },
  exec: {
    flag: "exec",
    kind: "text",
    value: "COMMAND",
    meaning:
      "Start this command when all databases are captured, pass signals on to it, and end with its exit code",
  },
});

/** Options of watch for push replicas. */
export const PUSH_OPTIONS = group({
  pushTo: {
    flag: "push-to",
    kind: "texts",
    value: "URL",
    countMax: 16,
    meaning: "Also push captured commits to the `walrust serve` at this URL; give it once for each replica",
  },
  pushTokenFile: {
    flag: "push-token-file",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "File with the token of the replica servers",
  },
  pushCaFile: {
    flag: "push-ca-file",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "PEM file of certificate authorities to trust for replica servers, beside those of the system",
  },
  ack: {
    flag: "ack",
    kind: "switch",
    default: false,
    meaning: "Report each acknowledgement of a push replica, as an event; nothing waits for it",
  },
});

/** Options of compact. */
export const COMPACT_OPTIONS = group({
  all: { flag: "all", kind: "switch", default: false, meaning: "Compact all databases of the destination" },
  ...KEEP_OPTIONS,
  force: {
    flag: "force",
    kind: "switch",
    default: false,
    meaning: "Write and delete; without --force, only print the plan",
  },
});

/** Options of list. */
export const LIST_OPTIONS = group({
  local: {
    flag: "local",
    kind: "switch",
    default: false,
    meaning: "Show, for each database, the local files and the socket of the watch",
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
    meaning: "File to restore to (required without --all)",
  },
  all: {
    flag: "all",
    kind: "switch",
    default: false,
    meaning: "Restore all databases of the destination below --into, each to <name>.db",
  },
  into: {
    flag: "into",
    kind: "text",
    value: "DIR",
    isPath: true,
    meaning: "Folder for the databases of --all; files that are proven to be restored are left as they are",
  },
  jobs: {
    flag: "jobs",
    kind: "count",
    value: "N",
    default: 4,
    min: 1,
    max: 64,
    meaning: "Databases that --all restores at the same time",
  },
  prefix: {
    flag: "prefix",
    kind: "text",
    value: "NAME",
    meaning: "With --all, restore only the databases of this name and below it",
  },
  pointInTime: {
    flag: "point-in-time",
    kind: "text",
    value: "POINT",
    meaning:
      "Restore the newest capture at or before a time: 2026-03-01T12:00:00Z, a duration ago (-2h), now, or " +
      "seconds since 1970; or restore exactly one TXID: txid:N",
  },
  force: {
    flag: "force",
    kind: "switch",
    default: false,
    meaning: "Replace an existing file, and keep it as PATH.pre-restore-<time>",
  },
  ifDbNotExists: {
    flag: "if-db-not-exists",
    kind: "switch",
    default: false,
    meaning: "Exit 0 without doing anything if PATH exists",
  },
  ifReplicaExists: {
    flag: "if-replica-exists",
    kind: "switch",
    default: false,
    meaning: "Exit 0 without doing anything if there is no backup",
  },
  dryRun: {
    flag: "dry-run",
    kind: "switch",
    default: false,
    meaning: "Print the plan of the restore; write nothing",
  },
  integrityCheck: {
    flag: "integrity-check",
    kind: "text",
    value: "MODE",
    choices: ["full", "quick", "off"],
    default: "full",
    meaning: "How thoroughly SQLite checks the restored file; full also compares indexes with their tables",
  },
  strict: {
    flag: "strict",
    kind: "switch",
    default: false,
    meaning: "Exit 5 instead of warning when SQLite finds a fault that the source already had",
  },
  cacheDir: {
    flag: "cache-dir",
    key: "cache.path",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning:
      "Folder of a watch's captured files, if not beside the output file; restore reads these files first",
  },
});

/** Options of replicate. */
export const REPLICATE_OPTIONS = group({
  local: {
    flag: "local",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "Database file of the replica (required)",
  },
  intervalMs: {
    flag: "interval",
    kind: "duration",
    value: "DURATION",
    default: 5,
    min: 0.01,
    max: 86_400,
    meaning: "Poll the bucket for new objects this often",
  },
  once: {
    flag: "once",
    kind: "switch",
    default: false,
    meaning: "Apply the objects in the bucket, then exit",
  },
});

/** Options of serve. */
export const SERVE_OPTIONS = group({
  db: {
    flag: "db",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "Database file of the one replica",
  },
  dir: {
    flag: "dir",
    kind: "text",
    value: "DIR",
    isPath: true,
    meaning: "Folder of many replicas, each at <name>.db",
  },
  port: {
    flag: "port",
    kind: "count",
    value: "PORT",
    default: 8080,
    max: 65_535,
    meaning: "Port to listen on; 0: any free port",
  },
  address: {
    flag: "address",
    kind: "text",
    value: "ADDRESS",
    default: "127.0.0.1",
    meaning: "Address to listen on; addresses that other machines reach need --token-file",
  },
  tokenFile: {
    flag: "token-file",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "File with the token that a watch has to show",
  },
  tlsCert: {
    flag: "tls-cert",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "PEM file with the certificate of this server and those of its issuers, for https",
  },
  tlsKey: {
    flag: "tls-key",
    kind: "text",
    value: "FILE",
    isPath: true,
    meaning: "PEM file with the private key of the certificate",
  },
});

/** Options of verify. */
export const VERIFY_OPTIONS = group({
  all: { flag: "all", kind: "switch", default: false, meaning: "Verify all databases of the destination" },
  readData: {
    flag: "read-data",
    kind: "percent",
    value: "PERCENT",
    bare: "100",
    min: 0.01,
    max: 100,
    meaning:
      "Also read large objects in full: all, or PERCENT of them at random; small objects are always read",
  },
  restore: {
    flag: "restore",
    kind: "switch",
    default: false,
    meaning: "Also restore the newest state into a temporary file and check the file",
  },
  fix: {
    flag: "fix",
    kind: "switch",
    default: false,
    meaning: "Rewrite a wrong manifest and delete leftovers, but no object that a restore needs",
  },
});

/** Options of sync. */
export const SYNC_VERB_OPTIONS = group({
  all: { flag: "all", kind: "switch", default: false, meaning: "Sync all databases of all watches" },
  timeoutMs: {
    flag: "timeout",
    kind: "duration",
    value: "DURATION",
    default: 30,
    min: 1,
    max: 86_400,
    meaning: "Give up after this long; the watch goes on",
  },
});

/** Options of status. */
export const STATUS_OPTIONS = group({
  all: {
    flag: "all",
    kind: "switch",
    default: false,
    meaning: "List every database, however many there are",
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
    meaning: "Commits per second that the estimate assumes for each database, on average over a month",
  },
  pagesPerCommit: {
    flag: "pages-per-commit",
    kind: "number",
    value: "N",
    default: 4,
    min: 1,
    max: 1_000_000,
    meaning: "Changed pages that the estimate assumes for each commit",
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
    meaning: "File to write to, instead of stdout",
  },
  comments: {
    flag: "comments",
    kind: "switch",
    value: "true|false",
    default: true,
    meaning: "Give the reason beside each setting",
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
  section("s3", STORE_OPTIONS, "destination of the backups"),
  section("sync", SYNC_OPTIONS, "captures, checkpoints and snapshots", "each"),
  section("state", STATE_OPTIONS, "place of walrust's state and captured files"),
  section("cache", CACHE_OPTIONS, "captured files on the local disk"),
  section("compaction", COMPACTION_OPTIONS, "merges of increments", "each"),
  section("retention", RETENTION_OPTIONS, "snapshots to keep", "each"),
  section("retry", RETRY_OPTIONS, "retries, and the suspension of requests, while the store fails"),
  section("metrics", METRICS_OPTIONS, "HTTP server of `watch`"),
  section(
    "heartbeat",
    HEARTBEAT_OPTIONS,
    "URL that `watch` calls while every database is replicated in time",
  ),
  section("webhooks", WEBHOOK_OPTIONS, "receivers of notices of failures", "list"),
  section("databases", DATABASE_OPTIONS, "databases to replicate", "list"),
];

/** The last part of an option's key. */
export function keyName(spec: OptionSpec): string {
  return spec.key?.slice(spec.key.indexOf(".") + 1) ?? "";
}
