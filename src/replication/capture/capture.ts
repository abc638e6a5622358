/**
 * Captures the frames committed since the position, as one LTX file in the spool with one TXID.
 *
 * Invariants:
 * 1. A crash between any two steps loses nothing. The order is: the spool file is complete, then the state
 *    names it, then the page sums include it. The uploader sees a file only when the state names it.
 * 2. A failure before the state is written leaves the position, and the next capture reads the same frames.
 * 3. A capture is synchronous and opens no SQLite connection. The caller holds the pin.
 */
import { fstatSync } from "node:fs";
import type { FileStamp } from "../../database/files/file-stamp.ts";
import { sizeClaimProblemOrNull } from "../../database/files/size-claim.ts";
import type { WalBroken } from "../../database/wal/wal-file.ts";
import { readWalTail, type WalPosition, type WalTail } from "../../database/wal/wal-tail.ts";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { hex, parseHex32 } from "../../format/chain.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import type { LtxHeader } from "../../format/ltx.ts";
import { LtxEncoder } from "../../format/ltx-encoder.ts";
import { lockPgno, type Txid } from "../../format/types.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { type SumBatch, SumUpdate } from "../../local/page-sums.ts";
import { type SpoolFile, SpoolWriter } from "../../local/spool.ts";
import { SpoolLog } from "../../local/spool-log.ts";
import {
  type DatabaseFile,
  type DatabaseState,
  databaseFileOf,
  isFileOfPin,
  writeState,
} from "../../local/state.ts";
import { planCapture } from "./capture-plan.ts";
import { isOverwritten, OVERWRITTEN } from "./file-changes.ts";
import { type LiveDatabase, markCaptured, SUMS_UNWRITTEN } from "./live-database.ts";

const RESTARTED = "the WAL was restarted while it was read";
/** SQLite writes every page that a database grows by, except for a few; more than this is not its doing. */
const UNWRITTEN_PAGES_MAX = 1_024;

/** The outcome of a capture. */
export type CaptureOutcome =
  | { readonly kind: "nothing"; readonly index: WalIndexHeader | null }
  | {
      readonly kind: "captured";
      readonly file: SpoolFile;
      readonly frameCount: number;
      readonly commitCount: number;
      readonly pageCount: number;
      readonly index: WalIndexHeader;
      /** The -wal file before it was read. */
      readonly walStamp: FileStamp;
    }
  | { readonly kind: "re-anchor"; readonly reason: string };

/** A wal-index, and a time (ms since the epoch) that was taken before it was read. */
export interface TimedIndex {
  readonly index: WalIndexHeader | null;
  readonly timeMs: number;
}

/** Reads the wal-index. */
export function timedIndexOf({ pin }: Pick<LiveDatabase, "pin">, env: Env): TimedIndex {
  // The time comes first, so a capture holds every commit before this time.
  const timeMs = env.nowMs();
  if (pin.isLockless) pin.followWal();
  return { index: pin.walIndex(), timeMs };
}

/**
 * Captures everything committed since the position.
 * @param seen the wal-index, if the caller has just read it
 * @throws WalrustError code "database" when the disk refuses, or "foreign-wal"; the position is unchanged and
 * the call may be repeated
 */
export function capture(live: LiveDatabase, env: Env, seen: TimedIndex | null = null): CaptureOutcome {
  const first = captureOnce(live, env, seen);
  // A WAL restarted after the wal-index was read looks broken once, and sound the second time.
  return first.kind === "re-anchor" && live.pinLost === null ? captureOnce(live, env, null) : first;
}

