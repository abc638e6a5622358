/**
 * How well the pages of a database compress, from a sample spread evenly over its file: what an estimate of
 * object sizes needs, in milliseconds whatever the size.
 *
 * The file is read as it lies there, without SQLite and without any lock: pages that are only in the WAL are
 * not seen, and one that is being written may be read half. That is good enough for an average and for
 * nothing else.
 *
 * Not in a process that has SQLite connections which `descriptors.ts` does not count: closing the file drops
 * the locks of every connection of this process to it.
 */
import { fstatSync, readSync } from "node:fs";
import { closeDescriptor, descriptorIdentity, readHeaderOf } from "../database/files/descriptors.ts";
import { openRegular } from "../database/files/foreign-files.ts";
import { hasCode, systemCode, WalrustError } from "../errors.ts";
import { lz4Compress, lz4CompressBound } from "../format/lz4.ts";
import type { DatabaseHeader } from "../format/sqlite-header.ts";
import { lockPgno } from "../format/types.ts";

const SAMPLE_PAGES_MAX = 64;

/** What a look at a database file found. */
export interface CompressionSample {
  readonly pageSizeBytes: number;
  /** Pages of the file; what is only in the WAL does not count. */
  readonly pageCount: number;
  /** Bytes after compression for each byte before; slightly more than 1 when nothing can be saved. */
  readonly ratio: number;
}

/**
 * Compresses up to 64 pages as an LTX file does.
 * @throws WalrustError "database" when the file cannot be read or is no SQLite database
 */
export function sampleCompression(path: string): CompressionSample {
  const fd = fileOperation(path, () => openRegular(path, false));
  try {
    const { pageSizeBytes } = headerOf(path, fd);
    const pageCount = Math.max(1, Math.floor(fstatSync(fd).size / pageSizeBytes));
    const ratio = fileOperation(path, () => sampledRatio(fd, pageSizeBytes, pageCount));
    return { pageSizeBytes, pageCount, ratio };
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

function sampledRatio(fd: number, pageSizeBytes: number, pageCount: number): number {
  const page = new Uint8Array(pageSizeBytes);
  const target = new Uint8Array(lz4CompressBound(pageSizeBytes));
  let readBytes = 0;
  let compressedBytes = 0;
  for (const pgno of samplePgnos(pageCount)) {
    if (pgno === lockPgno(pageSizeBytes)) continue;
    const count = readSync(fd, page, 0, pageSizeBytes, (pgno - 1) * pageSizeBytes);
    if (count < pageSizeBytes) continue;
    readBytes += count;
    compressedBytes += lz4Compress(page, target);
  }
  // A file shorter than a page was cut off: nothing is known, so nothing is promised.
  return readBytes === 0 ? 1 : compressedBytes / readBytes;
}

/** Page numbers from the first to the last page, evenly spread. */
function samplePgnos(pageCount: number): number[] {
  const count = Math.min(SAMPLE_PAGES_MAX, pageCount);
  const step = count > 1 ? (pageCount - 1) / (count - 1) : 0;
  return Array.from({ length: count }, (_, index) => 1 + Math.round(index * step));
}

function headerOf(path: string, fd: number): DatabaseHeader {
  try {
    return fileOperation(path, () => readHeaderOf(fd));
  } catch (error) {
    if (!hasCode(error, "database")) throw error;
    throw refuse(path, error.message, error);
  }
}

function fileOperation<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    throw refuse(path, systemCode(error) ?? "unknown error", error);
  }
}

function refuse(path: string, found: string, cause?: unknown): WalrustError {
  return new WalrustError("database", `Cannot sample ${path}: ${found}, expected a SQLite database`, {
    hint: "Check the path, and that this user may read it.",
    context: { path },
    cause,
  });
}
