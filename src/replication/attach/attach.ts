/**
 * Attaches a database: pins its file and finds the position to continue from. Three places know the position:
 * the local state, the page sums and spool beside it, and the bucket. Where they disagree, this file decides:
 *
 * - State, sums, spool and bucket agree: captures continue.
 * - The sums lack the newest capture, after a crash between two writes: its spool file is replayed into them.
 * - The sums are lost: a full anchor is due.
 * - The bucket is ahead, or the state is lost: adopt.ts continues after the newest TXID of the bucket. The
 *   bucket is ahead, too, with a merge of files that wait: a power cut has taken the merge back.
 * - The bucket is empty although objects were acknowledged, or there is no state: adopt.ts begins a new
 *   history.
 * - The bucket lacks acknowledged objects: captures continue, and a new snapshot is due.
 * - The bucket lacks them, and the spool folder is gone, or a power cut has lost the newest spool file but
 *   not the state: the captures were not uploaded, and adopt.ts continues after the newest TXID of the
 *   bucket.
 * - The state was copied here: the copy gets a new writer id, and counts only if the bucket confirms the
 *   copy.
 * - The prefix belongs to another program or writer: the attach fails with code "foreign-writer".
 */
import { existsSync, statSync } from "node:fs";
import { Uint32List } from "../../database/files/scratch-buffers.ts";
import { openPin } from "../../database/pin/open-pin.ts";
import { replacedError, resolvePath } from "../../database/pin/pinnable.ts";
import type { KnownFiles } from "../../database/wal/wal-ownership.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { type Condition, EXIT_CODES, hasCode, WalrustError } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { applyBatch, checksumOfFileOrNull } from "../../local/page-sums.ts";
import { loadSpool, revivedTxidOf, type SpoolFile, spoolChunks, uploadedTxidOf } from "../../local/spool.ts";
import { isSentKept, sentBytes } from "../../local/spool-cache.ts";
import { retireLogs } from "../../local/spool-log.ts";
import {
  type DatabaseState,
  databaseFileOf,
  isSameDatabaseFile,
  isStillAtRest,
  readState,
  writeState,
} from "../../local/state.ts";
import { createStateFolder } from "../../local/state-folder.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import { gatherWalEvidence } from "../capture/wal-evidence.ts";
import type { OwnWriters } from "../context/own-writers.ts";
import { type BucketStatus, bucketStatus, copyProblemOrNull } from "../upload/bucket-status.ts";
import { assertNoForeignWriter } from "../upload/foreign-writer.ts";
import { type Attached, adopt, NO_STATE } from "./adopt.ts";
import { withoutStaleSnapshots } from "./stale-snapshots.ts";

/** The facts that a process remembers of a database from its last attach. */
export interface Remembered {
  /** The files of the last pin, or null. */
  readonly files?: KnownFiles | null;
  /** Whether the WAL held commits past the wal-index while the database was pinned. */
  readonly hasUnseenCommits?: boolean;
  /** The writer ids of this process. */
  readonly writers?: OwnWriters;
}

/** An attached database, and how well it can be pinned. */
export interface AttachResult extends Attached {
  /** The condition of a database that cannot be pinned as usual, or null. */
  readonly condition: Condition | null;
}

/**
 * Pins the database, or follows it without locks, and decides how its history continues.
 * @param remembered the facts from the last attach in this process
 * @throws WalrustError codes database, not-wal, foreign-wal, locked, database-busy, foreign-writer, or a
 * storage code
 */
export async function attach(
  target: AttachTarget,
  store: ObjectStore,
  env: Env,
  { files = null, hasUnseenCommits = false, writers }: Remembered = {},
): Promise<AttachResult> {
  // A folder of the path may have become a link to another owner's database.
  if (resolvePath(target.path) !== target.path) throw replacedError(target.path);
  const evidence = await gatherWalEvidence(target.path, target.paths, files, env);
  const { pin, condition } = openPin(target.path, env, evidence, hasUnseenCommits);
  try {
    const hadSpool = existsSync(target.paths.spoolFolder);
    createStateFolder(target.paths, target.path);
    const { path, name, paths } = target;
    retireLogs(paths.spoolFolder);
    await assertNoForeignWriter(name, paths, store, env);
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
    return { ...(await decide(live, hadSpool, store, env)), condition };
  } catch (error) {
    pin.close();
    throw error;
  }
}

async function decide(
  live: LiveDatabase,
  hadSpool: boolean,
  store: ObjectStore,
  env: Env,
): Promise<Attached> {
  const local = readLocal(live, store.url);
  if ("reason" in local) return adopt(live, store, env, local.reason, local.writer);
  const { state, files } = local;
  if (local.isCopy) {
    const refused = await continueCopy(live, local, store, env);
    return refused === null ? continued(live, env, false) : adopt(live, store, env, refused);
  }
  const uploadedTxid = uploadedTxidOf(state.txid, files);
  const history = { txid: state.txid, pending: files };
  const ask = (): Promise<BucketStatus> => bucketStatus(store, live.name, uploadedTxid, () => history);
  const remote = await orUnknown(ask, live.name, env);
  const { writer } = state;
  if (remote === "ahead") return adopt(live, store, env, "the bucket is ahead of the local state", writer);
  if (remote === "empty" && uploadedTxid > 0) {
    return adopt(live, store, env, "the bucket has lost every object of this database", writer);
  }
  if (remote === "behind" && !hadSpool) {
    return adopt(live, store, env, "captured files are lost (the spool folder is gone)", writer);
  }
  // Uploads would continue after a gap. The start after a power cut may have been another one, which captured
  // before the store could be asked.
  const mayBeLost = local.isOfOtherBoot || files.some(isChainLink);
  if (remote === "behind" && mayBeLost && !isSentKept(live.paths.spoolFolder, uploadedTxid)) {
    return adopt(live, store, env, "captured files are lost (by a power cut, or uploads were)", writer);
  }
  live.state = state;
  // A power cut may have torn the newest slot of the state: the first upload compares the chain, too.
  live.isBucketUnchecked = remote === "unknown" || local.isOfOtherBoot;
  live.pending.push(...files);
  // A power cut may have taken back what was noted of acknowledged files.
  live.revivedTxid = local.isOfOtherBoot ? state.txid : revivedTxidOf(files);
  return continued(live, env, remote === "behind");
}

