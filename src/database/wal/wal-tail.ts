/**
 * Reads the tail of a WAL: the frames after a position, up to the last commit in the wal-index.
 *
 * Invariants:
 * 1. The end is the wal-index's mxFrame, never a commit frame beyond it. A writer that died between writing
 *    its frames and updating the wal-index did not commit, and the next writer overwrites those frames.
 * 2. A frame counts only with the salts of the WAL header and the right cumulative checksum. The checksum of
 *    the last frame must equal the one in the wal-index.
 * 3. Each page comes once, in ascending order, from its newest frame, and none lies beyond the size of the
 *    database after the last commit.
 * Memory: 8 bytes a frame, and 8 more while sorting.
 */
import { closeSync, readSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  type FrameFormat,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalCursor,
  walCursor,
} from "../../format/wal.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { type FileIdentity, isOpenFile } from "../files/descriptors.ts";
import { type FileStamp, stampOf } from "../files/file-stamp.ts";
import { openRegular, openRegularFile, type RegularFile } from "../files/regular-file.ts";
import { Uint32List, walScratch } from "../files/scratch-buffers.ts";
import { readWalHeader, type WalBroken } from "./wal-file.ts";

/** A position in one generation of a WAL: the end of the frames that were read. */
export interface WalPosition {
  readonly salt1: number;
  readonly salt2: number;
  /** Frames up to the position, all of them committed. */
  readonly frameCount: number;
  /** The cumulative checksum after the last of them (of the header when there are none). */
  readonly checksum1: number;
  readonly checksum2: number;
}

/** The committed frames after a position. Valid until the WAL is restarted, which a pin prevents. */
export interface WalTail {
  readonly kind: "tail";
  /** The position at the end of the tail. */
  readonly position: WalPosition;
  /** Byte offset of the first frame in the WAL, and the size of all frames. */
  readonly walOffset: number;
  readonly walSizeBytes: number;
  readonly frameCount: number;
  /** Number of commit frames in the tail. */
  readonly commitCount: number;
  /** Database size in pages after the last commit. */
  readonly commit: number;
  /** Distinct page numbers, ascending, none above `commit`. */
  readonly pgnos: Uint32Array;
  /** The newest frame (1-based) of each of these pages. */
  readonly frames: Uint32Array;
  /** The -wal file before the frames were read. */
  readonly stamp: FileStamp;
  /** Calls `onPage` for each page in ascending order; `data` is valid only during the call. */
  readonly eachPage: (onPage: (pgno: number, data: Uint8Array) => void) => void;
}

/** The start of a tail: after a position, or at the first frame of a generation. */
export interface TailStart {
  readonly after: WalPosition | null;
  /** Skip the pages of frames up to this one (1-based): the database file holds them. Default 0. */
  readonly overlayAfterFrame?: number;
  /** The -wal that is pinned: another file at the path is no tail. */
  readonly file?: FileIdentity;
}

const frameNumbers = new Uint32List();
const framePgnos = new Uint32List();

/**
 * Reads and checks the frames from `start` to `index.mxFrame` (which must be at least 1).
 * @returns the tail, or the reason why the frames do not match the wal-index
 * @throws WalrustError code "database" when the file cannot be read at all
 */
export function readWalTail(walPath: string, start: TailStart, index: WalIndexHeader): WalTail | WalBroken {
  let wal: RegularFile;
  try {
    wal = openRegularFile(walPath, false);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    if (systemCode(error) === "ENOENT") return { kind: "broken", reason: "the -wal file is gone" };
    throw new WalrustError("database", `Cannot open ${walPath}: ${systemCode(error)}`, { cause: error });
  }
  try {
    const { fd, stats } = wal;
    if (start.file !== undefined && !isOpenFile(fd, stats, start.file))
      return { kind: "broken", reason: "the -wal file was replaced" };
    return readOpenTail(wal, walPath, start, index);
  } finally {
    closeSync(wal.fd);
  }
}

/** The beginning of a tail: the format of its frames, and the position before the first of them. */
interface TailBegin {
  readonly header: FrameFormat;
  readonly cursor: WalCursor;
}

