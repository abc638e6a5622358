/**
 * LTX version 3: a file with the pages that one or more transactions changed. Big-endian.
 *
 *   header         100 bytes, below
 *   page frames    6 bytes page header (u32 page number, u16 flags); then with flag bit 0 a u32 size and
 *                  an LZ4 block of that size; without the flag (ltx before 0.5.2) one LZ4 frame
 *   end            6 zero bytes
 *   page index     for each page frame three unsigned LEB128 varints: page number, offset in the file, size
 *                  in bytes including the page header; then one 0 byte; then a u64: the size of the index
 *                  without this u64
 *   trailer        16 bytes: u64 post-apply checksum, u64 file checksum
 *
 *   offset  size  header field                          unit
 *        0     4  magic "LTX1" (stands for version 3)
 *        4     4  flags: bit 1 = no checksums tracked
 *        8     4  page size                             bytes
 *       12     4  commit: database size after           pages
 *       16     8  min TXID
 *       24     8  max TXID
 *       32     8  timestamp, signed                     ms since the epoch
 *       40     8  pre-apply checksum of the database
 *       48     8  WAL offset, signed                    bytes
 *       56     8  WAL size, signed                      bytes
 *       64     4  WAL salt 1
 *       68     4  WAL salt 2
 *       72     8  node id
 *       80    20  reserved, zero
 *
 * A header is valid if and only if
 *   1. the magic is right, no other flag than bit 1 is set, the page size is a power of two
 *      from 512 to 65536,
 *   2. 1 <= min TXID <= max TXID (walrust also demands at most 2^53 - 1 for them, for the WAL offset and for
 *      the WAL size, and a timestamp of the years 0 to 9999),
 *   3. WAL offset and size are not negative, and the offset is not 0 where a size or a salt is set,
 *   4. the pre-apply checksum is 0 if min TXID is 1 (a snapshot) or no checksums are tracked, and otherwise
 *      has bit 63 set.
 * A trailer is valid if and only if
 *   5. the post-apply checksum is 0 if no checksums are tracked, and otherwise has bit 63 set,
 *   6. the file checksum has bit 63 set.
 * A file is valid if and only if also
 *   7. page numbers ascend, are at most the commit, and none is the lock page's,
 *   8. a snapshot holds every page from 1 to the commit except the lock page, and if checksums are tracked,
 *      the post-apply checksum is the XOR of the page checksums,
 *   9. every page decompresses to exactly the page size,
 *  10. the index lists exactly the page frames, and nothing follows the trailer,
 *  11. the file checksum is the CRC-64 with bit 63 set of: header, page headers, sizes and the *uncompressed*
 *      pages, end, index, post-apply checksum.
 * A commit of 0 (a deleted database) has no pages and the post-apply checksum 0x8000000000000000.
 *
 * The file checksum covers the reserved bytes, and does not cover the compressed bytes: blocks that
 * decompress to the same page give the same checksum. Only the SHA-256 of the object distinguishes them.
 * Source: superfly/ltx v0.5.2, ltx.go, encoder.go, decoder.go.
 */
import { WalrustError } from "../errors.ts";
import { type Checksum, isPageSize, isTimeMs, NO_CHECKSUM, TXID_MAX, type Txid } from "./types.ts";

/** Size of an LTX header in bytes. */
export const LTX_HEADER_SIZE = 100;

/** Size of an LTX trailer in bytes. */
export const LTX_TRAILER_SIZE = 16;

/** Size of a page header in bytes: page number and flags. */
export const LTX_PAGE_HEADER_SIZE = 6;

/** Header flag: no pre- and post-apply checksums are tracked. */
export const FLAG_NO_CHECKSUM = 2;

/** Page flag: a size and an LZ4 block follow, not an LZ4 frame. */
export const PAGE_FLAG_SIZE = 1;

/**
 * The most bytes of an entry of the page index: 5 for a page number, 8 for an offset below 2^53, 3 for a
 * size.
 */
export const INDEX_ENTRY_SIZE_MAX = 16;

