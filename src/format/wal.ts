/**
 * The SQLite write-ahead log ("-wal"). Big-endian, except for the words that the checksum adds up.
 *
 *   header, 32 bytes                        frame header, 24 bytes, then one page
 *   offset  size  field                     offset  size  field
 *        0     4  magic                          0     4  page number
 *        4     4  format version, 3007000        4     4  commit: database size in pages, or 0
 *        8     4  page size in bytes             8     4  salt 1
 *       12     4  checkpoint sequence           12     4  salt 2
 *       16     4  salt 1                        16     4  checksum 1
 *       20     4  salt 2                        20     4  checksum 2
 *       24     4  checksum 1
 *       28     4  checksum 2
 *
 * The magic is 0x377f0682 if the checksum reads its input as little-endian words, and 0x377f0683 if it reads
 * big-endian words. The checksum begins with the first 24 bytes of the header and continues with the first 8
 * bytes and the page of each frame. Modulo 2^32, a pair of words (a, b) adds: s1 += a + s2, then s2 += b +
 * s1.
 *
 * A frame is valid if and only if
 *   1. it is complete,
 *   2. its salts are those of the header,
 *   3. its page number is not 0,
 *   4. its checksum is the running checksum up to and including this frame.
 * The WAL ends at the first frame that is not valid. This is normal: the rest of the file dates from before
 * the last restart. Only frames up to the last one with a commit belong to the database.
 *
 * The checksum detects torn writes and leftovers, not a forger. Source: SQLite 3.40, src/wal.c.
 */
import { WalrustError } from "../errors.ts";
import { isPageSize } from "./types.ts";

/** Size of a WAL header in bytes. */
export const WAL_HEADER_SIZE = 32;

/** Size of a frame header in bytes. */
export const WAL_FRAME_HEADER_SIZE = 24;

/** The magic of a WAL whose checksum reads little-endian words; with bit 0 set, big-endian ones. */
export const WAL_MAGIC = 0x377f0682;

const WAL_VERSION = 3007000;
const CHECKSUMMED_HEADER_SIZE = 24;
const CHECKSUMMED_FRAME_HEADER_SIZE = 8;

/** A decoded WAL header. */
export interface WalHeader {
  readonly bigEndianChecksum: boolean;
  readonly pageSizeBytes: number;
  readonly checkpointSequence: number;
  readonly salt1: number;
  readonly salt2: number;
  readonly checksum1: number;
  readonly checksum2: number;
}

/** The fields of a header that the frames have to agree with. */
export type FrameFormat = Pick<WalHeader, "bigEndianChecksum" | "pageSizeBytes" | "salt1" | "salt2">;

/** A position in a WAL: mutable, and sufficient to continue reading from there. */
export interface WalCursor {
  /** Valid frames so far; the next frame begins at walOffset(pageSizeBytes, frameCount). */
  frameCount: number;
  /** The running checksum after these frames. */
  checksum1: number;
  checksum2: number;
}

/** Why scanFrames stopped: "end" means the chunk or the limit was used up exactly. */
export type WalEnd = "end" | "short-frame" | "salt" | "checksum" | "page-0";

/** The result of scanFrames. */
export interface WalScan {
  /** Valid frames in this chunk. */
  readonly frames: number;
  readonly end: WalEnd;
}

/** The byte offset at which frame `frameIndex` (from 0) begins. */
export function walOffset(pageSizeBytes: number, frameIndex: number): number {
  return WAL_HEADER_SIZE + frameIndex * (WAL_FRAME_HEADER_SIZE + pageSizeBytes);
}

/**
 * Decodes the first 32 bytes of a WAL.
 * @throws WalrustError "corrupt" when `bytes` is too short, or magic, version, page size or checksum is
 * wrong. Each of these can occur for a moment while a writer restarts the WAL
 */
export function decodeWalHeader(bytes: Uint8Array): WalHeader {
  if (bytes.length < WAL_HEADER_SIZE) throw refuse(bytes.length, "it ends, expected 32 bytes");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  if ((magic & 0xfffffffe) >>> 0 !== WAL_MAGIC) {
    throw refuse(0, `magic is 0x${magic.toString(16).padStart(8, "0")}, expected 0x377f0682 or 0x377f0683`);
  }
  const version = view.getUint32(4);
  if (version !== WAL_VERSION) throw refuse(4, `version is ${version}, expected ${WAL_VERSION}`);
  const pageSizeBytes = view.getUint32(8);
  if (!isPageSize(pageSizeBytes)) {
    throw refuse(8, `page size is ${pageSizeBytes}, expected a power of two from 512 to 65536`);
  }
  const bigEndianChecksum = (magic & 1) === 1;
  const checksum1 = view.getUint32(24);
  const checksum2 = view.getUint32(28);
  const expected = walChecksum(bytes.subarray(0, CHECKSUMMED_HEADER_SIZE), bigEndianChecksum, 0, 0);
  if (checksum1 !== expected.checksum1 || checksum2 !== expected.checksum2) {
    throw refuse(
      24,
      `checksum is ${checksum1}, ${checksum2}, expected ${expected.checksum1}, ${expected.checksum2}`,
    );
  }
  return {
    bigEndianChecksum,
    pageSizeBytes,
    checkpointSequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    checksum1,
    checksum2,
  };
}

