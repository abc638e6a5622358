/**
 * The functions of the library. Each runs the verb of its name in a child process with the options of the
 * application, and returns the document that the verb prints with `--json`.
 *
 * No state outlives a call, no signal is handled, and nothing is written to the application's output.
 */
import type {
  CompactDocument,
  ListDocument,
  NothingRestoredDocument,
  ReplicaDocument,
  RestoreDocument,
  SnapshotDocument,
  VerifyDocument,
  WatchDocument,
} from "../commands/shared/documents.ts";
import {
  COMPACT_OPTIONS,
  PATIENCE_OPTIONS,
  REPLICATE_OPTIONS,
  RESTORE_OPTIONS,
  VERIFY_OPTIONS,
} from "../config/settings/options.ts";
import { type ChildOptions, runToEnd, startChild, type VerbCall } from "./child-call.ts";
import type { GivenFlags } from "./flag-words.ts";
import { RunningWalrust } from "./running-walrust.ts";

/** Options of a call that gives up when the store does not answer. */
type Patient = ChildOptions & GivenFlags<typeof PATIENCE_OPTIONS>;

/** One database by its name in the bucket, or all of them. */
type NameOrAll =
  | { readonly name: string; readonly all?: false | undefined }
  | { readonly all: true; readonly name?: undefined };

/** Options of `watch`. Without `metrics`, the child serves no port. */
export type WatchCall = ChildOptions &
  ({ readonly databases: NonNullable<ChildOptions["databases"]> } | { readonly config: string });

/** Options of `snapshot`. */
export type SnapshotCall = Patient & {
  /** Path of the database file. */
  readonly database: string;
};

/** Options of a restore of all databases, which is a work for a person. */
type OfAll = "all" | "into" | "jobs" | "prefix";

/** Options of `restore`. */
export type RestoreCall = Patient &
  Omit<GivenFlags<typeof RESTORE_OPTIONS>, "output" | OfAll> & {
    /** Name of the database in the bucket. */
    readonly name: string;
    /** Path of the file to restore to. */
    readonly output: string;
  };

/** Options of `list`. */
export type ListCall = Patient & {
  /** Name of a database in the bucket; absent: all databases. */
  readonly name?: string | undefined;
};

/** Options of `verify`. */
export type VerifyCall = Patient & Omit<GivenFlags<typeof VERIFY_OPTIONS>, "all"> & NameOrAll;

/** Options of `compact`. */
export type CompactCall = Patient & Omit<GivenFlags<typeof COMPACT_OPTIONS>, "all"> & NameOrAll;

/** Options of `replicate`. */
export type ReplicateCall = ChildOptions &
  Omit<GivenFlags<typeof REPLICATE_OPTIONS>, "local"> & {
    /** URL of a database in a bucket; with the setting `bucket`, its name. */
    readonly source: string;
    /** Path of the replica's database file. */
    readonly local: string;
  };

/** A running `watch`. */
export type Watching = RunningWalrust<WatchDocument>;

/** A running `replicate`. */
export type Replicating = RunningWalrust<ReplicaDocument>;

const NO_FLAGS = {};

/** The longest that `watch` waits for its databases. */
const READY_LIMIT_MS = 5_000;

/**
 * Replicates databases to a bucket until it is closed, or until the application ends. The application goes on
 * using the databases with its own connections, which must have them in WAL mode.
 * @returns once each database that was found is replicated or has failed, and 5 s after the search at the
 * latest: a store that does not answer delays no application
 * @throws WalrustError "usage" or "config" for an option that cannot be used or a name that is not unique,
 * "database", "not-wal" or "locked" when no named database can be replicated, "missing-bucket" or "auth" when
 * the store refuses. A failure after 5 s rejects `ended`
 */
export async function watch(options: WatchCall): Promise<Watching> {
  const { config, metrics } = options;
  // Two applications on one machine would contend for the port.
  const isQuiet = config === undefined && metrics === undefined;
  const call = { verb: "watch", positionals: [], flags: NO_FLAGS, named: [] };
  return begin(call, isQuiet ? { ...options, metrics: { enabled: false } } : options, watchReadiness());
}

/**
 * Whether each database that was found at the start is replicated, is tried again or has stopped, event by
 * event. When all have stopped, walrust ends, and its failure is the answer.
 */
function watchReadiness(): (event: WatchDocument) => boolean {
  const known = new Map<string, boolean>();
  let wanted = Number.POSITIVE_INFINITY;
  return (event) => {
    if (event.event === "started") {
      wanted = event.databases;
      known.clear();
    }
    if (event.event === "watching" || event.event === "failed") known.set(event.database, true);
    if (event.event === "stopped") known.set(event.database, false);
    return known.size >= wanted && (wanted === 0 || [...known.values()].includes(true));
  };
}