function captureOnce(live: LiveDatabase, env: Env, seen: TimedIndex | null): CaptureOutcome {
  const { state } = live;
  if (state === null) return { kind: "re-anchor", reason: "there is no history yet" };
  const { index, timeMs: readMs } = seen ?? timedIndexOf(live, env);
  const timeMs = Math.max(readMs, state.timeMs);
  const plan = planCapture({
    wal: state.wal,
    pageSizeBytes: state.pageSizeBytes,
    index,
    mayRestart: live.mayRestart,
    changeCount: live.changeCount,
    pinLost: live.pinLost,
  });
  if (plan.action === "re-anchor") return { kind: "re-anchor", reason: plan.reason };
  if (plan.action === "nothing" || index === null) return nothingNew(live, state, index);
  // Frames that follow another content than the captured one would make a state that never existed.
  if (isOverwritten(live)) return { kind: "re-anchor", reason: OVERWRITTEN };
  const { pin } = live;
  const start = pin.isLockless ? { after: plan.after } : { after: plan.after, file: pin.wal };
  const tail = readWalTail(pin.walPath, start, index);
  const broken = brokenReasonOrNull(live, tail, index) ?? growthProblemOrNull(live, state, tail);
  if (tail.kind === "broken" || broken !== null) return { kind: "re-anchor", reason: broken ?? "" };
  try {
    const file = writeIncrement(live, state, tail, { index, after: plan.after }, timeMs);
    const { frameCount, commitCount, pgnos, stamp } = tail;
    return {
      kind: "captured",
      file,
      frameCount,
      commitCount,
      pageCount: pgnos.length,
      index,
      walStamp: stamp,
    };
  } catch (error) {
    // Nothing is written yet; the anchor finds the same problem and writes all pages.
    if (hasCode(error, "integrity")) return { kind: "re-anchor", reason: error.message };
    throw error;
  }
}

/** Without new frames, a checkpoint may still have completed, and then the WAL may be restarted. */
function nothingNew(live: LiveDatabase, state: DatabaseState, index: WalIndexHeader | null): CaptureOutcome {
  const isAtPosition =
    index !== null &&
    state.wal !== null &&
    index.salt1 === state.wal.salt1 &&
    index.salt2 === state.wal.salt2 &&
    index.mxFrame === state.wal.frameCount;
  if (isAtPosition) markCaptured(live, index);
  return { kind: "nothing", index };
}

/**
 * Why the tail cannot be trusted, or null. The wal-index counts commits: if the tail holds fewer, a restart
 * has destroyed some.
 */
function brokenReasonOrNull(
  live: LiveDatabase,
  tail: WalTail | WalBroken,
  index: WalIndexHeader,
): string | null {
  if (tail.kind === "broken") return tail.reason;
  if (live.changeCount === null) return null;
  const expected = (index.changeCount - live.changeCount) >>> 0;
  if (tail.commitCount >= expected) return null;
  return `the WAL holds ${tail.commitCount} of ${expected} commits since the last capture`;
}

/**
 * Why the database cannot have grown to the size that the tail claims, or null. SQLite writes each page that
 * a database grows by into the WAL, so a capture never has many zero pages to add.
 */
function growthProblemOrNull(
  live: LiveDatabase,
  state: DatabaseState,
  tail: WalTail | WalBroken,
): string | null {
  if (tail.kind === "broken" || tail.commit <= state.commit) return null;
  const unwritten = tail.commit - state.commit - tail.pgnos.length;
  if (unwritten > UNWRITTEN_PAGES_MAX) return `the database grew by ${unwritten} pages that no frame wrote`;
  const { size } = fstatSync(live.pin.databaseFd);
  return sizeClaimProblemOrNull(tail.commit, state.pageSizeBytes, size, tail.position.frameCount);
}

