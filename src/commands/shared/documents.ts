/**
 * The JSON documents that the verbs print with `--json`, as types. A verb prints a value of its type, and the
 * library returns the same types, so that neither can differ from the other. Documents only ever grow. Units:
 * `…bytes` in bytes, `…_ms` in milliseconds, `time` and `at` as RFC 3339 in UTC, `txid` as a number.
 */
import type { LogLevel } from "../../env.ts";
import type { IntegrityMode } from "../../recovery/integrity/integrity-verdict.ts";
import type { ReplicaEvent } from "../../recovery/replica/replica-file.ts";
import type { Repair } from "../../recovery/verify/verify-fix.ts";
import type { Finding, FindingCode, VerifyReport } from "../../recovery/verify/verify-report.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import type { ForeignLayout } from "../../storage/bucket/foreign-layout.ts";

/** The failure that ended a verb. */
export interface ErrorDocument {
  readonly error: {
    /** An `ErrorCode`, or `interrupted`. */
    readonly code: string;
    readonly exit: number;
    readonly message: string;
    /** The remedy, as a sentence. */
    readonly hint: string | null;
    readonly context: Readonly<Record<string, string | number | boolean>>;
  };
}

/** One line of the log with `--log-format json`. The facts of the message are further fields. */
export interface LogDocument {
  readonly time: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly [fact: string]: unknown;
}

/** A line of `--progress`: how far the work of a verb is. Unknown values are null. */
export interface ProgressDocument {
  /** The verb. */
  readonly progress: string;
  /** Null for a work on several databases. */
  readonly database: string | null;
  /** The meaning of the bytes: `read`, `checked` or `sent`. */
  readonly counted: "read" | "checked" | "sent";
  readonly done_bytes: number;
  readonly total_bytes: number | null;
  readonly sent_bytes: number | null;
  /** The step after the bytes, which reports no progress of its own. */
  readonly step: "integrity_check" | null;
  readonly databases_done: number | null;
  readonly databases_total: number | null;
  readonly bytes_per_second: number;
  readonly seconds_left: number | null;
  readonly elapsed_ms: number;
  readonly at: string;
}

/** The output of `snapshot`. */
export interface SnapshotDocument {
  readonly name: string;
  readonly txid: number;
  readonly key: string;
  readonly time: string;
  /** Size of the object. */
  readonly bytes: number;
  readonly database_bytes: number;
  readonly duration_ms: number;
}

/** A restorable point. The time is null when the object cannot be read. */
export interface ListedPoint {
  readonly txid: number;
  readonly time: string | null;
}

/** One database of `list`. */
export interface ListedDatabase {
  readonly name: string;
  /** The folders of the name, or an empty text. */
  readonly prefix: string;
  readonly snapshots: readonly (ListedPoint & { readonly bytes: number })[];
  /** The number of objects of level 0. */
  readonly increments: number;
  readonly bytes: number;
  readonly min: ListedPoint | null;
  readonly max: ListedPoint | null;
  /** Numbers of restorable points by level. */
  readonly restorable: Readonly<Record<string, number>>;
  readonly problems: readonly string[];
  /** The format of a backup that another program wrote, or null. */
  readonly foreign: string | null;
}

/** The output of `list`. */
export interface ListDocument {
  readonly destination: string;
  readonly databases: readonly ListedDatabase[];
}

/** SQLite's verdict on a restored file. */
export interface IntegrityDocument {
  readonly mode: IntegrityMode;
  readonly status: "ok" | "failed" | "partial" | "not_checked" | "skipped";
  readonly problems: readonly string[];
  readonly not_checked: readonly { readonly part: string; readonly reason: string }[];
}

/** The output of `restore`. */
export interface RestoreDocument {
  readonly name: string;
  /** False after a dry run. */
  readonly restored: boolean;
  readonly output: string;
  readonly txid: number;
  readonly time: string | null;
  readonly bytes: number;
  readonly objects: number;
  readonly downloaded_bytes: number;
  readonly duration_ms: number;
  readonly notice: string | null;
  /** Keys of damaged or missing objects that the restore left out. */
  readonly damaged: readonly string[];
  /** The path of the file that was replaced, or null. */
  readonly previous: string | null;
  readonly checks: {
    readonly sha256_objects: number;
    readonly unchained_objects: number;
    readonly database_checksum: string | null;
    readonly integrity_check: IntegrityDocument["status"];
  };
  readonly integrity_check: IntegrityDocument;
  readonly owner: {
    readonly uid: number;
    readonly gid: number;
    /** Four octal digits. */
    readonly mode: string;
    readonly from: "folder" | "replaced_file";
  } | null;
}

/** The output of `restore` when `--if-db-not-exists` or `--if-replica-exists` left nothing to do. */
export interface NothingRestoredDocument {
  readonly name: string;
  readonly restored: false;
  readonly reason: string;
}