/**
 * Uploads a snapshot of a database now: the running watch does it if there is one, on behalf of any process.
 * @returns when the snapshot is in the bucket
 * @throws WalrustError "usage", "config", "not-wal", "locked", "database" or a storage code
 */
export async function snapshot(options: SnapshotCall): Promise<SnapshotDocument> {
  return runToEnd(
    { verb: "snapshot", positionals: [options.database], flags: PATIENCE_OPTIONS, named: ["database"] },
    options,
  );
}

/**
 * Restores a verified copy of a database to a file that no connection has open.
 * @returns the point that was restored and the checks; with `ifDbNotExists` or `ifReplicaExists` perhaps only
 * the reason why nothing was to do
 * @throws WalrustError "usage" when the file exists and `force` is not set, "integrity" or "corrupt" when the
 * backup is damaged, "restore" when there is no such point, "database" when the file cannot be written, or a
 * storage code; the file is then as before
 */
export async function restore(
  options: RestoreCall & {
    readonly ifDbNotExists?: false | undefined;
    readonly ifReplicaExists?: false | undefined;
  },
): Promise<RestoreDocument>;
/** With `ifDbNotExists` or `ifReplicaExists`. */
export async function restore(options: RestoreCall): Promise<RestoreDocument | NothingRestoredDocument>;
export async function restore(options: RestoreCall): Promise<RestoreDocument | NothingRestoredDocument> {
  const { all, into, jobs, prefix, ...one } = RESTORE_OPTIONS;
  const flags = { ...one, ...PATIENCE_OPTIONS };
  return runToEnd({ verb: "restore", positionals: [options.name], flags, named: ["name"] }, options);
}

/**
 * Lists the databases of the destination with their restorable points.
 * @throws WalrustError "usage", "config", "restore" when there is no backup of the name, or a storage code
 */
export async function list(options: ListCall): Promise<ListDocument> {
  const { name } = options;
  const positionals = name === undefined ? [] : [name];
  return runToEnd({ verb: "list", positionals, flags: PATIENCE_OPTIONS, named: ["name"] }, options);
}

/**
 * Checks that backups can be restored. Damage is no error of the call: see `status`.
 * @throws WalrustError "usage", "config", "restore" when there is no backup of the name, or a storage code
 */
export async function verify(options: VerifyCall): Promise<VerifyDocument> {
  return runToEnd(nameOrAll("verify", options, { ...VERIFY_OPTIONS, ...PATIENCE_OPTIONS }), options);
}

/**
 * Merges increments and deletes expired objects with `force`; without, only plans. A failure of one of all
 * databases stands in `errors`.
 * @throws WalrustError "usage", "config", "locked", "restore" when there is no backup of the name,
 * "integrity" or "corrupt" when a source of a merge is damaged, or a storage code
 */
export async function compact(options: CompactCall): Promise<CompactDocument> {
  return runToEnd(nameOrAll("compact", options, { ...COMPACT_OPTIONS, ...PATIENCE_OPTIONS }), options);
}

/**
 * Keeps a local read replica up to date until it is closed, or with `once` until it is up to date. The
 * application may open the replica for reading.
 * @returns once the replica can be read, or with the first event that says why not
 * @throws WalrustError "usage", "config", "database" when `local` is no replica of the source, "restore" when
 * there is no backup yet, "integrity", "corrupt" or a storage code; a later failure rejects `ended`
 */
export async function replicate(options: ReplicateCall): Promise<Replicating> {
  const { source } = options;
  return begin(
    { verb: "replicate", positionals: [source], flags: REPLICATE_OPTIONS, named: ["source"] },
    options,
  );
}

function nameOrAll(
  verb: string,
  { name }: { readonly name?: string | undefined },
  flags: VerbCall["flags"],
): VerbCall {
  return { verb, positionals: name === undefined ? [] : [name], flags, named: ["name"] };
}

/** Starts a verb that runs until it is closed. */
async function begin<Event>(
  call: VerbCall,
  options: ChildOptions,
  isReady?: (event: Event) => boolean,
): Promise<RunningWalrust<Event>> {
  const { signal } = options;
  signal?.throwIfAborted();
  const running = new RunningWalrust<Event>(() => startChild(call, options), call.verb, signal, isReady);
  await running.ready(READY_LIMIT_MS);
  if (!signal?.aborted) return running;
  await running.close();
  throw signal.reason;
}