/** Continues from the state and the pending files, which are sound. */
function continued(live: LiveDatabase, env: Env, needsSnapshot: boolean): Attached {
  const { state, pending } = live;
  if (state === null) throw new Error("there is a state to continue");
  // Equal salts and frames do not prove that the file below the WAL is the one they were written for.
  const isOther = state.file !== undefined && !isSameDatabaseFile(state.file, databaseFileOf(live.pin));
  if (isOther) live.pinLost = "the database file was written while it was not watched";
  const { pageSizeBytes } = live.pin;
  if (pageSizeBytes !== state.pageSizeBytes)
    live.pinLost = `page size is ${pageSizeBytes}, it was ${state.pageSizeBytes}`;
  // A file at rest had an empty WAL: all commits since then are in the WAL, from its first frame on.
  live.mayRestart = isStillAtRest(state.file, live.pin);
  if (needsSnapshot) {
    env.log.warn("the bucket lacks objects that were acknowledged; a new snapshot follows", {
      database: live.name,
    });
  }
  if (!areSumsSound(live, state, pending)) {
    const reason = "the page sums are lost";
    env.log.warn(`${reason}: they are made again from the whole database`, { database: live.name });
    return { live, anchor: { before: state, reason }, needsSnapshot };
  }
  return { live, anchor: null, needsSnapshot };
}

/** The local state with its pending files. */
interface LocalState {
  readonly state: DatabaseState;
  readonly files: readonly SpoolFile[];
  readonly isCopy: boolean;
  readonly isOfOtherBoot: boolean;
}

/** Why no local state can be used, and the writer id to keep, if it is known. */
interface NoLocalState {
  readonly reason: string;
  readonly writer?: string;
}

function readLocal(live: LiveDatabase, destination: string): LocalState | NoLocalState {
  const reading = readState(live.paths);
  if (reading.kind === "refused") throw reading.error;
  if (reading.kind === "none") return { reason: NO_STATE };
  if (reading.kind === "lost") {
    const { owner } = reading;
    const isOurs = owner?.destination === destination && owner.name === live.name;
    const reason = `the local state is lost (${reading.reason})`;
    return isOurs ? { reason, writer: owner.writer } : { reason };
  }
  const { state, isCopy = false, isOfOtherBoot = false } = reading;
  if (state.destination !== destination || state.name !== live.name) {
    const other = `${state.destination} ${state.name}`;
    return { reason: `the local state belongs to another destination (${other})` };
  }
  const spool = loadSpool(live.paths.spoolFolder, state.txid, state.chain);
  if (spool.kind === "pending") {
    const files = withoutStaleSnapshots(spool.files, state, isOfOtherBoot);
    return { state, files, isCopy, isOfOtherBoot };
  }
  const reason = `captured files are lost (${spool.reason})`;
  return isCopy ? { reason } : { reason, writer: state.writer };
}

/**
 * Continues a copied state under a new writer id, if the bucket confirms the state. While the bucket cannot
 * be reached, captures continue from the copy, and the bucket is checked before the first upload.
 * @returns why the state cannot be used, or null
 */
async function continueCopy(
  live: LiveDatabase,
  { state, files }: LocalState,
  store: ObjectStore,
  env: Env,
): Promise<string | null> {
  const found = `the local state was copied here from another folder or machine (writer ${state.writer})`;
  const refused = await orUnknown(() => copyProblemOrNull(live.name, state, files, store), live.name, env);
  live.state = { ...state, writer: hex(env.randomBytes(16)) };
  const isUnknown = refused === "unknown";
  if (refused !== null && !isUnknown) return `${found}, and ${refused}`;
  const only = "only one of the two may write there";
  env.log.warn(`${found}: continuing after TXID ${state.txid} as a new writer; ${only}`, {
    database: live.name,
  });
  live.isBucketUnchecked = isUnknown;
  live.isUnconfirmedCopy = isUnknown;
  live.pending.push(...files);
  live.revivedTxid = state.txid;
  if (!isUnknown) writeState(live.paths, live.state);
  return null;
}

/** The bucket's answer, or "unknown": a store that cannot be reached must not delay captures. */
async function orUnknown<T>(ask: () => Promise<T>, name: string, env: Env): Promise<T | "unknown"> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof WalrustError) || error.exitCode !== EXIT_CODES.storage) throw error;
    // A bucket that is missing, such as a disk that is not mounted, must not be replaced by a new folder.
    if (error.code === "missing-bucket") throw error;
    env.log.warn(`cannot check the bucket yet: ${error.message}`, { database: name });
    return "unknown";
  }
}

/**
 * Whether the page sums belong to the state. A crash may have left out the newest capture, which is replayed
 * from its spool file; the checksum in the state then decides.
 */
function areSumsSound(
  live: Pick<Captured, "paths">,
  state: DatabaseState,
  files: readonly SpoolFile[],
): boolean {
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

/** Applies the sums of a spool file's pages. */
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
