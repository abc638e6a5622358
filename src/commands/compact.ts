/**
 * `walrust compact` (alias `prune`): merges increments now and applies retention. Without `--force` it only
 * plans.
 *
 * A prefix has one writer: if a watch on this machine replicates the database, `compact` asks that watch.
 */
import { tmpdir } from "node:os";
import { resolveDatabaseConfig } from "../config/config.ts";
import type { DatabaseEntry } from "../config/database-entries.ts";
import { givenOf, resolveOptions, type Sources, valuesOf } from "../config/resolve.ts";
import { COMPACT_OPTIONS, PATIENCE_OPTIONS, PROGRESS_OPTIONS } from "../config/settings/options.ts";
import {
  COMPACTION_OPTIONS,
  KEEP_OPTIONS,
  STATE_OPTIONS,
  STORE_OPTIONS,
} from "../config/settings/settings.ts";
import { stopText, walrustAtOrNull } from "../database/files/file-users.ts";
import { takeHostLockOrNull } from "../database/files/host-lock.ts";
import { entriesByName } from "../discovery/finder.ts";
import { WalrustError } from "../errors.ts";
import { hex } from "../format/chain.ts";
import type { RuntimeFolders } from "../local/folders/runtime-folder.ts";
import { makeTempFolder, type TempFolder } from "../local/temp-folder.ts";
import type { WorkProgress } from "../replication/context/work-meter.ts";
import { databasePathOrNull } from "../replication/control/announcements.ts";
import { askWatchByNameOrNull } from "../replication/control/control-client.ts";
import {
  type GivenUpkeep,
  type UpkeepConfig,
  type UpkeepResult,
  upkeepOnce,
} from "../replication/upkeep/maintenance.ts";
import { listObjects } from "../storage/bucket/catalog.ts";
import { type WalkedDatabase, walkDatabases } from "../storage/bucket/database-walk.ts";
import { concernsOneDatabase } from "../storage/bucket/error-scope.ts";
import {
  assertNotForeign,
  detectForeignLayoutOrNull,
  ForeignLayoutError,
  foreignErrorOr,
  isDoubtful,
} from "../storage/bucket/foreign-layout.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { meteredStore } from "../storage/guard/metered-store.ts";
import type { CompactDocument, CompactedDatabase } from "./shared/documents.ts";
import { localPlaces, runtimeFolders } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { countOf, formatBytes, printJson, printLine } from "./shared/output.ts";
import { progressOf } from "./shared/progress-of.ts";
import { ManyProgress } from "./shared/progress-of-many.ts";
import {
  type Invocation,
  NAME_MEANING,
  STORAGE_EXIT,
  settingsOf,
  USAGE_EXIT,
  type Verb,
} from "./shared/verb.ts";

