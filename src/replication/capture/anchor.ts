/**
 * Anchors a history: writes an LTX file from the image of the whole database instead of from the WAL.
 *
 * - first: TXID 1, a snapshot with all pages, when there is no history.
 * - difference: the next TXID with only the pages whose sum changed, when the WAL's history is broken but the
 *   page sums are sound. When no page changed, only the position moves.
 * - full: the next TXID with all pages, when the page sums are lost or another state was adopted.
 * - snapshot: all pages of a TXID that level 0 already reached, for a fast restore.
 *
 * Invariants:
 * 1. The database file stands still under a freeze (byte 123) until the image is read.
 * 2. The image is read in slices of about a megabyte, between which other databases are served.
 * 3. Nothing of an anchor counts before the state is written, in the order of capture.ts.
 * 4. An anchor ends when the WAL grows on a disk that is nearly full: the database comes before its backup.
 * 5. An anchor writes at most a multiple of the blocks that the file and its WAL occupy. A sparse file claims
 *    terabytes and costs its owner no disk, but its LTX file and page sums would fill ours: an all-zero page
 *    takes 8 bytes of sums and some 20 of LTX. The limit is a multiple, because a compressing file system
 *    reports fewer blocks than the content needs.
 */
import { fstatSync } from "node:fs";
import { DatabaseImage } from "../../database/image.ts";
import type { WalPosition } from "../../database/wal/wal-tail.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex, parseHex32 } from "../../format/chain.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { FLAG_NO_CHECKSUM, type LtxHeader } from "../../format/ltx.ts";
import { LtxEncoder } from "../../format/ltx-encoder.ts";
import { type Checksum, lockPgno, NO_CHECKSUM, type Txid } from "../../format/types.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { diskRoomOf, isReserveTouched } from "../../local/folders/disk-room.ts";
import { checksumOfFileOrNull, PageSumReader, PageSumWriter, SumXor } from "../../local/page-sums.ts";
import { type SpoolFile, SpoolWriter } from "../../local/spool.ts";
import { type DatabaseState, databaseFileOf, writeState } from "../../local/state.ts";
import { isOverwritten } from "./file-changes.ts";
import { type LiveDatabase, markCaptured, SUMS_UNWRITTEN } from "./live-database.ts";
import { SpilledIndex } from "./spilled-index.ts";

const SLICE_BYTES = 1 << 20;
const BLOCK_SIZE = 512;
const SUM_SIZE = 8;
/** Bytes that the anchor of any database may write. */
const OUTPUT_BYTES_BASE = 64 * 1024 * 1024;
const HELD_FACTOR = 8;
/** An anchor that writes more ends when the disk has no room but its reserve. */
const LITTLE_BYTES = 64 * 1024 * 1024;
const BYTES_PER_DISK_CHECK = 64 * 1024 * 1024;
/** Slices between two questions whether the disk of the database has room for its WAL. */
const SLICES_PER_WAL_CHECK = 4;
/** A WAL that grew by less takes so little disk that no reading ends for it. */
const GROWN_FRAMES_MIN = 1_000;

/** The state of a history that the next TXID is applied to. */
export interface Predecessor {
  readonly destination: string;
  readonly name: string;
  readonly writer: string;
  /** 0 when there is no history. */
  readonly txid: Txid | 0;
  readonly timeMs: number;
  /** NO_CHECKSUM when it is not known, because Litestream wrote the object. */
  readonly checksum: Checksum;
  /** 64 hex digits. */
  readonly chain: string;
  readonly snapshot: DatabaseState["snapshot"];
}

/**
 * The outcome of an anchor. "later": another process checkpoints or changes the wal-index; try again soon.
 */
export type AnchorOutcome =
  | {
      readonly kind: "anchored";
      readonly mode: AnchorMode;
      readonly file: SpoolFile;
      readonly pageCount: number;
    }
  | { readonly kind: "unchanged" }
  | { readonly kind: "later"; readonly reason: string };

