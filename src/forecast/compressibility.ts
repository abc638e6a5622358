/**
 * Samples how well the pages of a database compress, from pages spread evenly over its file. This takes
 * milliseconds, whatever the size.
 *
 * The sample reads the file without SQLite and without locks: it misses pages that are only in the WAL, and
 * may read a page that is half written. That is good enough for an average and for nothing else.
 *
 * Never call this in a process with SQLite connections that `descriptors.ts` does not count: closing the file
 * drops their locks.
 */
import { fstatSync, readSync } from "node:fs";
import { closeDescriptor, descriptorIdentity, readHeaderOf } from "../database/files/descriptors.ts";
import { openRegular } from "../database/files/regular-file.ts";
import { hasCode, systemCode, WalrustError } from "../errors.ts";
import { lz4Compress, lz4CompressBound } from "../format/lz4.ts";
import type { DatabaseHeader } from "../format/sqlite-header.ts";
import { lockPgno } from "../format/types.ts";

const SAMPLE_PAGES_MAX = 64;

/** The sample of one database file. */
export interface CompressionSample {
  readonly pageSizeBytes: number;
  /** Pages of the file, without those that are only in the WAL. */
  readonly pageCount: number;
  /** Bytes after compression for each byte before; slightly above 1 for pages that do not compress. */
  readonly ratio: number;
}

/**
 * Compresses up to 64 pages, each as in an LTX file.
 * @throws WalrustError code "database" when the file cannot be read or is no SQLite database
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
  // A file shorter than a page is cut off: assume that it does not compress.
  return readBytes === 0 ? 1 : compressedBytes / readBytes;
}

/** Page numbers evenly spread from the first to the last page. */
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
    hint: "Check the path, and that this user may read the file",
    context: { path },
    cause,
  });
}