/** One database of `verify`. */
export interface VerifiedDatabase {
  readonly name: string;
  readonly status: VerifyReport["status"];
  /** If the backup is damaged: every point from this TXID on is restorable, as far as objects were read. */
  readonly sound_from_txid: number | null;
  readonly findings: readonly Finding[];
  /** One remedy for all kinds of findings that it mends. */
  readonly remedies: readonly { readonly codes: readonly FindingCode[]; readonly remedy: string }[];
  readonly checked: {
    readonly objects: number;
    readonly bytes: number;
    readonly snapshots: number;
    readonly chained_objects: number;
    readonly unchained_objects: number;
    readonly lost_metadata_objects: number;
    readonly read_objects: number;
    readonly read_bytes: number;
    readonly min_txid: number | null;
    readonly max_txid: number | null;
    readonly restored_txid: number | null;
    readonly integrity_check: IntegrityDocument | null;
    readonly compared_with_live: boolean;
    readonly omitted_findings: number;
  };
}

/** The output of `verify`. Status `errors` puts a restore in danger, `warnings` does not. */
export interface VerifyDocument {
  readonly status: VerifyReport["status"];
  readonly databases: readonly VerifiedDatabase[];
  readonly fixed: readonly Repair[];
  /** Backups that other programs wrote. */
  readonly foreign: readonly ForeignLayout[];
}

/** One database of `compact`. */
export interface CompactedDatabase {
  readonly name: string;
  readonly compacted: readonly {
    readonly level: number;
    readonly min_txid: number;
    readonly max_txid: number;
    readonly key: string;
    /** 0 in a plan. */
    readonly bytes: number;
    readonly sources: number;
    readonly source_bytes: number;
  }[];
  /** Keys of merged objects that have expired. */
  readonly expired: readonly string[];
  readonly kept_snapshots: readonly {
    readonly txid: number;
    readonly time: string;
    readonly reasons: readonly string[];
  }[];
  /** Keys that retention deletes. */
  readonly deleted: readonly string[];
  readonly deleted_bytes: number;
  /** Keys that the store refused to delete. */
  readonly refused: readonly string[];
}