/** The pages that an anchor holds. */
export type AnchorMode = "first" | "difference" | "full";

/** Takes the sum of each page, in page order. */
type SumSink = Pick<PageSumWriter, "push" | "xor">;

/**
 * Runs between two slices of an image.
 * @param doneBytes bytes of the image that were read, of all
 */
export type BetweenSlices = (doneBytes: number, totalBytes: number) => Promise<void>;

/** An image under a freeze, and the wal-index it was opened at. */
interface OpenImage {
  readonly image: DatabaseImage;
  readonly index: WalIndexHeader;
}

/**
 * Anchors the history at the present content of the database.
 * @param signal ends the anchor between two slices; its reason is thrown
 * @param between runs between two slices; if absent, other work gets a turn
 * @throws WalrustError code "database" when reading or writing fails; nothing has changed then
 */
export async function anchor(
  live: LiveDatabase,
  before: Predecessor,
  env: Env,
  signal?: AbortSignal,
  between: BetweenSlices = () => turn(env, signal),
): Promise<AnchorOutcome> {
  const timeMs = Math.max(env.nowMs(), before.timeMs);
  // Before the image is open: a disk that refuses the page sums leaves nothing open.
  const mode = anchorMode(live, before);
  const opened = openImage(live);
  if ("reason" in opened) return { kind: "later", reason: opened.reason };
  const { image, index } = opened;
  const txid = (before.txid + 1) as Txid;
  const level = mode === "first" ? SNAPSHOT_LEVEL : 0;
  const { sums, spool } = openOutputs(live, image, level, txid, txid);
  try {
    const header = anchorHeader(live, before, image, mode, txid, timeMs);
    const betweenSlices = limited(live, image, index, spool, between);
    const written = await encodeImage(live, image, header, mode, spool, sums, betweenSlices);
    await sums.closeLarge();
    assertStillPinned(live);
    const next = nextState(live, before, image, { txid, timeMs, checksum: sums.xor.checksum() });
    const isUnchanged = mode !== "first" && isSameContent(live, next, mode, written);
    if (isUnchanged && live.state !== null) {
      spool.discard();
      commitState(live, { ...live.state, wal: image.position }, sums, index);
      return { kind: "unchanged" };
    }
    const file = spool.finish({ previousChain: mode === "first" ? CHAIN_ZERO : parseHex32(before.chain) });
    const snapshot = mode === "first" ? { txid, timeMs } : next.snapshot;
    live.pending.push(file);
    commitState(live, { ...next, chain: hex(file.chain), snapshot }, sums, index);
    return { kind: "anchored", mode, file, pageCount: written };
  } catch (error) {
    spool.discard();
    sums.discard();
    dropUncommitted(live, txid);
    throw error;
  } finally {
    image.close();
  }
}

/** A finished file must not be uploaded if its state could not be written. */
function dropUncommitted(live: LiveDatabase, txid: Txid): void {
  const last = live.pending.at(-1);
  if (last?.maxTxid === txid && live.state?.txid !== txid) live.pending.pop();
}

/**
 * Writes a snapshot of the state that was just captured. Call it right after a capture under the same freeze,
 * with the wal-index that the capture read.
 * @throws WalrustError code "integrity" when the database differs from the captures; the caller re-anchors
 */