/** "LTX1". */
export const LTX_MAGIC = 0x4c545831;

/** Offset and size of each header field; encoding and decoding both use this table. */
export const LTX_HEADER_FIELDS = {
  magic: [0, 4],
  flags: [4, 4],
  pageSizeBytes: [8, 4],
  commit: [12, 4],
  minTxid: [16, 8],
  maxTxid: [24, 8],
  timestampMs: [32, 8],
  preApplyChecksum: [40, 8],
  walOffset: [48, 8],
  walSizeBytes: [56, 8],
  walSalt1: [64, 4],
  walSalt2: [68, 4],
  nodeId: [72, 8],
  reserved: [80, 20],
} as const;

/** Offset and size of each trailer field. */
export const LTX_TRAILER_FIELDS = { postApplyChecksum: [0, 8], fileChecksum: [8, 8] } as const;

/** A decoded LTX header. */
export interface LtxHeader {
  /** 0 or FLAG_NO_CHECKSUM. */
  readonly flags: number;
  readonly pageSizeBytes: number;
  /** Size in pages of the database after the file was applied. */
  readonly commit: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly timestampMs: number;
  readonly preApplyChecksum: Checksum;
  readonly walOffset: number;
  readonly walSizeBytes: number;
  readonly walSalt1: number;
  readonly walSalt2: number;
  readonly nodeId: bigint;
}

/** A decoded LTX trailer. */
export interface LtxTrailer {
  readonly postApplyChecksum: Checksum;
  readonly fileChecksum: Checksum;
}

/** Whether the file holds a whole database: it begins with the first transaction. */
export function isSnapshot(header: LtxHeader): boolean {
  return header.minTxid === 1;
}

/** Whether the file tracks no pre- and post-apply checksums. */
export function isWithoutChecksum(header: LtxHeader): boolean {
  return (header.flags & FLAG_NO_CHECKSUM) !== 0;
}

