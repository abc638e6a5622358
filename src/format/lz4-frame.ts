/**
 * The LZ4 frame format, in which ltx before 0.5.2, and Litestream with it, stored every page. Little-endian.
 *
 *   size  field
 *      4  magic 0x184d2204
 *      1  FLG: version 01 in bits 7 and 6; bit 5 blocks are independent, bit 4 block checksums, bit 3 content
 *         size, bit 2 content checksum, bit 1 reserved, bit 0 dictionary id
 *      1  BD: the largest block size, bits 6 to 4
 *    0|8  content size, if FLG bit 3
 *      1  the second byte of the XXH32 of the descriptor (FLG, BD and content size)
 *      4  block size; bit 31: the block is stored uncompressed
 *      n  the block
 *    0|4  XXH32 of the block, if FLG bit 4
 *      4  end mark, 0
 *    0|4  XXH32 of the content, if FLG bit 2
 *
 * A page is at most 64 KB, which every allowed block size covers, so a frame has exactly one block. Frames
 * with more blocks, with a dictionary or with reserved bits are refused. All checksums are verified.
 * Source: lz4/lz4, doc/lz4_Frame_format.md; Cyan4973/xxHash, doc/xxhash_spec.md.
 */
import { WalrustError } from "../errors.ts";
import { lz4CompressBound, lz4Decompress } from "./lz4.ts";

const MAGIC = 0x184d2204;
const DESCRIPTOR_AT = 4;
const FIXED_SIZE = 7;
const STORED_FLAG = 0x80000000;

/** The size of a frame, as far as its beginning determines it. */
export interface Lz4FrameSize {
  /** The size of the frame if it is whole; otherwise the number of bytes needed to know more. */
  readonly sizeBytes: number;
  /** Whether all bytes of the frame are present. */
  readonly isWhole: boolean;
}

interface Layout {
  readonly hasBlockChecksum: boolean;
  readonly hasContentChecksum: boolean;
  readonly headerSize: number;
}

/**
 * Measures the frame at the beginning of `bytes`.
 * @param contentSizeMax largest size of its content
 * @throws WalrustError "corrupt" when there is no frame, or the frame is too large for such content
 */
export function measureLz4Frame(bytes: Uint8Array, contentSizeMax: number): Lz4FrameSize {
  if (bytes.length < FIXED_SIZE) return { sizeBytes: FIXED_SIZE, isWhole: false };
  const { headerSize, hasBlockChecksum, hasContentChecksum } = layoutOf(bytes);
  const blockAt = headerSize + 4;
  if (bytes.length < blockAt) return { sizeBytes: blockAt, isWhole: false };
  const blockSize = (uint32At(bytes, headerSize) & ~STORED_FLAG) >>> 0;
  const blockSizeMax = lz4CompressBound(contentSizeMax);
  if (blockSize === 0 || blockSize > blockSizeMax) {
    fail(headerSize, `block size is ${blockSize}, expected 1 to ${blockSizeMax}`);
  }
  const sizeBytes = blockAt + blockSize + (hasBlockChecksum ? 4 : 0) + 4 + (hasContentChecksum ? 4 : 0);
  return { sizeBytes, isWhole: bytes.length >= sizeBytes };
}

/**
 * Decodes a whole frame into `target`, whose size is the size of the content.
 * @throws WalrustError "corrupt" when the frame is not valid, or its content has another size
 */
export function decodeLz4Frame(frame: Uint8Array, target: Uint8Array): void {
  const { headerSize, hasBlockChecksum, hasContentChecksum } = layoutOf(frame);
  const descriptorHash = xxh32(frame.subarray(DESCRIPTOR_AT, headerSize - 1));
  if (frame[headerSize - 1] !== ((descriptorHash >>> 8) & 255))
    fail(headerSize - 1, "header checksum is wrong");
  const stored = uint32At(frame, headerSize);
  const blockEnd = headerSize + 4 + ((stored & ~STORED_FLAG) >>> 0);
  const block = frame.subarray(headerSize + 4, blockEnd);
  let at = blockEnd;
  if (hasBlockChecksum) {
    if (uint32At(frame, at) !== xxh32(block)) fail(at, "block checksum is wrong");
    at += 4;
  }
  const size = (stored & STORED_FLAG) === 0 ? lz4Decompress(block, target) : block.length;
  if (size !== target.length) fail(headerSize, `content is ${size} bytes, expected ${target.length}`);
  if ((stored & STORED_FLAG) !== 0) target.set(block);
  if (uint32At(frame, at) !== 0) fail(at, "a second block follows, expected the end mark");
  if (hasContentChecksum && uint32At(frame, at + 4) !== xxh32(target))
    fail(at + 4, "content checksum is wrong");
}

function layoutOf(bytes: Uint8Array): Layout {
  if (uint32At(bytes, 0) !== MAGIC) fail(0, "magic is wrong, expected 0x184d2204");
  const flags = bytes[DESCRIPTOR_AT]!;
  if (flags >>> 6 !== 1) fail(DESCRIPTOR_AT, `version is ${flags >>> 6}, expected 1`);
  if ((flags & 0b11) !== 0) fail(DESCRIPTOR_AT, "it needs a dictionary or has reserved bits set");
  return {
    hasBlockChecksum: (flags & 0b10000) !== 0,
    hasContentChecksum: (flags & 0b100) !== 0,
    headerSize: FIXED_SIZE + ((flags & 0b1000) !== 0 ? 8 : 0),
  };
}

const PRIME_1 = 0x9e3779b1;
const PRIME_2 = 0x85ebca77;
const PRIME_3 = 0xc2b2ae3d;
const PRIME_4 = 0x27d4eb2f;
const PRIME_5 = 0x165667b1;

/** The XXH32 of `bytes` with seed 0. */
export function xxh32(bytes: Uint8Array): number {
  const size = bytes.length;
  let at = 0;
  let hash = PRIME_5;
  if (size >= 16) {
    let lane1 = (PRIME_1 + PRIME_2) | 0;
    let lane2 = PRIME_2 | 0;
    let lane3 = 0;
    let lane4 = -PRIME_1 | 0;
    for (; at + 16 <= size; at += 16) {
      lane1 = round(lane1, uint32At(bytes, at));
      lane2 = round(lane2, uint32At(bytes, at + 4));
      lane3 = round(lane3, uint32At(bytes, at + 8));
      lane4 = round(lane4, uint32At(bytes, at + 12));
    }
    hash = rotate(lane1, 1) + rotate(lane2, 7) + rotate(lane3, 12) + rotate(lane4, 18);
  }
  hash = (hash + size) | 0;
  for (; at + 4 <= size; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(uint32At(bytes, at), PRIME_3)) | 0, 17), PRIME_4);
  }
  for (; at < size; at++) hash = Math.imul(rotate((hash + Math.imul(bytes[at]!, PRIME_5)) | 0, 11), PRIME_1);
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function round(lane: number, word: number): number {
  return Math.imul(rotate((lane + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function uint32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function fail(at: number, found: string): never {
  throw new WalrustError("corrupt", `Cannot decode LZ4 frame at byte ${at}: ${found}`);
}