export async function snapshotImage(
  live: LiveDatabase,
  index: WalIndexHeader,
  env: Env,
  signal?: AbortSignal,
  between: BetweenSlices = () => turn(env, signal),
): Promise<SpoolFile> {
  const { state } = live;
  if (state === null) throw new Error("a snapshot needs a history");
  const image = DatabaseImage.open(live.pin, index, fstatSync(live.pin.databaseFd).size);
  if (!(image instanceof DatabaseImage)) {
    throw new WalrustError("database", `Cannot read an image of ${live.path}: ${image.reason}`, {
      retryable: true,
    });
  }
  const spool = new SpoolWriter(live.paths.spoolFolder, SNAPSHOT_LEVEL, 1 as Txid, state.txid);
  // Only their XOR is needed: the captures keep the page sums up to date.
  const xor = new SumXor();
  const sums: SumSink = { xor, push: (low, high) => xor.add(low, high) };
  try {
    const before = { ...state, txid: 0 as const };
    const header = {
      ...anchorHeader(live, before, image, "first", state.txid, state.timeMs),
      minTxid: 1 as Txid,
    };
    const betweenSlices = limited(live, image, index, spool, between);
    await encodeImage(live, image, header, "first", spool, sums, betweenSlices);
    assertStillPinned(live);
    if (xor.checksum() !== state.checksum) {
      throw new WalrustError("integrity", `${live.path} is not what was captured up to TXID ${state.txid}`, {
        context: { database: live.name, txid: state.txid },
      });
    }
    const file = spool.finish({ chain: parseHex32(state.chain) });
    // Captures continued meanwhile, so the present position is kept.
    const next = { ...(live.state ?? state), snapshot: { txid: state.txid, timeMs: state.timeMs } };
    writeState(live.paths, next);
    live.state = next;
    live.pending.push(file);
    return file;
  } catch (error) {
    spool.discard();
    throw error;
  } finally {
    image.close();
  }
}

/** Runs `between` after each slice, while the anchor stays within its limit. */
function limited(
  live: LiveDatabase,
  image: DatabaseImage,
  index: WalIndexHeader,
  spool: SpoolWriter,
  between: BetweenSlices,
): (pageCount: number) => Promise<void> {
  const limit = new AnchorLimit(live, image.commit, index.mxFrame);
  const { pageSizeBytes } = live.pin;
  return (pageCount) => {
    limit.check(spool.sizeBytes);
    return between(pageCount * pageSizeBytes, image.commit * pageSizeBytes);
  };
}

function openImage(live: LiveDatabase): OpenImage | { reason: string } {
  if (!live.pin.freeze()) {
    return { reason: live.pin.isLockless ? "its file was written a moment ago" : "a checkpoint is running" };
  }
  isOverwritten(live);
  live.pin.acceptFile();
  const index = live.pin.walIndex();
  if (index === null) return { reason: "the wal-index is being changed" };
  const image = DatabaseImage.open(live.pin, index, fstatSync(live.pin.databaseFd).size);
  return image instanceof DatabaseImage ? { image, index } : { reason: image.reason };
}

/** Opens the page sums and the spool file that an image is written to. Closes all when one fails. */
function openOutputs(
  live: LiveDatabase,
  image: DatabaseImage,
  level: number,
  minTxid: Txid,
  maxTxid: Txid,
): { sums: PageSumWriter; spool: SpoolWriter } {
  let sums: PageSumWriter | null = null;
  try {
    sums = new PageSumWriter(live.paths.sumsPath);
    return { sums, spool: new SpoolWriter(live.paths.spoolFolder, level, minTxid, maxTxid) };
  } catch (error) {
    sums?.discard();
    image.close();
    throw error;
  }
}

/** A difference needs sound page sums of the predecessor; anything else needs all pages. */
function anchorMode(live: LiveDatabase, before: Predecessor): AnchorMode {
  if (before.txid === 0) return "first";
  const { state } = live;
  const isOurs = state !== null && state.txid === before.txid && state.checksum === before.checksum;
  if (!isOurs || state.pageSizeBytes !== live.pin.pageSizeBytes) return "full";
  return checksumOfFileOrNull(live.paths.sumsPath, state.commit) === state.checksum ? "difference" : "full";
}

