/**
 * Finds the end of a WAL from its frames alone, for a WAL without a trustworthy wal-index. A frame counts if
 * SQLite's recovery would apply it, up to the last commit: the next process to open the database sees exactly
 * these frames.
 *
 * A writer that fails after writing its frames and before updating the wal-index has not committed. Such
 * frames count here until another writer overwrites them, because only the wal-index could show the
 * difference. Overwriting breaks the running checksum, so the caller notices.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  type WalCursor,
  type WalHeader,
  walCursor,
  walOffset,
} from "../../format/wal.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { openRegular } from "../files/regular-file.ts";
import { walScratch } from "../files/scratch-buffers.ts";
import { walHeaderOrNull } from "./wal-file.ts";

/** The end of the last commit in a WAL, or of its header before the first commit. */
export interface CommittedEnd {
  readonly header: WalHeader;
  readonly cursor: Readonly<WalCursor>;
  /** Database size in pages after that commit; 0 before the first. */
  readonly pageCount: number;
}

/**
 * Reads the WAL at `walPath` up to its last commit.
 * @param from an earlier end, to continue there; ignored when the WAL up to it has changed
 * @returns null when there is no WAL, or no valid header
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
    const header = walHeaderOrNull(fd);
    if (header === null) return null;
    const start = from !== null && isSameUpTo(fd, header, from) ? from : beginningOf(header);
    return scanToLastCommit(fd, start);
  } finally {
    closeSync(fd);
  }
}

/** The header of a wal-index that ends there. It states no frame as copied into the database file. */
export function walIndexOfEnd(end: CommittedEnd | null, pageSizeBytes: number): WalIndexHeader {
  const { header, cursor, pageCount } = end ?? { header: null, cursor: null, pageCount: 0 };
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

/** The end that a wal-index states, to continue from there; null when the index belongs to another WAL. */
export function walEndOfIndexOrNull(walPath: string, index: WalIndexHeader): CommittedEnd | null {
  const header = pathHeaderOrNull(walPath);
  if (header === null || header.salt1 !== index.salt1 || header.salt2 !== index.salt2) return null;
  const { mxFrame: frameCount, frameChecksum1: checksum1, frameChecksum2: checksum2, pageCount } = index;
  if (frameCount === 0) return beginningOf(header);
  return { header, cursor: { frameCount, checksum1, checksum2 }, pageCount };
}

/** The header of the WAL at a path, or null. */
function pathHeaderOrNull(walPath: string): WalHeader | null {
  try {
    const fd = openRegular(walPath, false);
    try {
      return walHeaderOrNull(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The file is missing or unreadable; the capture reports it.
    return null;
  }
}

function beginningOf(header: WalHeader): CommittedEnd {
  return { header, cursor: walCursor(header), pageCount: 0 };
}

/** Whether header and last frame are as before. Each frame's checksum covers all frames before it. */
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
  // Usually the first frame is of an earlier WAL, and ends this one.
  for (let frameCount = 1; ; frameCount = chunkFrames) {
    const offset = walOffset(header.pageSizeBytes, cursor.frameCount);
    const chunk = scratch.subarray(0, frameCount * frameSize);
    const read = readSync(fd, chunk, 0, chunk.length, offset);
    const scan = scanFrames(header, cursor, chunk.subarray(0, read), frameCount, (_, commit) => {
      // The cursor is past the frame that this call reports.
      if (commit !== 0) last = { header, cursor: { ...cursor }, pageCount: commit };
    });
    if (scan.end !== "end" || scan.frames < frameCount) return last;
  }
}