/**
 * Finds the beginning of a tail. After a position in the pinned WAL that the wal-index names, the wal-index
 * tells the format: salts and checksums of the frames prove that they follow the position, so the header of
 * the file is not read again.
 */
function beginOf(fd: number, { after, file }: TailStart, index: WalIndexHeader): TailBegin | WalBroken {
  const isAfter = after !== null && after.frameCount > 0;
  const isSameWal = isAfter && after.salt1 === index.salt1 && after.salt2 === index.salt2;
  if (isSameWal && file !== undefined) return { header: index, cursor: { ...after } };
  const header = readWalHeader(fd);
  if ("kind" in header) return header;
  if (header.salt1 !== index.salt1 || header.salt2 !== index.salt2) {
    return { kind: "broken", reason: "the WAL header is not the generation the wal-index names" };
  }
  return { header, cursor: isAfter ? { ...after } : walCursor(header) };
}

function readOpenTail(
  { fd, stats }: RegularFile,
  walPath: string,
  start: TailStart,
  index: WalIndexHeader,
): WalTail | WalBroken {
  const begin = beginOf(fd, start, index);
  if ("kind" in begin) return begin;
  const { header, cursor } = begin;
  const firstFrame = cursor.frameCount;
  const scan = scanAll(fd, header, cursor, index.mxFrame, start.overlayAfterFrame ?? 0);
  if ("kind" in scan) return scan;
  if (cursor.checksum1 !== index.frameChecksum1 || cursor.checksum2 !== index.frameChecksum2) {
    return { kind: "broken", reason: `frame ${index.mxFrame} is not the one the wal-index names` };
  }
  const frameSize = WAL_FRAME_HEADER_SIZE + header.pageSizeBytes;
  const pages = newestPages(scan.commit);
  const scanned = { firstFrame, frameSize, takeCount: walScratch.takeCount, isWhole: scan.isWhole };
  return {
    kind: "tail",
    position: {
      salt1: header.salt1,
      salt2: header.salt2,
      frameCount: cursor.frameCount,
      checksum1: cursor.checksum1,
      checksum2: cursor.checksum2,
    },
    walOffset: WAL_HEADER_SIZE + firstFrame * frameSize,
    walSizeBytes: (cursor.frameCount - firstFrame) * frameSize,
    frameCount: cursor.frameCount - firstFrame,
    commitCount: scan.commitCount,
    commit: scan.commit,
    pgnos: pages.pgnos,
    frames: pages.frames,
    stamp: stampOf(stats),
    eachPage: (onPage) => {
      const first = eachScannedPage(scanned, header.pageSizeBytes, pages, onPage);
      if (first < pages.pgnos.length) eachFramePage(walPath, header.pageSizeBytes, pages, first, onPage);
    },
  };
}

/** Checks every frame up to `mxFrame`, and lists page and number of those past `overlayAfterFrame`. */
function scanAll(
  fd: number,
  header: FrameFormat,
  cursor: WalCursor,
  mxFrame: number,
  overlayAfterFrame: number,
): { commit: number; commitCount: number; isWhole: boolean } | WalBroken {
  const frameSize = WAL_FRAME_HEADER_SIZE + header.pageSizeBytes;
  const scratch = walScratch.take(1 << 20);
  const chunkFrames = Math.max(1, Math.floor(scratch.length / frameSize));
  const isWhole = mxFrame - cursor.frameCount <= chunkFrames;
  let commit = 0;
  let commitCount = 0;
  framePgnos.clear();
  frameNumbers.clear();
  while (cursor.frameCount < mxFrame) {
    const first = cursor.frameCount;
    const wanted = Math.min(chunkFrames, mxFrame - first);
    const chunk = scratch.subarray(0, wanted * frameSize);
    const read = readSync(fd, chunk, 0, chunk.length, WAL_HEADER_SIZE + first * frameSize);
    const scan = scanFrames(header, cursor, chunk.subarray(0, read), wanted, (pgno, frameCommit, offset) => {
      const frame = first + (offset - WAL_FRAME_HEADER_SIZE) / frameSize + 1;
      if (frameCommit !== 0) {
        commit = frameCommit;
        commitCount++;
      }
      if (frame <= overlayAfterFrame) return;
      framePgnos.push(pgno);
      frameNumbers.push(frame);
    });
    if (scan.frames < wanted) {
      return { kind: "broken", reason: `frame ${cursor.frameCount + 1} of ${mxFrame}: ${scan.end}` };
    }
  }
  return { commit, commitCount, isWhole };
}

