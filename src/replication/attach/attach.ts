/**
 * Attaching: from a path to a live database with a position, by looking at three places: the local state, the
 * page sums and spool beside it, and the bucket. What they disagree on is decided here, each time with a
 * reason:
 *
 * - state, sums, spool and bucket agree: continue where it was.
 * - the sums lack the newest capture (a crash between two writes): replayed from its spool file.
 * - the bucket is ahead of the state, or the state is lost: adopt the bucket's newest TXID, re-anchor in
 *   full.
 * - the bucket lost objects that were acknowledged: said; a new snapshot makes the present restorable again.
 * - the bucket is empty: a new history begins.
 * - the state was copied here: this is a new writer, and the state counts as far as the bucket confirms it.
 * - the bucket holds a backup of another program there: refused, nothing is written into it.
 * - it was stopped because of another writer, whose object is still the newest: refused.
 */

import { rmSync } from "node:fs";
import { openPin } from "../../database/pin/open-pin.ts";
import { replacedError, resolvePath } from "../../database/pin/pinnable.ts";
import type { KnownFiles } from "../../database/wal/wal-owner.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { type Condition, EXIT_CODES, hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../../format/ltx.ts";
import { NO_CHECKSUM, TXID_MAX } from "../../format/types.ts";
import { clearSpool, loadSpool, type SpoolFile, uploadedTxidOf } from "../../local/spool.ts";
import { sentBytes } from "../../local/spool-cache.ts";
import {
  type DatabaseState,
  databaseFileOf,
  isSameDatabaseFile,
  isStillAtRest,
  readState,
  writeState,
} from "../../local/state.ts";
import { createStateFolder } from "../../local/state-folder.ts";
import {
  type LtxObject,
  listObjects,
  newestObjectOrNull,
  readHeader,
  readTrailer,
} from "../../storage/bucket/catalog.ts";
import { detectForeignLayoutOrNull, type ForeignLayout } from "../../storage/bucket/foreign-layout.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Predecessor } from "../capture/anchor.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import { gatherWalEvidence } from "../capture/wal-evidence.ts";
import type { OwnWriters } from "../context/own-writers.ts";
import { type RemoteStatus, remoteStatus, unconfirmedOrNull } from "../upload/bucket-status.ts";
import { assertNotMarked, writerText } from "../upload/foreign-writer.ts";
import { adoptedTimeMs } from "./adopted-time.ts";
import { areSumsSound } from "./sums-replay.ts";

/** The attached database and what has to happen next. */
export interface Attached {
  readonly live: LiveDatabase;
  /** Null: continue with captures. Otherwise: anchor, after this predecessor, for this reason. */
  readonly anchor: { readonly before: Predecessor; readonly reason: string } | null;
  /** Whether a snapshot is needed because the bucket lost what the state counts on. */
  readonly needsSnapshot: boolean;
}

/** What a process remembers of a database from before it was attached. */
export interface Remembered {
  /** The files of the last pin, or null. */
  readonly files?: KnownFiles | null;
  /** Whether its WAL got commits past the wal-index while it was pinned. */
  readonly hasUnseenCommits?: boolean;
  /** The ids that this process has written with. */
  readonly writers?: OwnWriters;
}

/** How the database can be held, beside how its history continues. */
export interface Grasped extends Attached {
  /** What an operator should know of it, or null. */
  readonly condition: Condition | null;
}

/**
 * Pins the database, or follows it loosely, and decides how its history continues.
 * @param remembered what this process knows of it from before
 * @throws WalrustError codes database, not-wal, foreign-wal, locked, database-busy, foreign-writer, or a
 * storage code
 */
export async function attach(
  target: AttachTarget,
  store: ObjectStore,
  env: Env,
  { files = null, hasUnseenCommits = false, writers }: Remembered = {},
): Promise<Grasped> {
  // A folder on the way may have become a link, to a database that is somebody else's.
  if (resolvePath(target.path) !== target.path) throw replacedError(target.path);
  const evidence = await gatherWalEvidence(target.path, target.paths, files, env);
  const { pin, condition } = openPin(target.path, env, evidence, hasUnseenCommits);
  try {
    createStateFolder(target.paths, target.path);
    const { path, name, paths } = target;
    await assertNotMarked(name, paths, store, env);
    const live: LiveDatabase = {
      path,
      name,
      paths,
      pin,
      state: null,
      pending: [],
      acknowledged: null,
      uploadedBytes: 0,
      sentBytes: sentBytes(paths.spoolFolder),
      mayRestart: false,
      changeCount: null,
      pinLost: null,
      ...(writers && { ownWriters: writers }),
    };
    return { ...(await decide(live, store, env)), condition };
  } catch (error) {
    pin.close();
    throw error;
  }
}