/** Encodes a header. @throws WalrustError "internal" when the header is not valid */
export function encodeLtxHeader(header: LtxHeader): Uint8Array {
  const problem = headerProblemOrNull(header);
  if (problem !== null) throw refuseEncoding("header", problem);
  const bytes = new Uint8Array(LTX_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  const at = LTX_HEADER_FIELDS;
  view.setUint32(at.magic[0], LTX_MAGIC);
  view.setUint32(at.flags[0], header.flags);
  view.setUint32(at.pageSizeBytes[0], header.pageSizeBytes);
  view.setUint32(at.commit[0], header.commit);
  view.setBigUint64(at.minTxid[0], BigInt(header.minTxid));
  view.setBigUint64(at.maxTxid[0], BigInt(header.maxTxid));
  view.setBigInt64(at.timestampMs[0], BigInt(header.timestampMs));
  view.setBigUint64(at.preApplyChecksum[0], header.preApplyChecksum);
  view.setBigInt64(at.walOffset[0], BigInt(header.walOffset));
  view.setBigInt64(at.walSizeBytes[0], BigInt(header.walSizeBytes));
  view.setUint32(at.walSalt1[0], header.walSalt1);
  view.setUint32(at.walSalt2[0], header.walSalt2);
  view.setBigUint64(at.nodeId[0], header.nodeId);
  return bytes;
}

/** Decodes the first 100 bytes of a file. @throws WalrustError "corrupt" when the header is not valid */
export function decodeLtxHeader(bytes: Uint8Array): LtxHeader {
  if (bytes.length < LTX_HEADER_SIZE) {
    throw corruptLtx("header", bytes.length, `it ends, expected ${LTX_HEADER_SIZE} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = LTX_HEADER_FIELDS;
  const magic = view.getUint32(at.magic[0]);
  if (magic !== LTX_MAGIC) {
    throw corruptLtx("header", 0, `magic is 0x${magic.toString(16).padStart(8, "0")}, expected "LTX1"`);
  }
  const header: LtxHeader = {
    flags: view.getUint32(at.flags[0]),
    pageSizeBytes: view.getUint32(at.pageSizeBytes[0]),
    commit: view.getUint32(at.commit[0]),
    minTxid: Number(view.getBigUint64(at.minTxid[0])) as Txid,
    maxTxid: Number(view.getBigUint64(at.maxTxid[0])) as Txid,
    timestampMs: Number(view.getBigInt64(at.timestampMs[0])),
    preApplyChecksum: view.getBigUint64(at.preApplyChecksum[0]) as Checksum,
    walOffset: Number(view.getBigInt64(at.walOffset[0])),
    walSizeBytes: Number(view.getBigInt64(at.walSizeBytes[0])),
    walSalt1: view.getUint32(at.walSalt1[0]),
    walSalt2: view.getUint32(at.walSalt2[0]),
    nodeId: view.getBigUint64(at.nodeId[0]),
  };
  const problem = headerProblemOrNull(header);
  if (problem !== null) throw corruptLtx("header", at[problem.field][0], problem.found);
  return header;
}

/**
 * Encodes the trailer of a file. @throws WalrustError "internal" when the trailer does not suit the header
 */
export function encodeLtxTrailer(trailer: LtxTrailer, header: LtxHeader): Uint8Array {
  const problem = trailerProblemOrNull(trailer, header);
  if (problem !== null) throw refuseEncoding("trailer", problem);
  const bytes = new Uint8Array(LTX_TRAILER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(LTX_TRAILER_FIELDS.postApplyChecksum[0], trailer.postApplyChecksum);
  view.setBigUint64(LTX_TRAILER_FIELDS.fileChecksum[0], trailer.fileChecksum);
  return bytes;
}

/**
 * Decodes the last 16 bytes of a file. Checks the form of the file checksum and does not recompute it.
 * @throws WalrustError "corrupt" when the trailer is not valid, or does not suit the header
 */
export function decodeLtxTrailer(bytes: Uint8Array, header: LtxHeader): LtxTrailer {
  if (bytes.length !== LTX_TRAILER_SIZE) {
    throw corruptLtx("trailer", bytes.length, `it has ${bytes.length} bytes, expected ${LTX_TRAILER_SIZE}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const trailer: LtxTrailer = {
    postApplyChecksum: view.getBigUint64(LTX_TRAILER_FIELDS.postApplyChecksum[0]) as Checksum,
    fileChecksum: view.getBigUint64(LTX_TRAILER_FIELDS.fileChecksum[0]) as Checksum,
  };
  const problem = trailerProblemOrNull(trailer, header);
  if (problem !== null) throw corruptLtx("trailer", LTX_TRAILER_FIELDS[problem.field][0], problem.found);
  return trailer;
}

/**
 * Writes an entry of the page index: three unsigned LEB128 varints.
 * @param at offset in `target`, followed by at least INDEX_ENTRY_SIZE_MAX bytes
 * @returns the offset after the entry
 */
export function putIndexEntry(
  target: Uint8Array,
  at: number,
  pgno: number,
  offset: number,
  sizeBytes: number,
): number {
  return putUvarint(target, putUvarint(target, putUvarint(target, at, pgno), offset), sizeBytes);
}

/** Writes an unsigned LEB128 varint below 2^53. @returns the offset after the varint */
function putUvarint(target: Uint8Array, at: number, value: number): number {
  let next = at;
  let rest = value;
  // Bit operations work on 32 bits only; offsets in a large snapshot are larger.
  while (rest >= 0x80000000) {
    target[next++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 128) {
    target[next++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[next++] = rest;
  return next;
}

/** The error for invalid LTX. @param at byte of the part @param found the finding, with what was expected */
export function corruptLtx(part: string, at: number, found: string): WalrustError {
  return new WalrustError("corrupt", `Cannot decode LTX ${part} at byte ${at}: ${found}`);
}

/** A checksum as 16 hexadecimal digits, for messages. */
export function formatChecksum(checksum: bigint): string {
  return checksum.toString(16).padStart(16, "0");
}

interface Problem<Field> {
  readonly field: Field;
  readonly found: string;
}

type HeaderProblem = Problem<Exclude<keyof typeof LTX_HEADER_FIELDS, "magic" | "reserved">>;

function headerProblemOrNull(header: LtxHeader): HeaderProblem | null {
  const { flags, pageSizeBytes, commit, minTxid, maxTxid, walOffset, walSizeBytes } = header;
  const problem = (field: HeaderProblem["field"], found: string) => ({ field, found });
  if ((flags & ~FLAG_NO_CHECKSUM) !== 0) return problem("flags", `flags are ${flags}, expected 0 or 2`);
  if (!isPageSize(pageSizeBytes)) {
    const found = `page size is ${pageSizeBytes}, expected a power of two from 512 to 65536`;
    return problem("pageSizeBytes", found);
  }
  if (!isUint32(commit)) return problem("commit", `commit is ${commit}, expected an unsigned 32-bit number`);
  if (!isTxid(minTxid)) return problem("minTxid", `min TXID is ${minTxid}, expected 1 to 2^53 - 1`);
  if (!isTxid(maxTxid)) return problem("maxTxid", `max TXID is ${maxTxid}, expected 1 to 2^53 - 1`);
  if (minTxid > maxTxid) return problem("maxTxid", `max TXID is ${maxTxid}, expected at least ${minTxid}`);
  if (!isTimeMs(header.timestampMs)) {
    return problem("timestampMs", `timestamp is ${header.timestampMs}, expected ms of the years 0 to 9999`);
  }
  const checksumFound = checksumProblemOrNull(
    "pre-apply",
    header.preApplyChecksum,
    !isSnapshot(header) && !isWithoutChecksum(header),
  );
  if (checksumFound !== null) return problem("preApplyChecksum", checksumFound);
  if (!Number.isSafeInteger(walOffset) || walOffset < 0) {
    return problem("walOffset", `WAL offset is ${walOffset}, expected 0 to 2^53 - 1`);
  }
  if (!Number.isSafeInteger(walSizeBytes) || walSizeBytes < 0) {
    return problem("walSizeBytes", `WAL size is ${walSizeBytes}, expected 0 to 2^53 - 1`);
  }
  if (!isUint32(header.walSalt1)) return problem("walSalt1", "WAL salt is not an unsigned 32-bit number");
  if (!isUint32(header.walSalt2)) return problem("walSalt2", "WAL salt is not an unsigned 32-bit number");
  if (walOffset === 0 && (walSizeBytes !== 0 || header.walSalt1 !== 0 || header.walSalt2 !== 0)) {
    return problem("walOffset", "WAL offset is 0, expected more with a WAL size or salt");
  }
  if (header.nodeId < 0n || header.nodeId >= 1n << 64n) return problem("nodeId", "node id is out of range");
  return null;
}

function trailerProblemOrNull(
  trailer: LtxTrailer,
  header: LtxHeader,
): Problem<keyof typeof LTX_TRAILER_FIELDS> | null {
  const post = checksumProblemOrNull("post-apply", trailer.postApplyChecksum, !isWithoutChecksum(header));
  if (post !== null) return { field: "postApplyChecksum", found: post };
  const file = checksumProblemOrNull("file", trailer.fileChecksum, true);
  return file === null ? null : { field: "fileChecksum", found: file };
}

function checksumProblemOrNull(name: string, checksum: Checksum, isExpected: boolean): string | null {
  const isSet = checksum >= 1n << 63n && checksum < 1n << 64n;
  if (isExpected ? isSet : checksum === NO_CHECKSUM) return null;
  const expected = isExpected ? "bit 63 set" : "0: the file is a snapshot or tracks no checksums";
  return `${name} checksum is ${formatChecksum(checksum)}, expected ${expected}`;
}

function isTxid(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= TXID_MAX;
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

function refuseEncoding(part: string, problem: Problem<string>): WalrustError {
  return new WalrustError("internal", `Cannot encode LTX ${part}: ${problem.found}`);
}