function writeIncrement(
  live: LiveDatabase,
  state: DatabaseState,
  tail: WalTail,
  { index, after }: { index: WalIndexHeader; after: WalPosition | null },
  timeMs: number,
): SpoolFile {
  const txid = (state.txid + 1) as Txid;
  const header: LtxHeader = {
    flags: 0,
    pageSizeBytes: state.pageSizeBytes,
    commit: tail.commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: timeMs,
    preApplyChecksum: state.checksum,
    walOffset: tail.walOffset,
    walSizeBytes: tail.walSizeBytes,
    walSalt1: tail.position.salt1,
    walSalt2: tail.position.salt2,
    nodeId: 0n,
  };
  if (live.usesLogs === true) live.log ??= new SpoolLog(live.paths.spoolFolder);
  const spool = new SpoolWriter(live.paths.spoolFolder, 0, txid, txid, live.log);
  let sums: SumUpdate | null = null;
  try {
    sums = SumUpdate.open(live.paths.sumsPath);
    const { batch, checksum } = encodeTail(state, tail, header, sums, spool);
    // Without locks, a writer may have overwritten the frames while they were read.
    if (live.pin.isLockless && !live.pin.areFramesUnchanged(after, index))
      throw new WalrustError("integrity", RESTARTED);
    const file = spool.finish({ previousChain: parseHex32(state.chain) });
    const next: DatabaseState = {
      ...state,
      txid,
      timeMs,
      commit: tail.commit,
      checksum,
      chain: hex(file.chain),
      wal: tail.position,
      file: databaseFileNow(live, state),
    };
    writeState(live.paths, next);
    live.state = next;
    live.pending.push(file);
    // Until the sums are written they do not belong to the position, so a failure here ends in a full anchor.
    live.pinLost = SUMS_UNWRITTEN;
    sums.apply(state.commit, tail.commit, batch, state.pageSizeBytes);
    markCaptured(live, index);
    return file;
  } catch (error) {
    spool.discard();
    throw error;
  } finally {
    sums?.close();
  }
}

/**
 * The attributes of the database file. The capture has found the file as it was pinned, so under the freeze
 * the attributes of the last state still hold.
 */
function databaseFileNow({ pin }: LiveDatabase, { file }: DatabaseState): DatabaseFile {
  const isKept = !pin.isLockless && file !== undefined && file.restedNs === undefined && pin.isFrozen;
  return isKept && isFileOfPin(file, pin) ? file : databaseFileOf(pin);
}

/** Encodes the pages of the tail into the spool and computes their sums. */
function encodeTail(
  state: DatabaseState,
  tail: WalTail,
  header: LtxHeader,
  sums: SumUpdate,
  spool: SpoolWriter,
): { batch: SumBatch; checksum: DatabaseState["checksum"] } {
  const { commit: oldCommit, checksum: before, pageSizeBytes } = state;
  const pgnos = withHoles(tail.pgnos, oldCommit, tail.commit, pageSizeBytes);
  const low = new Uint32Array(pgnos.length);
  const high = new Uint32Array(pgnos.length);
  const encoder = new LtxEncoder(header, (bytes) => spool.write(bytes));
  const zero = pgnos === tail.pgnos ? null : new Uint8Array(pageSizeBytes);
  const sum = new Uint32Array(2);
  let i = 0;
  const encode = (pgno: number, data: Uint8Array): void => {
    pageChecksumInto(pgno, data, sum);
    low[i] = sum[0]!;
    high[i++] = sum[1]!;
    encoder.page(pgno, data);
  };
  tail.eachPage((pgno, data) => {
    while (zero !== null && pgnos[i]! < pgno) encode(pgnos[i]!, zero);
    encode(pgno, data);
  });
  while (zero !== null && i < pgnos.length) encode(pgnos[i]!, zero);
  const batch: SumBatch = { pgnos, low, high };
  const checksum = sums.checksumAfter(before, oldCommit, tail.commit, batch, pageSizeBytes);
  encoder.finish(checksum);
  return { batch, checksum };
}

/**
 * The pages of the tail, and the pages that the database grew by without a frame. Those are zeros in the
 * database and are encoded as zeros, so that merged files lead to the same state as single ones.
 * @returns `pgnos` itself when every page has a frame, which is the rule
 */
function withHoles(
  pgnos: Uint32Array,
  oldCommit: number,
  commit: number,
  pageSizeBytes: number,
): Uint32Array {
  const lock = lockPgno(pageSizeBytes);
  let first = pgnos.length;
  while (first > 0 && pgnos[first - 1]! > oldCommit) first--;
  const hasLock = lock > oldCommit && lock <= commit;
  const grown = Math.max(0, commit - oldCommit) - (hasLock ? 1 : 0);
  if (pgnos.length - first >= grown) return pgnos;
  const all = new Uint32Array(first + grown);
  all.set(pgnos.subarray(0, first));
  let next = first;
  for (let pgno = oldCommit + 1; pgno <= commit; pgno++) {
    if (pgno !== lock) all[next++] = pgno;
  }
  return all;
}
