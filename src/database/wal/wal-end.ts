/**
 * The end of a WAL as its frames alone tell it, for when no wal-index speaks of it: every frame counts that
 * SQLite's recovery would count, up to the last commit. That is what the next to open the database sees.
 *
 * A writer that fails between its frames and its wal-index has not committed, and its frames count here all
 * the same until they are overwritten; nothing but the wal-index could tell. The overwriting breaks the
 * running checksum, so it is noticed.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  decodeWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalCursor,
  type WalHeader,
  walCursor,
  walOffset,
} from "../../format/wal.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { openRegular } from "../files/regular-file.ts";
import { walScratch } from "../files/scratch-buffers.ts";

/** How far a WAL was followed: up to a commit, or to its header. */
export interface CommittedEnd {
  readonly header: WalHeader;
  readonly cursor: Readonly<WalCursor>;
  /** Database size in pages after that commit; 0 before the first. */
  readonly pageCount: number;
}

/**
 * Follows the WAL at `walPath` to its last commit.
 * @param from where it was followed to before; ignored when the WAL is not the same up to there
 * @returns null when there is no WAL, or nothing in it
 * @throws WalrustError code "database" when the file cannot be read
 */
export function findWalEnd(walPath: string, from: CommittedEnd | null): CommittedEnd | null {
  let fd: number;
  try {
    fd = openRegular(walPath, false);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    if (error instanceof WalrustError) throw error;
    throw new WalrustError("database", `Cannot open ${walPath}: ${systemCode(error)}`, { cause: error });
  }
  try {
    const header = readHeaderOrNull(fd);
    if (header === null) return null;
    const start = from !== null && isSameUpTo(fd, header, from) ? from : beginningOf(header);
    return scanToLastCommit(fd, start);
  } finally {
    closeSync(fd);
  }
}

/** A mark as the wal-index would show it, with nothing known to be in the database file. */
export function walIndexOfEnd(mark: CommittedEnd | null, pageSizeBytes: number): WalIndexHeader {
  const { header, cursor, pageCount } = mark ?? { header: null, cursor: null, pageCount: 0 };
  return {
    version: 3007000,
    changeCount: 0,
    bigEndianChecksum: header?.bigEndianChecksum ?? false,
    pageSizeBytes: header?.pageSizeBytes ?? pageSizeBytes,
    mxFrame: cursor?.frameCount ?? 0,
    pageCount,
    frameChecksum1: cursor?.checksum1 ?? 0,
    frameChecksum2: cursor?.checksum2 ?? 0,
    salt1: header?.salt1 ?? 0,
    salt2: header?.salt2 ?? 0,
    backfilled: 0,
    backfillAttempted: 0,
    readMarks: [],
  };
}

/** The mark that a wal-index stands at, to follow the WAL from there; null when it is of another WAL. */
export function walEndOfIndexOrNull(walPath: string, index: WalIndexHeader): CommittedEnd | null {
  const whole = followHeaderOrNull(walPath);
  if (whole === null || whole.salt1 !== index.salt1 || whole.salt2 !== index.salt2) return null;
  const { mxFrame: frameCount, frameChecksum1: checksum1, frameChecksum2: checksum2, pageCount } = index;
  if (frameCount === 0) return beginningOf(whole);
  return { header: whole, cursor: { frameCount, checksum1, checksum2 }, pageCount };
}

function followHeaderOrNull(walPath: string): WalHeader | null {
  try {
    const fd = openRegular(walPath, false);
    try {
      return readHeaderOrNull(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // It is gone, or may not be read: whoever captures it says so.
    return null;
  }
}

function beginningOf(header: WalHeader): CommittedEnd {
  return { header, cursor: walCursor(header), pageCount: 0 };
}

/** A header that is short, torn or of no WAL has no frames behind it. */
function readHeaderOrNull(fd: number): WalHeader | null {
  const bytes = walScratch.take(1 << 20).subarray(0, WAL_HEADER_SIZE);
  if (readSync(fd, bytes, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return null;
  try {
    return decodeWalHeader(bytes);
  } catch {
    return null;
  }
}

/** Whether header and last frame are those that were followed; each checksum stands for all before it. */
function isSameUpTo(fd: number, header: WalHeader, { header: before, cursor }: CommittedEnd): boolean {
  const isSameWal = header.checksum1 === before.checksum1 && header.checksum2 === before.checksum2;
  if (!isSameWal || header.salt1 !== before.salt1 || header.salt2 !== before.salt2) return false;
  if (cursor.frameCount === 0) return true;
  const bytes = walScratch.take(1 << 20).subarray(0, WAL_FRAME_HEADER_SIZE);
  const offset = walOffset(header.pageSizeBytes, cursor.frameCount - 1);
  if (fstatSync(fd).size < walOffset(header.pageSizeBytes, cursor.frameCount)) return false;
  if (readSync(fd, bytes, 0, WAL_FRAME_HEADER_SIZE, offset) < WAL_FRAME_HEADER_SIZE) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isSameSalt = view.getUint32(8) === header.salt1 && view.getUint32(12) === header.salt2;
  const isSameSum = view.getUint32(16) === cursor.checksum1 && view.getUint32(20) === cursor.checksum2;
  return isSameSalt && isSameSum;
}

function scanToLastCommit(fd: number, start: CommittedEnd): CommittedEnd {
  const { header } = start;
  const frameSize = WAL_FRAME_HEADER_SIZE + header.pageSizeBytes;
  const scratch = walScratch.take(1 << 20);
  const chunkFrames = Math.max(1, Math.floor(scratch.length / frameSize));
  const cursor: WalCursor = { ...start.cursor };
  let last = start;
  for (;;) {
    const offset = walOffset(header.pageSizeBytes, cursor.frameCount);
    const chunk = scratch.subarray(0, chunkFrames * frameSize);
    const read = readSync(fd, chunk, 0, chunk.length, offset);
    const scan = scanFrames(header, cursor, chunk.subarray(0, read), chunkFrames, (_, commit) => {
      // The cursor stands behind the frame that is told of.
      if (commit !== 0) last = { header, cursor: { ...cursor }, pageCount: commit };
    });
    if (scan.end !== "end" || scan.frames < chunkFrames) return last;
  }
}