/** A cursor before the first frame of a WAL. */
export function walCursor(header: WalHeader): WalCursor {
  return { frameCount: 0, checksum1: header.checksum1, checksum2: header.checksum2 };
}

/** Continues a WAL checksum (0, 0 at the start) over `bytes`, whose length is a multiple of 8. */
export function walChecksum(
  bytes: Uint8Array,
  bigEndian: boolean,
  checksum1: number,
  checksum2: number,
): { checksum1: number; checksum2: number } {
  running1 = checksum1 | 0;
  running2 = checksum2 | 0;
  for (let start = 0; start < bytes.length; start += scratch.length) {
    const end = Math.min(bytes.length, start + scratch.length);
    scratch.set(bytes.subarray(start, end));
    addWords(scratchWords, 0, (end - start) >>> 2, bigEndian);
  }
  return { checksum1: running1 >>> 0, checksum2: running2 >>> 0 };
}

/**
 * Reads frames from `chunk` and moves the cursor past every valid frame. Stops after `limitFrames`, at the
 * end of the chunk, or at the first invalid frame.
 * @param chunk begins at the frame of the cursor
 * @param onFrame gets the page number, the commit (database size in pages, or 0) and the offset of the page
 * in `chunk`
 */
export function scanFrames(
  header: FrameFormat,
  cursor: WalCursor,
  chunk: Uint8Array,
  limitFrames: number,
  onFrame: (pgno: number, commit: number, chunkOffset: number) => void,
): WalScan {
  const { pageSizeBytes, bigEndianChecksum, salt1, salt2 } = header;
  const frameSize = WAL_FRAME_HEADER_SIZE + pageSizeBytes;
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const words = wordsOf(chunk);
  let frames = 0;
  for (let at = 0; frames < limitFrames && at < chunk.length; at += frameSize) {
    if (chunk.length - at < frameSize) return { frames, end: "short-frame" };
    if (view.getUint32(at + 8) !== salt1 || view.getUint32(at + 12) !== salt2) return { frames, end: "salt" };
    const pgno = view.getUint32(at);
    if (pgno === 0) return { frames, end: "page-0" };

    running1 = cursor.checksum1 | 0;
    running2 = cursor.checksum2 | 0;
    addWords(words, at >>> 2, (at + CHECKSUMMED_FRAME_HEADER_SIZE) >>> 2, bigEndianChecksum);
    addWords(words, (at + WAL_FRAME_HEADER_SIZE) >>> 2, (at + frameSize) >>> 2, bigEndianChecksum);
    if ((running1 | 0) !== view.getInt32(at + 16) || (running2 | 0) !== view.getInt32(at + 20)) {
      return { frames, end: "checksum" };
    }
    cursor.checksum1 = running1 >>> 0;
    cursor.checksum2 = running2 >>> 0;
    cursor.frameCount++;
    frames++;
    onFrame(pgno, view.getUint32(at + 4), at + WAL_FRAME_HEADER_SIZE);
  }
  return { frames, end: "end" };
}

/** The whole words of a chunk. The chunks of a file lie aligned in their buffer; others are copied. */
function wordsOf(chunk: Uint8Array): Int32Array {
  const { buffer, byteOffset } = chunk.byteOffset % 4 === 0 ? chunk : chunk.slice();
  return new Int32Array(buffer, byteOffset, chunk.length >>> 2);
}

// Input of walChecksum is copied here, so that input of any alignment can be read as 32-bit words.
const scratch = new Uint8Array(4096);
const scratchWords = new Int32Array(scratch.buffer);
let running1 = 0;
let running2 = 0;

/** Adds the words from `start` to before `end`, a multiple of two, to the running checksum. */
function addWords(words: Int32Array, start: number, end: number, bigEndian: boolean): void {
  let sum1 = running1;
  let sum2 = running2;
  let word = start;
  if (bigEndian) {
    for (; word < end; word += 2) {
      sum1 = (sum1 + swap(words[word]!) + sum2) | 0;
      sum2 = (sum2 + swap(words[word + 1]!) + sum1) | 0;
    }
  }
  // Eight words in a turn take two thirds of the time of two.
  for (; word + 8 <= end; word += 8) {
    sum1 = (sum1 + words[word]! + sum2) | 0;
    sum2 = (sum2 + words[word + 1]! + sum1) | 0;
    sum1 = (sum1 + words[word + 2]! + sum2) | 0;
    sum2 = (sum2 + words[word + 3]! + sum1) | 0;
    sum1 = (sum1 + words[word + 4]! + sum2) | 0;
    sum2 = (sum2 + words[word + 5]! + sum1) | 0;
    sum1 = (sum1 + words[word + 6]! + sum2) | 0;
    sum2 = (sum2 + words[word + 7]! + sum1) | 0;
  }
  for (; word < end; word += 2) {
    sum1 = (sum1 + words[word]! + sum2) | 0;
    sum2 = (sum2 + words[word + 1]! + sum1) | 0;
  }
  running1 = sum1;
  running2 = sum2;
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function refuse(at: number, found: string): WalrustError {
  return new WalrustError("corrupt", `Cannot decode WAL header at byte ${at}: ${found}`);
}
