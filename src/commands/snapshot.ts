/**
 * `walrust snapshot`: uploads one snapshot now, consistent although the application goes on writing.
 */
import { relative } from "node:path";
import { PATIENCE_OPTIONS, PROGRESS_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import type { AttachTarget } from "../discovery/attach-target.ts";
import { DatabaseFinder } from "../discovery/finder.ts";
import { WalrustError } from "../errors.ts";
import { readState } from "../local/state.ts";
import type { WorkProgress } from "../replication/context/work-meter.ts";
import { databasePathOrNull } from "../replication/control/announcements.ts";
import { askWatchOrNull } from "../replication/control/control-client.ts";
import {
  type SnapshotPhase,
  type SnapshotResult,
  snapshotOnce,
} from "../replication/upkeep/snapshot-once.ts";
import { namesakeOrNull } from "../replication/watch/namesake.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { meteredStore } from "../storage/guard/metered-store.ts";
import { Semaphore } from "../storage/guard/semaphore.ts";
import type { SnapshotDocument } from "./shared/documents.ts";
import { warnOfUncheckable } from "./shared/integrity.ts";
import { localPlaces, runtimeFolders } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { formatBytes, printJson, printLine } from "./shared/output.ts";
import { RepeatedProgress } from "./shared/progress.ts";
import { progressOf } from "./shared/progress-of.ts";
import { type Invocation, STORAGE_EXIT, USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The verb `snapshot`. */
export const snapshotVerb: Verb = {
  name: "snapshot",
  summary: "Upload a snapshot of a database now",
  usage: "DATABASE [-b URL]",
  options: [STORE_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS, PROGRESS_OPTIONS],
  positionals: { name: "DATABASE", min: 1, max: 1, meaning: "Path of a database file" },
  examples: [
    ["walrust snapshot app.db -b file:///backup", "to a folder"],
    ["walrust snapshot app.db -b s3://my-bucket/vm1 --json", "to S3, with the result as JSON"],
  ],
  exitCodes: [
    [0, "the snapshot is in the bucket"],
    USAGE_EXIT,
    [3, "the database is missing, not SQLite, not in WAL mode, or locked by another process"],
    STORAGE_EXIT,
  ],
  savesMemory: true,
  run: async (invocation) =>
    withPatience(invocation, (store) => snapshot(invocation, store), invocation.words.positionals),
};

async function snapshot(invocation: Invocation, store: ObjectStore): Promise<number> {
  const { env, signal, isJson } = invocation;
  const startedMs = env.monotonicMs();
  const target = await databaseOf(invocation, store);
  const isNew = readState(target.paths).kind === "none";
  const asked = await askForSnapshot(invocation, target, store);
  if (asked === null) {
    const search = { location: store.location, env, folders: runtimeFolders(invocation) };
    const namesake = await namesakeOrNull(target, search, signal);
    if (namesake !== null) throw namesake;
  }
  const result = asked ?? (await takeSnapshot(invocation, target, store));
  const durationMs = Math.round(env.monotonicMs() - startedMs);
  if (isNew && asked === null) await warnOfUncheckable([target], { env, signal });
  const { name, txid, key, time, bytes, databaseBytes } = result;
  if (isJson) {
    const sizes = { bytes, database_bytes: databaseBytes };
    printJson({ name, txid, key, time, ...sizes, duration_ms: durationMs } satisfies SnapshotDocument);
  } else {
    const sizes = `${formatBytes(databaseBytes)} as ${formatBytes(bytes)}`;
    printLine(`${name}: snapshot of TXID ${txid} (${sizes}) in ${store.url} after ${durationMs} ms`);
  }
  return 0;
}

/** Has the watch of the database take a snapshot. @returns null when no watch runs */
async function askForSnapshot(
  invocation: Invocation,
  { name, path, paths }: AttachTarget,
  store: ObjectStore,
): Promise<SnapshotResult | null> {
  const { env, signal } = invocation;
  const shown = new SnapshotDisplay(invocation, name);
  const asker = {
    env,
    signal,
    onProgress: ({ phase, doneBytes, totalBytes }: WorkProgress) => shown[phase](doneBytes, totalBytes),
  };
  const request = { verb: "snapshot", path, destination: store.location } as const;
  try {
    const asked = await askWatchOrNull(paths.folder, request, asker, runtimeFolders(invocation));
    return asked as SnapshotResult | null;
  } finally {
    shown.end();
  }
}

/** Takes a snapshot in this process, and shows its progress. */
async function takeSnapshot(
  invocation: Invocation,
  target: AttachTarget,
  inner: ObjectStore,
): Promise<SnapshotResult> {
  const { env, version, signal } = invocation;
  const shown = new SnapshotDisplay(invocation, target.name);
  let [sentBytes, totalBytes] = [0, 0];
  const onSent = (byteCount: number): void => {
    sentBytes = Math.min(totalBytes, sentBytes + byteCount);
    shown.uploading(sentBytes, totalBytes);
  };
  const onPhase = (phase: SnapshotPhase): void => {
    if (phase.kind === "reading") return shown.reading(phase.doneBytes, phase.totalBytes);
    [sentBytes, totalBytes] = [0, phase.totalBytes];
    shown.uploading(0, totalBytes);
  };
  const store = meteredStore(inner, { onSent });
  try {
    return await snapshotOnce(target, { store, env, version, anchors: new Semaphore(1), onPhase }, signal);
  } finally {
    shown.end();
  }
}

/** Shows the progress of a snapshot: first of the reading of the database, then of the upload. */
class SnapshotDisplay {
  readonly #reading: RepeatedProgress;
  readonly #uploading: RepeatedProgress;

  constructor(invocation: Invocation, name: string) {
    const display = progressOf(invocation);
    const workOf = (label: string, unit: "read" | "sent") =>
      new RepeatedProgress(display, { verb: "snapshot", database: name, label, unit });
    this.#reading = workOf(`reading ${name}`, "read");
    this.#uploading = workOf(`uploading ${name}`, "sent");
  }

  reading(doneBytes: number, totalBytes: number | null): void {
    this.#uploading.end();
    this.#reading.update({ doneBytes, totalBytes });
  }

  uploading(doneBytes: number, totalBytes: number | null): void {
    this.#reading.end();
    this.#uploading.update({ doneBytes, totalBytes });
  }

  end(): void {
    this.#reading.end();
    this.#uploading.end();
  }
}

/** The named database, under the name that a watch with the same configuration gives it. */
async function databaseOf(invocation: Invocation, store: ObjectStore): Promise<AttachTarget> {
  const { words, sources, env } = invocation;
  const places = localPlaces(invocation);
  const options = { paths: words.positionals, file: sources.file, destination: store.url, places };
  const { databases, missing, collisions } = await new DatabaseFinder(options, env).find();
  const [found] = databases;
  if (collisions[0] !== undefined) throw collisions[0];
  if (missing[0] !== undefined) {
    const [word = ""] = words.positionals;
    throw await namedInsteadOr(missing[0].error, word, store, invocation);
  }
  if (databases.length === 1 && found !== undefined) return found;
  throw new WalrustError("usage", `${words.positionals[0]} names ${databases.length} databases`, {
    hint: "Give walrust snapshot one database",
  });
}

/**
 * The error about a missing path. Its hint gives the path of the database with this name, if there is one.
 */
async function namedInsteadOr(
  error: WalrustError,
  name: string,
  store: ObjectStore,
  invocation: Invocation,
): Promise<WalrustError> {
  const { sources, env } = invocation;
  const places = localPlaces(invocation);
  const options = { paths: [], file: sources.file, destination: store.url, places };
  const finder = new DatabaseFinder(options, env);
  // If a glob cannot be read, the error about the path is still the one to report.
  const { databases } = await finder.find().catch(() => ({ databases: [] }));
  const configured = databases.find((database) => database.name === name)?.path;
  const path = configured ?? databasePathOrNull(store.location, name, runtimeFolders(invocation));
  if (path === null) return error;
  const near = relative(process.cwd(), path);
  const shown = near.startsWith("..") ? path : near;
  const hint = `snapshot takes a path: did you mean ${shown}, whose name in the bucket is ${name}?`;
  const { code, message, context, cause } = error;
  return new WalrustError(code, message, { hint, context, cause });
}