interface NewestPages {
  readonly pgnos: Uint32Array;
  readonly frames: Uint32Array;
}

/** The newest frame of each page up to `commit`, by page number. One numeric sort of 8 bytes a frame. */
function newestPages(commit: number): NewestPages {
  const count = framePgnos.length;
  const keys = new Float64Array(count);
  const stride = nextPowerOfTwo((count === 0 ? 0 : frameNumbers.at(count - 1)) + 1);
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const pgno = framePgnos.at(i);
    if (pgno > commit) continue;
    const key = pgno * stride + frameNumbers.at(i);
    if (key > Number.MAX_SAFE_INTEGER) {
      throw new WalrustError("database", `The WAL has too many frames to sort: ${count} up to page ${pgno}`);
    }
    keys[kept++] = key;
  }
  const sorted = keys.subarray(0, kept).sort();
  const pgnos = new Uint32Array(kept);
  const frames = new Uint32Array(kept);
  let distinct = 0;
  for (let i = 0; i < kept; i++) {
    const pgno = Math.floor(sorted[i]! / stride);
    const isNewest = i + 1 === kept || Math.floor(sorted[i + 1]! / stride) !== pgno;
    if (!isNewest) continue;
    pgnos[distinct] = pgno;
    frames[distinct++] = sorted[i]! - pgno * stride;
  }
  return { pgnos: pgnos.subarray(0, distinct), frames: frames.subarray(0, distinct) };
}

function nextPowerOfTwo(value: number): number {
  let power = 1;
  while (power < value) power *= 2;
  return power;
}

/** The frames that the scan has read, as they lie in the scratch buffer. */
interface ScannedFrames {
  /** Number of frames before the first one in the buffer. */
  readonly firstFrame: number;
  readonly frameSize: number;
  /** The buffer holds the frames until it is taken again. */
  readonly takeCount: number;
  /** Whether the buffer held all frames of the tail at once. */
  readonly isWhole: boolean;
}

/**
 * Gives the pages of a short tail from the buffer that they were checked in, while nobody has taken it.
 * @returns the index of the first page that was not given
 */
function eachScannedPage(
  { firstFrame, frameSize, takeCount, isWhole }: ScannedFrames,
  pageSizeBytes: number,
  { pgnos, frames }: NewestPages,
  onPage: (pgno: number, data: Uint8Array) => void,
): number {
  if (!isWhole || walScratch.takeCount !== takeCount) return 0;
  const bytes = walScratch.peek();
  for (let i = 0; i < pgnos.length; i++) {
    if (walScratch.takeCount !== takeCount) return i;
    const start = (frames[i]! - 1 - firstFrame) * frameSize + WAL_FRAME_HEADER_SIZE;
    onPage(pgnos[i]!, bytes.subarray(start, start + pageSizeBytes));
  }
  return pgnos.length;
}

/**
 * Reads the pages from index `first` on, one by one from the WAL. The pin keeps checked frames from changing.
 */
function eachFramePage(
  walPath: string,
  pageSizeBytes: number,
  pages: NewestPages,
  first: number,
  onPage: (pgno: number, data: Uint8Array) => void,
): void {
  const fd = openRegular(walPath, false);
  try {
    const frameSize = WAL_FRAME_HEADER_SIZE + pageSizeBytes;
    const page = walScratch.take(1 << 20).subarray(0, pageSizeBytes);
    for (let i = first; i < pages.pgnos.length; i++) {
      const offset = WAL_HEADER_SIZE + (pages.frames[i]! - 1) * frameSize + WAL_FRAME_HEADER_SIZE;
      const read = readSync(fd, page, 0, pageSizeBytes, offset);
      if (read !== pageSizeBytes) {
        throw new WalrustError(
          "database",
          `${walPath} became shorter while its frame ${pages.frames[i]} was read`,
        );
      }
      onPage(pages.pgnos[i]!, page);
    }
  } finally {
    closeSync(fd);
  }
}
