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
 * - the bucket holds a backup of another program there: refused, nothing is written into it.
 */
import { rmSync, statSync } from "node:fs";
import { applyBatch, checksumOfFileOrNull } from "../database/page-sums.ts";
import { Pin } from "../database/pin.ts";
import { Uint32List } from "../database/scratch.ts";
import type { Env } from "../env.ts";
import { EXIT_CODES, hasCode, WalrustError } from "../errors.ts";
import { CHAIN_ZERO, hex } from "../format/chain.ts";
import { pageChecksumInto } from "../format/crc64.ts";
import { SNAPSHOT_LEVEL } from "../format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../format/ltx.ts";
import { LtxDecoder } from "../format/ltx-decoder.ts";
import { NO_CHECKSUM, type Txid } from "../format/types.ts";
import {
  type LtxObject,
  listObjects,
  newestObjectOrNull,
  readHeader,
  readTrailer,
} from "../storage/catalog.ts";
import { detectForeignLayoutOrNull, type ForeignLayout } from "../storage/foreign-layout.ts";
import { decodeMetadata } from "../storage/object-metadata.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { Predecessor } from "./anchor.ts";
import type { LiveDatabase } from "./live-database.ts";
import { type RemoteStatus, remoteStatus, uploadedTxidOf } from "./remote-status.ts";
import { clearSpool, isChainLink, loadSpool, type SpoolFile, spoolChunks } from "./spool.ts";
import { sentBytes } from "./spool-cache.ts";
import {
  createStateFolder,
  type DatabaseState,
  databaseFileOf,
  isSameDatabaseFile,
  readState,
  type StateFolder,
} from "./state.ts";

/** What is to be attached and where it goes. */
export interface AttachTarget {
  /** Real path of the database file. */
  readonly path: string;
  readonly name: string;
  readonly paths: StateFolder;
}

/** The attached database and what has to happen next. */
export interface Attached {
  readonly live: LiveDatabase;
  /** Null: continue with captures. Otherwise: anchor, after this predecessor, for this reason. */
  readonly anchor: { readonly before: Predecessor; readonly reason: string } | null;
  /** Whether a snapshot is needed because the bucket lost what the state counts on. */
  readonly needsSnapshot: boolean;
}

/**
 * Pins the database and decides how its history continues.
 * @throws WalrustError codes database, not-wal, locked, database-busy, or a storage code
 */
export async function attach(target: AttachTarget, store: ObjectStore, env: Env): Promise<Attached> {
  const pin = Pin.open(target.path, env);
  try {
    createStateFolder(target.paths);
    const { path, name, paths } = target;
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
    };
    return await decide(live, store, env);
  } catch (error) {
    pin.close();
    throw error;
  }
}

async function decide(live: LiveDatabase, store: ObjectStore, env: Env): Promise<Attached> {
  const local = readLocal(live, store.url);
  if (typeof local === "string") return adopt(live, store, env, local);
  const { state, files } = local;
  const uploadedTxid = uploadedTxidOf(state.txid, files);
  const remote = await remoteStatusOrUnknown(store, live.name, uploadedTxid, state.txid, env);
  if (remote === "ahead") return adopt(live, store, env, "the bucket is ahead of the local state");
  if (remote === "empty" && uploadedTxid > 0) {
    return adopt(live, store, env, "the bucket has lost every object of this database");
  }
  live.state = state;
  live.isBucketUnseen = remote === "unknown";
  live.pending.push(...files);
  // Equal salts and frames do not say that the file below the WAL is the one they were written for.
  const isOther =
    state.file !== undefined && !isSameDatabaseFile(state.file, databaseFileOf(live.pin.databaseFd));
  if (isOther) live.pinLost = "the database file was written while it was not watched";
  const needsSnapshot = remote === "behind";
  if (needsSnapshot) {
    env.log.warn("the bucket lacks objects that were acknowledged; a new snapshot follows", {
      database: live.name,
    });
  }
  if (!areSumsSound(live, state, files)) {
    const reason = "the page sums are lost";
    return { live, anchor: { before: state, reason }, needsSnapshot };
  }
  return { live, anchor: null, needsSnapshot };
}

/** Why there is nothing to continue from where nothing is wrong. */
const NO_STATE = "there is no local state";

/** The local state with its pending files, or why there is none that can be used. */
function readLocal(
  live: LiveDatabase,
  destination: string,
): { state: DatabaseState; files: SpoolFile[] } | string {
  const reading = readState(live.paths);
  if (reading.kind === "none") return NO_STATE;
  if (reading.kind === "lost") return `the local state is lost (${reading.reason})`;
  const { state } = reading;
  if (state.destination !== destination || state.name !== live.name) {
    return `the local state belongs to another destination (${state.destination} ${state.name})`;
  }
  const spool = loadSpool(live.paths.spoolFolder, state.txid, state.chain);
  if (spool.kind === "pending") return { state, files: spool.files };
  return `captured files are lost (${spool.reason})`;
}

