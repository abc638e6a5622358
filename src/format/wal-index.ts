/**
 * The head of the wal-index ("-shm"), through which SQLite's connections share the state of a WAL. 136 bytes
 * in the byte order of the host, which is little-endian on every machine that walrust runs on.
 *
 *   offset  size  field
 *        0    48  header, first copy            96     4  frames backfilled (nBackfill)
 *       48    48  header, second copy          100    20  five read marks; 0xffffffff is an unused one
 *                                              120     8  lock bytes, never read or written
 *   header                                     128     4  frames a checkpoint began to backfill
 *        0     4  version, 3007000             132     4  unused
 *        4     4  unused
 *        8     4  change count (iChange)
 *       12     1  is initialised
 *       13     1  checksums are big-endian
 *       14     2  page size in bytes; 1 means 65536
 *       16     4  valid frames up to the last commit (mxFrame)
 *       20     4  database size in pages (nPage)
 *       24     8  checksum of the last frame
 *       32     8  salts, copied byte for byte from the header of the WAL: big-endian
 *       40     8  checksum of bytes 0 to 39, over words in host order
 *
 * A header is valid if and only if
 *   1. both copies are the same, 2. it is initialised, 3. its version is 3007000, 4. its checksum is right.
 * A writer updates the second copy first, so copies that differ mean a write in progress: read again.
 * Source: SQLite 3.40, src/wal.c, WalIndexHdr and WalCkptInfo.
 */
import { isPageSize } from "./types.ts";
import { walChecksum } from "./wal.ts";

/** Number of bytes that decodeWalIndex needs. */
export const WAL_INDEX_SIZE = 136;

/** A read mark that no reader uses. */
export const READ_MARK_UNUSED = 0xffffffff;

const WAL_INDEX_VERSION = 3007000;
const COPY_SIZE = 48;
const CHECKSUMMED_SIZE = 40;

/** A decoded wal-index header. Salts compare equal to those of a WalHeader. */
export interface WalIndexHeader {
  readonly version: number;
  readonly changeCount: number;
  readonly bigEndianChecksum: boolean;
  readonly pageSizeBytes: number;
  readonly mxFrame: number;
  readonly pageCount: number;
  readonly frameChecksum1: number;
  readonly frameChecksum2: number;
  readonly salt1: number;
  readonly salt2: number;
  /** Number of frames that were copied into the database file. */
  readonly backfilled: number;
  /** Number of frames that a checkpoint began to copy, whether it finished or not. */
  readonly backfillAttempted: number;
  /** The last frame that each of the five reader slots may use; slot 0 reads the database file alone. */
  readonly readMarks: readonly number[];
}

/** Decodes the first 136 bytes of a -shm file; null when the header is not valid at this moment. */
export function decodeWalIndex(bytes: Uint8Array): WalIndexHeader | null {
  if (bytes.length < WAL_INDEX_SIZE) return null;
  for (let index = 0; index < COPY_SIZE; index++) {
    if (bytes[index] !== bytes[COPY_SIZE + index]) return null;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(0, true);
  if (version !== WAL_INDEX_VERSION || view.getUint8(12) === 0) return null;
  const expected = walChecksum(bytes.subarray(0, CHECKSUMMED_SIZE), false, 0, 0);
  if (view.getUint32(40, true) !== expected.checksum1) return null;
  if (view.getUint32(44, true) !== expected.checksum2) return null;
  const storedPageSize = view.getUint16(14, true);
  // SQLite stores 65536 as 1: the low bit stands for bit 16.
  const pageSizeBytes = (storedPageSize & 0xfe00) + ((storedPageSize & 1) << 16);
  if (!isPageSize(pageSizeBytes) && view.getUint32(16, true) !== 0) return null;
  return {
    version,
    changeCount: view.getUint32(8, true),
    bigEndianChecksum: view.getUint8(13) !== 0,
    pageSizeBytes,
    mxFrame: view.getUint32(16, true),
    pageCount: view.getUint32(20, true),
    frameChecksum1: view.getUint32(24, true),
    frameChecksum2: view.getUint32(28, true),
    salt1: view.getUint32(32),
    salt2: view.getUint32(36),
    backfilled: view.getUint32(96, true),
    backfillAttempted: view.getUint32(128, true),
    readMarks: [0, 1, 2, 3, 4].map((slot) => view.getUint32(100 + 4 * slot, true)),
  };
}