function anchorHeader(
  live: LiveDatabase,
  before: Predecessor,
  image: DatabaseImage,
  mode: AnchorMode,
  txid: Txid,
  timestampMs: number,
): LtxHeader {
  const hasUnknownPast = mode !== "first" && before.checksum === NO_CHECKSUM;
  return {
    flags: hasUnknownPast ? FLAG_NO_CHECKSUM : 0,
    pageSizeBytes: live.pin.pageSizeBytes,
    commit: image.commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs,
    preApplyChecksum: mode === "first" ? NO_CHECKSUM : before.checksum,
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
}

/** Gives other work a turn. @throws the reason of `signal` when it aborts */
async function turn(env: Env, signal: AbortSignal | undefined): Promise<void> {
  await env.turn();
  signal?.throwIfAborted();
}

/** Reads the image in slices, encodes its changed pages and gives all sums. @returns the pages encoded */
async function encodeImage(
  live: LiveDatabase,
  image: DatabaseImage,
  header: LtxHeader,
  mode: AnchorMode,
  spool: SpoolWriter,
  sums: SumSink,
  betweenSlices: (pageCount: number) => Promise<void>,
): Promise<number> {
  const index = new SpilledIndex(live.paths.spoolFolder);
  const encoder = new LtxEncoder(header, (bytes) => spool.write(bytes), index);
  const oldSums = mode === "difference" ? new PageSumReader(live.paths.sumsPath) : null;
  const lock = lockPgno(header.pageSizeBytes);
  const sum = new Uint32Array(2);
  let written = 0;
  let read = 0;
  const onPage = (pgno: number, data: Uint8Array): void => {
    read = pgno;
    const hadSum = oldSums?.next() ?? false;
    if (pgno === lock) return sums.push(0, 0);
    pageChecksumInto(pgno, data, sum);
    sums.push(sum[0]!, sum[1]!);
    if (hadSum && oldSums?.low === sum[0] && oldSums?.high === sum[1]) return;
    encoder.page(pgno, data);
    written++;
  };
  try {
    const slicePages = Math.max(1, Math.floor(SLICE_BYTES / header.pageSizeBytes));
    while (image.readSlice(slicePages, onPage)) await betweenSlices(read);
    const isUnchecked = (header.flags & FLAG_NO_CHECKSUM) !== 0;
    const end = encoder.finishInSlices(isUnchecked ? NO_CHECKSUM : sums.xor.checksum());
    while (!end.next().done) await betweenSlices(read);
    return written;
  } finally {
    oldSums?.close();
    index.close();
  }
}

/** @throws WalrustError code "database", retryable, when a pinned file was replaced while it was read */
function assertStillPinned(live: LiveDatabase): void {
  const changed = live.pin.isRewritten() ? "database" : live.pin.changedFile();
  if (changed === "none") return;
  // Without locks this is no failure: the application may write at any time.
  throw new WalrustError(
    live.pin.isLockless ? "database-busy" : "database",
    `${live.path}: the ${changed} file was replaced while it was read`,
    {
      retryable: true,
    },
  );
}

function nextState(
  live: LiveDatabase,
  before: Predecessor,
  image: DatabaseImage,
  made: { txid: Txid; timeMs: number; checksum: Checksum },
): DatabaseState {
  const { destination, name, writer, chain, snapshot } = before;
  const { commit, position: wal } = image;
  const pageSizeBytes = live.pin.pageSizeBytes;
  return { destination, name, writer, ...made, pageSizeBytes, commit, chain, wal, snapshot };
}

/**
 * Whether the image equals the state: no page differs from its sum. Equal checksums of the database do not
 * prove it. The sums are linear, so two pages that change in the same bits cancel each other out. Without
 * page sums, the position in the WAL must be the same too. A position without frames says nothing about
 * commits that a checkpoint has moved.
 */
function isSameContent(
  live: LiveDatabase,
  next: DatabaseState,
  mode: AnchorMode,
  pagesWritten: number,
): boolean {
  const { state } = live;
  if (state === null || state.txid + 1 !== next.txid || state.commit !== next.commit) return false;
  if (mode === "difference") return pagesWritten === 0;
  return state.checksum === next.checksum && isSameWal(state.wal, next.wal);
}

function isSameWal(a: WalPosition | null, b: WalPosition | null): boolean {
  if (a === null || b === null || a.frameCount === 0) return false;
  return (
    a.salt1 === b.salt1 &&
    a.salt2 === b.salt2 &&
    a.frameCount === b.frameCount &&
    a.checksum1 === b.checksum1 &&
    a.checksum2 === b.checksum2
  );
}

function commitState(
  live: LiveDatabase,
  state: DatabaseState,
  sums: PageSumWriter,
  index: WalIndexHeader,
): void {
  const next = { ...state, file: databaseFileOf(live.pin) };
  writeState(live.paths, next);
  live.state = next;
  // Until the sums are in place they do not belong to the position, so a failure here ends in another anchor.
  live.pinLost = SUMS_UNWRITTEN;
  sums.publish();
  markCaptured(live, index);
}

/** The bytes that an anchor may write. @param heldBytes bytes that the database file and its WAL occupy */
export function outputBytesMax(heldBytes: number): number {
  return OUTPUT_BYTES_BASE + HELD_FACTOR * heldBytes;
}

/** The limit of one anchor. */
export class AnchorLimit {
  readonly #live: LiveDatabase;
  readonly #commit: number;
  readonly #bytesMax: number;
  readonly #walFrameCount: number;
  #sliceCount = 0;
  #nextDiskCheckBytes = BYTES_PER_DISK_CHECK;

  /**
   * @param commit pages of the image
   * @param walFrameCount frames of its WAL
   * @throws WalrustError code "database", retryable, when the page sums alone exceed the limit
   */
  constructor(live: LiveDatabase, commit: number, walFrameCount: number) {
    this.#live = live;
    this.#commit = commit;
    this.#walFrameCount = walFrameCount;
    const { blocks } = fstatSync(live.pin.databaseFd);
    this.#bytesMax = outputBytesMax(blocks * BLOCK_SIZE + walFrameCount * live.pin.pageSizeBytes);
    if (commit * SUM_SIZE > this.#bytesMax) throw this.#sparse();
  }

  /** @param spoolBytes bytes written of the LTX file @throws WalrustError code "database", retryable */
  check(spoolBytes: number): void {
    if (++this.#sliceCount % SLICES_PER_WAL_CHECK === 0) this.#requireRoomForWal();
    const written = spoolBytes + this.#commit * SUM_SIZE;
    if (written > this.#bytesMax) throw this.#sparse();
    if (written < this.#nextDiskCheckBytes || written < LITTLE_BYTES) return;
    this.#nextDiskCheckBytes = written + BYTES_PER_DISK_CHECK;
    if (!isReserveTouched(diskRoomOf(this.#live.paths.spoolFolder))) return;
    throw new WalrustError("database", `Cannot anchor ${this.#live.path}: the disk is nearly full`, {
      hint: `Free space at ${this.#live.paths.spoolFolder}, or move the spool with --cache-dir`,
      retryable: true,
    });
  }

  /**
   * Ends the reading when the WAL grows on a disk that is nearly full: under the freeze no checkpoint of the
   * application can shorten the WAL. The watcher then releases the pin (pin-release.ts).
   */
  #requireRoomForWal(): void {
    const { pin, path } = this.#live;
    const grown = pin.isLockless ? 0 : (pin.walIndex()?.mxFrame ?? 0) - this.#walFrameCount;
    if (grown < GROWN_FRAMES_MIN) return;
    if (!isReserveTouched(diskRoomOf(path))) return;
    const what = `its disk is nearly full, and its WAL grew by ${grown} pages meanwhile`;
    throw new WalrustError("database", `Cannot go on reading ${path}: ${what}`, {
      hint: "Free space on the disk of the database; the application can checkpoint, and walrust tries again",
      context: { path },
      retryable: true,
    });
  }

  #sparse(): WalrustError {
    const { path } = this.#live;
    const what = `it claims ${this.#commit} pages and holds almost none of them`;
    return new WalrustError("database", `Cannot replicate ${path}: ${what} (a sparse file)`, {
      hint: "Run VACUUM on it, or remove the file: SQLite itself never writes such a file",
      context: { path },
      retryable: true,
    });
  }
}