/** The bucket's status; a bucket that cannot be reached must not keep us from capturing. */
async function remoteStatusOrUnknown(
  store: ObjectStore,
  name: string,
  uploadedTxid: Txid,
  stateTxid: Txid,
  env: Env,
): Promise<RemoteStatus | "unknown"> {
  try {
    return await remoteStatus(store, name, uploadedTxid, () => stateTxid);
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
 * uploaded is in the database itself and comes back with the full anchor.
 */
export async function adopt(
  live: LiveDatabase,
  store: ObjectStore,
  env: Env,
  reason: string,
): Promise<Attached> {
  const objects = await objectsOrNone(live, store);
  const newest = newestObjectOrNull(objects);
  const writer = live.state?.writer ?? hex(env.randomBytes(16));
  if (newest === null) await assertNotForeign(live.name, store, env);
  const before =
    newest === null ? null : await predecessorOrForeign(newest, objects, live.name, writer, store);
  forgetLocal(live);
  if (newest === null || before === null) {
    // Said only now: as long as the bucket cannot be looked at, this is tried again and again.
    if (reason !== NO_STATE) env.log.warn(`${reason}: a new history begins`, { database: live.name });
    const begun = "a new history begins";
    return {
      live,
      anchor: { before: noPredecessor(store, live.name, writer), reason: begun },
      needsSnapshot: false,
    };
  }
  env.log.warn(`${reason}: continuing after TXID ${newest.maxTxid} of the bucket with a full file`, {
    database: live.name,
    txid: newest.maxTxid,
  });
  return { live, anchor: { before, reason }, needsSnapshot: false };
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
  live.pending.length = 0;
  rmSync(live.paths.statePath, { force: true });
  clearSpool(live.paths.spoolFolder);
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

/** @throws WalrustError code "foreign-writer" when the newest object is somebody else's */
async function predecessorOrForeign(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
): Promise<Predecessor> {
  try {
    return await predecessorOf(newest, objects, name, writer, store);
  } catch (error) {
    if (!hasCode(error, "corrupt")) throw error;
    const layout = await detectForeignLayoutOrNull(store, name);
    throw layout === null ? error : refusal(name, store, layout);
  }
}

/** What the next TXID is applied to, read from the newest object itself. */
async function predecessorOf(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
): Promise<Predecessor> {
  const header = await readHeader(store, newest.key);
  const trailer = await readTrailer(store, newest, header);
  const head = await store.head(newest.key);
  const metadata = decodeMetadata(newest.key, head.metadata);
  const isUnchecked = (header.flags & FLAG_NO_CHECKSUM) !== 0;
  return {
    destination: store.url,
    name,
    writer,
    txid: newest.maxTxid,
    timeMs: header.timestampMs,
    checksum: isUnchecked ? NO_CHECKSUM : trailer.postApplyChecksum,
    chain: metadata.chain ?? hex(CHAIN_ZERO),
    snapshot: await newestSnapshotOrNull(objects, store),
  };
}

/** TXID and time of the newest snapshot that is stored. */
async function newestSnapshotOrNull(
  objects: readonly LtxObject[],
  store: ObjectStore,
): Promise<Predecessor["snapshot"]> {
  const newest = newestObjectOrNull(objects.filter(({ level }) => level === SNAPSHOT_LEVEL));
  if (newest === null) return null;
  return { txid: newest.maxTxid, timeMs: (await readHeader(store, newest.key)).timestampMs };
}

/** Whether the page sums belong to the state, after replaying the newest capture if a crash left it out. */
function areSumsSound(live: LiveDatabase, state: DatabaseState, files: readonly SpoolFile[]): boolean {
  const path = live.paths.sumsPath;
  if (checksumOfFileOrNull(path, state.commit) === state.checksum) return true;
  const newest = files.find((file) => file.maxTxid === state.txid && isChainLink(file));
  if (newest === undefined) return false;
  try {
    replaySums(path, newest, state);
  } catch (error) {
    if (hasCode(error, "corrupt") || hasCode(error, "database")) return false;
    throw error;
  }
  return checksumOfFileOrNull(path, state.commit) === state.checksum;
}

/** Applies the sums of a spool file's pages again; the result is judged by its checksum. */
function replaySums(path: string, file: SpoolFile, state: DatabaseState): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) return;
  const pgnos = new Uint32List();
  const low = new Uint32List();
  const high = new Uint32List();
  const sum = new Uint32Array(2);
  eachSpoolPage(file, (pgno, page) => {
    pageChecksumInto(pgno, page, sum);
    pgnos.push(pgno);
    low.push(sum[0]!);
    high.push(sum[1]!);
  });
  const batch = { pgnos: pgnos.view(), low: low.view(), high: high.view() };
  applyBatch(path, Math.floor(size / 8), state.commit, batch, state.pageSizeBytes);
}

/** Decodes a spool file page by page in bounded memory. */
function eachSpoolPage(file: SpoolFile, onPage: (pgno: number, page: Uint8Array) => void): void {
  const decoder = new LtxDecoder();
  for (const chunk of spoolChunks(file)) {
    decoder.push(chunk);
    while (decoder.next()) onPage(decoder.pgno, decoder.page);
  }
  decoder.finish();
}