async function decide(live: LiveDatabase, store: ObjectStore, env: Env): Promise<Attached> {
  const local = readLocal(live, store.url);
  if ("reason" in local) return adopt(live, store, env, local.reason, local.writer);
  const { state, files } = local;
  if (local.isCopy) {
    const refused = await continueCopy(live, local, store, env);
    return refused === null ? continued(live, env, false) : adopt(live, store, env, refused);
  }
  const uploadedTxid = uploadedTxidOf(state.txid, files);
  const ask = (): Promise<RemoteStatus> => remoteStatus(store, live.name, uploadedTxid, () => state.txid);
  const remote = await orUnknown(ask, live.name, env);
  const { writer } = state;
  if (remote === "ahead") return adopt(live, store, env, "the bucket is ahead of the local state", writer);
  if (remote === "empty" && uploadedTxid > 0) {
    return adopt(live, store, env, "the bucket has lost every object of this database", writer);
  }
  live.state = state;
  live.isBucketUnseen = remote === "unknown";
  live.pending.push(...files);
  return continued(live, env, remote === "behind");
}

/** Goes on with the state and the pending files that were found sound. */
function continued(live: LiveDatabase, env: Env, needsSnapshot: boolean): Attached {
  const { state, pending } = live;
  if (state === null) throw new Error("there is a state to continue");
  // Equal salts and frames do not say that the file below the WAL is the one they were written for.
  const isOther = state.file !== undefined && !isSameDatabaseFile(state.file, databaseFileOf(live.pin));
  if (isOther) live.pinLost = "the database file was written while it was not watched";
  // All commits since are in the WAL, from its first frame on.
  live.mayRestart = isStillAtRest(state.file, live.pin);
  if (needsSnapshot) {
    env.log.warn("the bucket lacks objects that were acknowledged; a new snapshot follows", {
      database: live.name,
    });
  }
  if (!areSumsSound(live, state, pending)) {
    const reason = "the page sums are lost";
    return { live, anchor: { before: state, reason }, needsSnapshot };
  }
  return { live, anchor: null, needsSnapshot };
}

/** Why there is nothing to continue from where nothing is wrong. */
const NO_STATE = "there is no local state";

/** The local state with its pending files. */
interface LocalState {
  readonly state: DatabaseState;
  readonly files: readonly SpoolFile[];
  readonly isCopy: boolean;
}

/** Why there is no local state that can be used, and the id that we go on writing with, if it is known. */
interface NoLocalState {
  readonly reason: string;
  readonly writer?: string;
}

function readLocal(live: LiveDatabase, destination: string): LocalState | NoLocalState {
  const reading = readState(live.paths);
  if (reading.kind === "none") return { reason: NO_STATE };
  if (reading.kind === "lost") return { reason: `the local state is lost (${reading.reason})` };
  const { state, isCopy = false } = reading;
  if (state.destination !== destination || state.name !== live.name) {
    const other = `${state.destination} ${state.name}`;
    return { reason: `the local state belongs to another destination (${other})` };
  }
  const spool = loadSpool(live.paths.spoolFolder, state.txid, state.chain);
  if (spool.kind === "pending") return { state, files: spool.files, isCopy };
  const reason = `captured files are lost (${spool.reason})`;
  return isCopy ? { reason } : { reason, writer: state.writer };
}

/**
 * Goes on with a copied state under an id of its own, unless the bucket does not confirm it. While the bucket
 * cannot be looked at, the copy is captured from; it is looked at before the first upload.
 * @returns why the state cannot be used, or null
 */