/** The output of `compact`: with `force` the work, else the plan. */
export interface CompactDocument {
  readonly force: boolean;
  readonly databases: readonly CompactedDatabase[];
  /** The databases that failed, with `--all`. */
  readonly errors: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

/** A setting with its value. */
interface ExplainedSetting {
  /** `section.key` of walrust.toml. */
  readonly key: string;
  /** As in walrust.toml; of a secret, only that it is set; null: not set. */
  readonly value: string | number | boolean | readonly string[] | null;
  readonly origin: "flag" | "environment" | "file" | "default";
  /** `--bucket`, `AWS_REGION`, `walrust.toml:5:3`, `default`. */
  readonly from: string;
}

/** A reason why a watch would fail, or would leave out a database. */
interface ExplainedProblem {
  readonly code: string;
  readonly exit: number;
  readonly message: string;
  readonly hint: string | null;
  readonly context: Readonly<Record<string, string | number | boolean>>;
}

/** Requests a month. */
interface ExplainedRequests {
  readonly put: number;
  readonly list: number;
  /** Includes HEAD. */
  readonly get: number;
  readonly delete: number;
}

/** One database of `explain`. Requests and bytes are for a month. */
interface DatabaseOfExplain {
  readonly path: string;
  readonly name: string;
  readonly destination: string | null;
  readonly found_by_glob: boolean;
  /** The line of its entry in walrust.toml, or null. */
  readonly config_line: number | null;
  readonly bytes: number;
  readonly wal_bytes: number;
  /** Null when the file cannot be read. */
  readonly page_size: number | null;
  readonly compressed_to: number | null;
  /** Settings of its own. */
  readonly settings: readonly ExplainedSetting[];
  readonly restorable: readonly {
    readonly kind: "captures" | "merges" | "snapshots";
    readonly until_seconds: number | null;
    readonly spacing_seconds: number | null;
    readonly end: "age" | "oldest-snapshot" | "never";
    readonly what: string;
  }[];
  readonly requests: ExplainedRequests;
  readonly uploaded_bytes: number;
  readonly stored_bytes: number;
  readonly growth_bytes: number;
  readonly problem: ExplainedProblem | null;
}

/** The output of `explain`. */
export interface ExplainDocument {
  readonly config_file: string | null;
  readonly destination: {
    readonly url: string;
    readonly reachable: boolean;
    readonly conditional_writes: "yes" | "no" | "unknown";
    readonly single_writer: string;
  } | null;
  readonly settings: readonly ExplainedSetting[];
  /** Whether a watch looks for new databases while it runs. */
  readonly looks_again: boolean;
  readonly databases: readonly DatabaseOfExplain[];
  /** The sum of all databases for a month. */
  readonly estimate: {
    readonly commits_per_second: number;
    readonly pages_per_commit: number;
    readonly requests: ExplainedRequests;
    readonly uploaded_bytes: number;
    readonly stored_bytes: number;
    readonly growth_bytes: number;
    readonly providers: readonly {
      readonly provider: "s3" | "tigris" | "r2" | "b2";
      readonly storage_usd: number;
      readonly requests_usd: number;
      /** Without the egress. */
      readonly total_usd: number;
      readonly egress_usd: number;
      /** Month of the price list, as YYYY-MM. */
      readonly prices_as_of: string;
    }[];
  };
  readonly problems: readonly ExplainedProblem[];
}

/** The first line of `watch`: the configuration is valid, and the databases are found. */
export interface StartedEvent {
  readonly event: "started";
  /** The number of databases that were found. */
  readonly databases: number;
  readonly destination: string;
}

/** A database that was missing at the start of a watch is restored. */
interface RestoredEvent {
  readonly event: "restored";
  readonly database: string;
  readonly path: string;
  readonly txid: number;
  readonly time: string | null;
  readonly bytes: number;
}

type Compacted = Extract<WatchEvent, { event: "compacted" }>;

/** An event of `watch` with the keys of its line. */
export type PrintedWatchEvent =
  | StartedEvent
  | RestoredEvent
  | Exclude<WatchEvent, Compacted>
  | (Omit<Compacted, "minTxid" | "maxTxid"> & { readonly min_txid: number; readonly max_txid: number });

/** A line of `watch`; `event` tells the kinds apart. */
export type WatchDocument = PrintedWatchEvent & { readonly at: string };

type PrintedKey<K> = K extends "timeMs" ? "time" : K extends "fromTxid" ? "from_txid" : K;
type PrintedReplicaEvent<E> = E extends ReplicaEvent
  ? { readonly [K in keyof E as PrintedKey<K>]: K extends "timeMs" ? string : E[K] }
  : never;

/** A line of `replicate`; `event` tells the kinds apart. */
export type ReplicaDocument = PrintedReplicaEvent<ReplicaEvent> & { readonly at: string };

/** A line of `serve`: the first one, and those of `replicate` with the name of the database. */
export type ServeDocument = (
  | { readonly event: "serving"; readonly url: string }
  | (PrintedReplicaEvent<ReplicaEvent> & { readonly database: string })
) & { readonly at: string };

/** A problem and its remedy. */
export interface ProblemDocument {
  /** An `ErrorCode`. */
  readonly code: string;
  readonly message: string;
  /** The remedy, as a sentence. */
  readonly hint: string | null;
}

/** One database of `sync`. */
export interface SyncedDocument {
  readonly name: string;
  readonly path: string;
  readonly destination: string;
  /** `behind`: not in time; `stopped`: the database is not replicated. */
  readonly outcome: "synced" | "behind" | "stopped";
  readonly uploaded_txid: number;
  readonly pending_files: number;
  readonly pending_bytes: number;
  readonly duration_ms: number;
  /** The acknowledged objects that the bucket lacked, as a clause; a new snapshot replaces them. */
  readonly missing: string | null;
  /** Why it is not synced. */
  readonly problem: ProblemDocument | null;
}

/** The output of `sync`. */
export interface SyncDocument {
  readonly synced: boolean;
  readonly databases: readonly SyncedDocument[];
  readonly silent_watches: readonly { readonly pid: number; readonly problem: ProblemDocument }[];
}

/** The result of one check of `doctor`. */
export interface CheckDocument {
  /** The part of the surroundings that the check is about. */
  readonly area: "destination" | "database" | "machine" | "watch";
  /** The stable name of the check. */
  readonly check: string;
  /** The URL of the destination or the path of the database; null for the machine and the watch. */
  readonly subject: string | null;
  readonly status: "ok" | "warning" | "failure";
  readonly message: string;
  /** The remedy, as a sentence to the user. */
  readonly hint: string | null;
  /** The exit code that a failure stands for; 0 otherwise. */
  readonly exit: number;
}

/** The output of `doctor`. */
export interface DoctorDocument {
  readonly status: CheckDocument["status"];
  /** The exit code of the worst failure. */
  readonly exit: number;
  readonly checks: readonly CheckDocument[];
}

/** One database of `restore --all`; `status` tells the kinds apart. */
export type RestoreAllDatabase =
  | (RestoreDocument & { readonly status: "restored" | "planned"; readonly error: null })
  | {
      readonly status: "unchanged";
      readonly name: string;
      readonly restored: false;
      readonly output: string;
      readonly txid: number;
      readonly time: string;
      readonly bytes: number;
      readonly error: null;
    }
  | {
      readonly status: "failed";
      readonly name: string;
      readonly restored: false;
      readonly output: string;
      readonly error: ErrorDocument["error"];
    };

/** The output of `restore --all`. */
export interface RestoreAllDocument {
  readonly into: string;
  readonly prefix: string | null;
  readonly dry_run: boolean;
  readonly databases: readonly RestoreAllDatabase[];
  /** Numbers of databases by status. */
  readonly restored: number;
  readonly planned: number;
  readonly unchanged: number;
  readonly failed: number;
  readonly duration_ms: number;
}