/** The verb `compact`. */
export const compactVerb: Verb = {
  name: "compact",
  aliases: ["prune"],
  summary: "Merge increments and delete expired objects; without --force, only print the plan",
  usage: "NAME | --all [-b URL]",
  options: [STORE_OPTIONS, COMPACT_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS, PROGRESS_OPTIONS],
  positionals: { name: "NAME", min: 0, max: 1, meaning: NAME_MEANING },
  examples: [
    ["walrust compact app -b s3://my-bucket/vm1", "print the plan: merges and deletions"],
    ["walrust compact app -b s3://my-bucket/vm1 --force", "merge and delete as planned"],
    [
      "walrust compact --all --hourly 48 -b s3://my-bucket/vm1 --force",
      "all databases, with more hourly snapshots",
    ],
  ],
  exitCodes: [
    [0, "done; without --force: the plan is printed"],
    USAGE_EXIT,
    [3, "a watch on this machine holds the database and does not answer, or TMPDIR is not writable"],
    STORAGE_EXIT,
    [5, "integrity: a source of a merge is damaged; nothing that the merge covers was deleted"],
    [6, "no backup of NAME exists, or another program wrote it"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const values = settingsOf(invocation, COMPACT_OPTIONS);
  const [name] = invocation.words.positionals;
  if ((name === undefined) === !values.all) {
    throw new WalrustError("usage", "Give the NAME of a database, or --all", {
      hint: "`walrust list` shows the names",
    });
  }
  return withPatience(invocation, async (store) => {
    const work = { verb: "compact", label: "compacting", unit: "read" } as const;
    const many = name === undefined ? new ManyProgress(progressOf(invocation), work) : null;
    try {
      return await compactEach(invocation, store, name, many);
    } finally {
      many?.end();
    }
  });
}

/** Compacts the named database, or all, and prints the outcome. @returns the exit code */
async function compactEach(
  invocation: Invocation,
  store: ObjectStore,
  name: string | undefined,
  many: ManyProgress | null,
): Promise<number> {
  const { force } = settingsOf(invocation, COMPACT_OPTIONS);
  const places = localPlaces(invocation);
  const entries = await entriesByName(invocation.sources, store.url, invocation.env, places);
  const all = name === undefined ? await compactable(store, invocation.signal) : [{ name, problem: null }];
  many?.start(all.length);
  const compact = (database: string, from: CountedStore): Promise<UpkeepResult> =>
    compactOne(invocation, from, database, entries, force);
  const results: UpkeepResult[] = [];
  const failures: { readonly name: string; readonly error: WalrustError }[] = [];
  for (const { name: database, problem } of all) {
    try {
      if (problem !== null) throw problem;
      const result =
        many === null
          ? await whileShown(invocation, database, store, (counted) => compact(database, counted))
          : await compact(
              database,
              countedStore(store, (doneBytes) => many.update(database, doneBytes, 0)),
            );
      results.push(result);
    } catch (error) {
      // With --all, one database stops no other, unless it is the only one and foreign.
      const isTheAnswer = error instanceof ForeignLayoutError && all.length === 1;
      if (name !== undefined || isTheAnswer || !concernsOneDatabase(error)) throw error;
      const isForeign = error instanceof ForeignLayoutError;
      if (isForeign) invocation.env.log.warn(`${error.message}; skipped`, { hint: error.hint });
      else {
        invocation.env.log.error(`${database} is not compacted: ${error.message}`, { hint: error.hint });
        failures.push({ name: database, error });
      }
    } finally {
      many?.complete(database);
    }
  }
  if (invocation.isJson) {
    const errors = failures.map(({ name, error: { code, message } }) => ({ name, code, message }));
    printJson({ force, databases: results.map(jsonOf), errors } satisfies CompactDocument);
  } else for (const result of results) report(result, force);
  return failures[0]?.error.exitCode ?? 0;
}

/** The databases of `--all`, sorted by name. */
async function compactable(
  store: ObjectStore,
  signal: AbortSignal,
): Promise<{ readonly name: string; readonly problem: WalrustError | null }[]> {
  const found: WalkedDatabase[] = [];
  for await (const walked of walkDatabases(store, signal)) {
    const { name, objects, hasOthers, problem } = walked;
    const isEmpty = objects.length === 0 && problem === null;
    if (isEmpty && !(hasOthers && (await detectForeignLayoutOrNull(store, name, signal)) !== null)) continue;
    found.push({ ...walked, objects: [] });
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function compactOne(
  invocation: Invocation,
  { store, onRead }: CountedStore,
  name: string,
  entries: ReadonlyMap<string, DatabaseEntry>,
  force: boolean,
): Promise<UpkeepResult> {
  const { env, version, signal } = invocation;
  const { config, given } = upkeepConfig(invocation.sources, entries.get(name) ?? null);
  const objects = await listObjects(store, name, signal);
  if (isDoubtful(objects)) await assertNotForeign(store, name, signal);
  if (objects.length === 0) {
    throw new WalrustError("restore", `No backup of ${JSON.stringify(name)} in ${store.url}`, {
      hint: "`walrust list` shows all databases",
    });
  }
  // Defaults are not sent: the watch keeps its own settings where the user gave none.
  const request = {
    verb: "compact",
    name,
    destination: store.location,
    force,
    given,
  } as const;
  const folders = runtimeFolders(invocation);
  const asker = { env, signal, onProgress: ({ doneBytes }: WorkProgress) => onRead(doneBytes) };
  const asked = await askWatchByNameOrNull(store.location, name, request, asker, folders);
  if (asked !== null) return asked as UpkeepResult;
  const release = force ? lockHere(store.location, name, folders) : () => {};
  let folder: TempFolder | null = null;
  try {
    folder = makeFolder();
    const target = { store, name, spoolFolder: folder.path, writer: hex(env.randomBytes(16)), version, env };
    return await upkeepOnce(target, config, force, signal);
  } catch (error) {
    throw await foreignErrorOr(error, store, name, signal);
  } finally {
    folder?.remove();
    release();
  }
}

/** Shows the bytes that a work reads from the store. */
async function whileShown<T>(
  invocation: Invocation,
  name: string,
  store: ObjectStore,
  run: (counted: CountedStore) => Promise<T>,
): Promise<T> {
  const work = { verb: "compact", database: name, label: `compacting ${name}`, unit: "read" } as const;
  const progress = progressOf(invocation).begin(work);
  try {
    return await run(countedStore(store, (doneBytes) => progress.update({ doneBytes, totalBytes: null })));
  } finally {
    progress.end();
  }
}

/** A store that counts what the compaction of one database reads. */
interface CountedStore {
  readonly store: ObjectStore;
  /** Takes the bytes that a watch has read so far in place of this process. */
  readonly onRead: (doneBytes: number) => void;
}

function countedStore(inner: ObjectStore, onRead: CountedStore["onRead"]): CountedStore {
  let doneBytes = 0;
  const store = meteredStore(inner, {
    onRead: (byteCount) => {
      doneBytes += byteCount;
      onRead(doneBytes);
    },
  });
  return { store, onRead };
}

/** A temporary folder for merged objects until their upload. */
function makeFolder(): TempFolder {
  return makeTempFolder(
    tmpdir(),
    "walrust-compact-",
    "Set TMPDIR to a folder with room for the merged objects",
  );
}

/** The settings of one database, and the part of them that a flag or the configuration file gives. */
function upkeepConfig(
  sources: Sources,
  entry: DatabaseEntry | null,
): { readonly config: UpkeepConfig; readonly given: GivenUpkeep } {
  const retention = resolveOptions(sources, KEEP_OPTIONS, entry);
  const compaction = resolveOptions(sources, COMPACTION_OPTIONS, entry);
  const config = {
    compaction: resolveDatabaseConfig(sources, entry).compaction,
    retention: valuesOf(retention),
  };
  return { config, given: { compaction: givenOf(compaction), retention: givenOf(retention) } };
}

/** Takes the host lock of the database, if it is on this machine. @throws WalrustError code "locked" */
function lockHere(destination: string, name: string, folders: RuntimeFolders): () => void {
  const path = databasePathOrNull(destination, name, folders);
  const release = path === null ? (): void => {} : takeHostLockOrNull(path);
  if (release !== null) return release;
  const holder = path === null ? null : walrustAtOrNull(path);
  const who = holder === null ? "" : ` (pid ${holder.pid})`;
  throw new WalrustError("locked", `Another walrust holds ${path} and does not answer${who}`, {
    hint: `Try again, or stop that walrust first${holder === null ? "" : ` (${stopText([holder])})`}`,
  });
}

function jsonOf(result: UpkeepResult): CompactedDatabase {
  const { kept, deleted, deletedBytes } = result.retention;
  return {
    name: result.name,
    compacted: result.compacted.map(({ level, minTxid, maxTxid, key, bytes, sources, sourceBytes }) => ({
      level,
      min_txid: minTxid,
      max_txid: maxTxid,
      key,
      bytes,
      sources,
      source_bytes: sourceBytes,
    })),
    expired: result.expired,
    kept_snapshots: kept.map(({ txid, timeMs, reasons }) => ({
      txid,
      time: new Date(timeMs).toISOString(),
      reasons,
    })),
    deleted,
    deleted_bytes: deletedBytes,
    refused: refusedKeys(result),
  };
}

/** Keys that the store refused to delete. */
function refusedKeys({ refused = [], retention }: UpkeepResult): string[] {
  return [...refused, ...(retention.refused ?? [])];
}

function report(result: UpkeepResult, force: boolean): void {
  const { name, compacted, expired, retention } = result;
  const verb = force ? "" : "would be ";
  for (const { level, minTxid, maxTxid, sources, sourceBytes } of compacted) {
    const what = `TXID ${minTxid} to ${maxTxid}: ${countOf(sources, "object")} (${formatBytes(sourceBytes)})`;
    printLine(`${name}: ${what} ${verb}merged into level ${level}`);
  }
  if (expired.length > 0) printLine(`${name}: ${expired.length} merged objects ${verb}deleted`);
  for (const { txid, timeMs, reasons } of retention.kept) {
    printLine(
      `${name}: snapshot of TXID ${txid}, ${new Date(timeMs).toISOString()}, kept (${reasons.join(", ")})`,
    );
  }
  const size = formatBytes(retention.deletedBytes);
  printLine(`${name}: ${countOf(retention.deleted.length, "object")} (${size}) ${verb}deleted by retention`);
  const refused = refusedKeys(result);
  if (refused.length > 0) {
    printLine(`${name}: ${countOf(refused.length, "object")} kept, because the store refused to delete them`);
  }
  if (!force) printLine(`${name}: nothing was changed; --force carries the plan out`);
}