async function continueCopy(
  live: LiveDatabase,
  { state, files }: LocalState,
  store: ObjectStore,
  env: Env,
): Promise<string | null> {
  const found = `the local state was copied here from another folder or machine (writer ${state.writer})`;
  const refused = await orUnknown(() => unconfirmedOrNull(live.name, state, files, store), live.name, env);
  live.state = { ...state, writer: hex(env.randomBytes(16)) };
  const isUnknown = refused === "unknown";
  if (refused !== null && !isUnknown) return `${found}, and ${refused}`;
  const only = "only one of the two may write there";
  env.log.warn(`${found}: going on after TXID ${state.txid} as a new writer; ${only}`, {
    database: live.name,
  });
  live.isBucketUnseen = isUnknown;
  live.isUnconfirmedCopy = isUnknown;
  live.pending.push(...files);
  if (!isUnknown) writeState(live.paths, live.state);
  return null;
}

/** What the bucket answers; one that cannot be reached must not keep us from capturing. */
async function orUnknown<T>(ask: () => Promise<T>, name: string, env: Env): Promise<T | "unknown"> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof WalrustError) || error.exitCode !== EXIT_CODES.storage) throw error;
    // Not out of reach but gone, such as a disk that is not mounted: nothing may be put in its place.
    if (error.code === "missing-bucket") throw error;
    env.log.warn(`cannot look at the bucket yet: ${error.message}`, { database: name });
    return "unknown";
  }
}

/**
 * Continues the bucket's history (or begins one) without a usable local state: what was captured and not
 * uploaded is in the database itself and comes back with the full anchor. Says whose history it is when that
 * is not ours.
 * @param knownWriter the id that we go on writing with; a new one if there is none
 */
export async function adopt(
  live: LiveDatabase,
  store: ObjectStore,
  env: Env,
  reason: string,
  knownWriter = live.state?.writer,
): Promise<Attached> {
  const objects = await objectsOrNone(live, store);
  const newest = newestObjectOrNull(objects);
  const writer = knownWriter ?? hex(env.randomBytes(16));
  if (newest === null) await assertNotForeign(live.name, store, env);
  const found =
    newest === null ? null : await predecessorOrForeign(newest, objects, live.name, writer, store, env);
  if (newest?.maxTxid === TXID_MAX) throw noTxidLeft(newest.key);
  forgetLocal(live);
  if (newest === null || found === null) {
    // Said only now: as long as the bucket cannot be looked at, this is tried again and again.
    if (reason !== NO_STATE) env.log.warn(`${reason}: a new history begins`, { database: live.name });
    const begun = "a new history begins";
    return {
      live,
      anchor: { before: noPredecessor(store, live.name, writer), reason: begun },
      needsSnapshot: false,
    };
  }
  const what = `continuing after TXID ${newest.maxTxid} of the bucket with a full file`;
  env.log.warn(`${reason}: ${what}${whoseText(live, found.writer, writer)}`, {
    database: live.name,
    txid: newest.maxTxid,
  });
  return { live, anchor: { before: found.before, reason }, needsSnapshot: found.isDamaged };
}

/** Whose the newest object is, if that is not plain: who else writes there has to stop. */
function whoseText({ name, ownWriters }: LiveDatabase, found: string | null, writer: string): string {
  if (found === writer) return "";
  if (ownWriters?.has(name, found) === true) return ", which this process wrote";
  const other = writerText(found);
  return `; that is the object of another writer, ${other}, who must write there no more`;
}

/**
 * The database's objects. A folder that does not exist yet is made by the first put; but only for a database
 * that was never replicated: otherwise it is a disk that is not mounted.
 */
async function objectsOrNone(live: LiveDatabase, store: ObjectStore): Promise<LtxObject[]> {
  try {
    return await listObjects(store, live.name);
  } catch (error) {
    const isFirstTime = live.state === null && !wasReplicatedTo(live, store.url);
    if (store.layout === "file" && isFirstTime && hasCode(error, "missing-bucket")) return [];
    throw error;
  }
}

/** Whether the local state is of this destination, or is lost and may have been. */
function wasReplicatedTo(live: LiveDatabase, destination: string): boolean {
  const reading = readState(live.paths);
  return reading.kind === "lost" || (reading.kind === "state" && reading.state.destination === destination);
}

/** The start of a history. */
function noPredecessor(store: ObjectStore, name: string, writer: string): Predecessor {
  const chain = hex(CHAIN_ZERO);
  return {
    destination: store.url,
    name,
    writer,
    txid: 0,
    timeMs: 0,
    checksum: NO_CHECKSUM,
    chain,
    snapshot: null,
  };
}

/** Drops what the local files claim: from here on the bucket and the database itself are the truth. */
function forgetLocal(live: LiveDatabase): void {
  live.state = null;
  live.isBucketUnseen = false;
  live.isUnconfirmedCopy = false;
  live.pending.length = 0;
  rmSync(live.paths.statePath, { force: true });
  clearSpool(live.paths.spoolFolder);
}

function noTxidLeft(key: string): WalrustError {
  return new WalrustError("integrity", `Nothing can follow ${key}: it has the last TXID that there is`, {
    hint: "No history gets that far: delete the object, or choose another prefix or name",
    context: { key },
  });
}

/** A history must not begin among somebody else's objects. @throws WalrustError code "foreign-writer" */
async function assertNotForeign(name: string, store: ObjectStore, env: Env): Promise<void> {
  const layout = await detectForeignLayoutOrNull(store, name);
  if (layout === null) return;
  // It has folders of its own, and Litestream 0.5 begins beside it likewise.
  if (layout.format !== "litestream-0.3") throw refusal(name, store, layout);
  env.log.warn(`${layout.title} lies there, too: ${layout.key}; it is left alone`, { database: name });
}

function refusal(name: string, store: ObjectStore, { title, key, format }: ForeignLayout): WalrustError {
  return new WalrustError("foreign-writer", `${name} in ${store.url} is ${title}: ${key}`, {
    hint: "Nothing is written into it. Choose another prefix or name; the old backup stays as it is",
    context: { database: name, format, key },
  });
}

/** What a history is continued after, and who wrote it, if it says so. */
interface FoundPredecessor {
  readonly before: Predecessor;
  readonly writer: string | null;
  /** Nothing leads over the newest object: what follows needs a snapshot of its own. */
  readonly isDamaged: boolean;
}

/** @throws WalrustError code "foreign-writer" when the newest object is somebody else's */
async function predecessorOrForeign(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
  env: Env,
): Promise<FoundPredecessor> {
  try {
    return await predecessorOf(newest, objects, name, writer, store, env);
  } catch (error) {
    if (!hasCode(error, "corrupt") && !hasCode(error, "integrity")) throw error;
    const layout = await detectForeignLayoutOrNull(store, name);
    if (layout !== null) throw refusal(name, store, layout);
    env.log.warn(`the newest object cannot be read: ${error.message}; a new snapshot follows`, {
      database: name,
      hint: "Run `walrust verify` to see which points are lost",
    });
    const before = { ...noPredecessor(store, name, writer), txid: newest.maxTxid };
    return { before, writer: null, isDamaged: true };
  }
}

/** What the next TXID is applied to, read from the newest object itself. */
async function predecessorOf(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
  env: Env,
): Promise<FoundPredecessor> {
  const header = await readHeader(store, newest.key);
  const trailer = await readTrailer(store, newest, header);
  const head = await store.head(newest.key);
  const metadata = decodeMetadata(newest.key, head.metadata);
  const isUnchecked = (header.flags & FLAG_NO_CHECKSUM) !== 0;
  const before = {
    destination: store.url,
    name,
    writer,
    txid: newest.maxTxid,
    timeMs: adoptedTimeMs(header.timestampMs, newest.key, name, env),
    checksum: isUnchecked ? NO_CHECKSUM : trailer.postApplyChecksum,
    chain: metadata.chain ?? hex(CHAIN_ZERO),
    snapshot: await newestSnapshotOrNull(objects, store, env),
  };
  return { before, writer: metadata.writer, isDamaged: false };
}

/** TXID and time of the newest snapshot that is stored and can be read; null makes a new one due. */
async function newestSnapshotOrNull(
  objects: readonly LtxObject[],
  store: ObjectStore,
  env: Env,
): Promise<Predecessor["snapshot"]> {
  const newest = newestObjectOrNull(objects.filter(({ level }) => level === SNAPSHOT_LEVEL));
  if (newest === null) return null;
  try {
    const { timestampMs } = await readHeader(store, newest.key);
    return { txid: newest.maxTxid, timeMs: Math.min(timestampMs, env.nowMs()) };
  } catch (error) {
    if (hasCode(error, "corrupt")) return null;
    throw error;
  }
}
