/**
 * The LZ4 block format, in which LTX stores every page. Little-endian.
 *
 * A block is a row of sequences:
 *
 *   size  field
 *      1  token: literal count in bits 7 to 4, match length - 4 in bits 3 to 0
 *      n  if the literal count is 15: bytes to add to it, up to and including the first below 255
 *      n  the literals
 *      2  distance of the match, unsigned
 *      n  if the match length in the token is 15: bytes to add to it, as above
 *
 * The last sequence ends after its literals. A block is valid if and only if
 *   1. every length and distance lies within the block, and the output within the page,
 *   2. a distance is at least 1 and reaches no further back than the first byte of output,
 *   3. the block ends right after the literals of its last sequence.
 * A compressor must also end a block with at least 5 literals, and begin no match in the last 12 bytes.
 * Source: lz4/lz4, doc/lz4_Block_format.md.
 *
 * The compressor is greedy, with a table of one position for each hash. Memory is this table and scratch
 * space for the input and output of one page. No length read from a block ever leads to an allocation.
 */
import { WalrustError } from "../errors.ts";

/** The largest page: the compressor keeps positions in 16 bits. */
const SOURCE_SIZE_MAX = 65536;
const OUTPUT_SIZE_MAX = lz4CompressBound(SOURCE_SIZE_MAX);

const HASH_BITS = 12;
const HASH_SHIFT = 32 - HASH_BITS;
const HASH_MULTIPLIER = 0x9e3779b1 | 0;
const MATCH_MIN = 4;
const LAST_LITERALS = 5;
const LAST_MATCH_DISTANCE = 12;
/** The step grows by one after each 2^6 misses in a row, so that incompressible pages take little time. */
const SKIP_SHIFT = 6;

const positions = new Uint16Array(1 << HASH_BITS);
// Both loops are two to three times as fast on two constant arrays as on the arrays of the caller.
const inputScratch = new Uint8Array(OUTPUT_SIZE_MAX);
const inputView = new DataView(inputScratch.buffer);
const outputScratch = new Uint8Array(OUTPUT_SIZE_MAX);

/** The largest compressed size of `sourceSize` bytes. */
export function lz4CompressBound(sourceSize: number): number {
  return sourceSize + Math.floor(sourceSize / 255) + 16;
}

/**
 * Compresses `source` (1 to 65536 bytes) into `target`, which must have room for lz4CompressBound bytes.
 * @returns the number of bytes written
 * @throws WalrustError "internal" when a size is out of range
 */
export function lz4Compress(source: Uint8Array, target: Uint8Array): number {
  const size = source.length;
  if (size < 1 || size > SOURCE_SIZE_MAX || target.length < lz4CompressBound(size)) {
    throw new WalrustError(
      "internal",
      `Cannot compress ${size} bytes into ${target.length}: expected 1 to 65536 bytes and room for the bound`,
    );
  }
  inputScratch.set(source);
  positions.fill(0);
  const compressedSize = compress(size);
  target.set(outputScratch.subarray(0, compressedSize));
  return compressedSize;
}

/** Compresses the first `size` bytes of inputScratch into outputScratch. */
function compress(size: number): number {
  const source = inputScratch;
  const view = inputView;
  const target = outputScratch;
  const table = positions;
  const matchStartLimit = size - LAST_MATCH_DISTANCE;
  const matchEndLimit = size - LAST_LITERALS;
  let anchor = 0;
  let output = 0;
  let position = 1;
  let misses = 1 << SKIP_SHIFT;
  while (position <= matchStartLimit) {
    const word = view.getInt32(position, true);
    const slot = Math.imul(word, HASH_MULTIPLIER) >>> HASH_SHIFT;
    let candidate = table[slot]!;
    table[slot] = position;
    if (view.getInt32(candidate, true) !== word) {
      position += misses++ >>> SKIP_SHIFT;
      continue;
    }
    misses = 1 << SKIP_SHIFT;
    const distance = position - candidate;
    while (position > anchor && candidate > 0 && source[position - 1] === source[candidate - 1]) {
      position--;
      candidate--;
    }
    let end = position + MATCH_MIN;
    while (end <= matchEndLimit - 4 && view.getInt32(end, true) === view.getInt32(end - distance, true))
      end += 4;
    while (end < matchEndLimit && source[end] === source[end - distance]) end++;
    output = putLiterals(anchor, position, output, end - position - MATCH_MIN);
    target[output] = distance;
    target[output + 1] = distance >>> 8;
    output = putLengthRest(output + 2, end - position - MATCH_MIN);
    anchor = end;
    position = end;
    if (position <= matchStartLimit) {
      const before = position - 2;
      table[Math.imul(view.getInt32(before, true), HASH_MULTIPLIER) >>> HASH_SHIFT] = before;
    }
  }
  return putLiterals(anchor, size, output, 0);
}

/** Writes a token for the literals [start, end) and a match of `matchRest` + 4 bytes, then the literals. */
function putLiterals(start: number, end: number, output: number, matchRest: number): number {
  const source = inputScratch;
  const target = outputScratch;
  const count = end - start;
  target[output] = (Math.min(count, 15) << 4) | Math.min(matchRest, 15);
  let next = putLengthRest(output + 1, count);
  for (let index = start; index < end; index++) target[next++] = source[index]!;
  return next;
}

/** Writes the bytes that extend a four-bit count of 15; writes nothing for a length below 15. */
function putLengthRest(output: number, length: number): number {
  const target = outputScratch;
  if (length < 15) return output;
  let next = output;
  let rest = length - 15;
  for (; rest >= 255; rest -= 255) target[next++] = 255;
  target[next++] = rest;
  return next;
}

/**
 * Decompresses one block into `target`.
 * @returns the number of bytes written, at most `target.length`
 * @throws WalrustError "corrupt" on any malformed block; `target` is then unchanged
 */
export function lz4Decompress(source: Uint8Array, target: Uint8Array): number {
  const outputLimit = Math.min(target.length, SOURCE_SIZE_MAX);
  if (source.length > inputScratch.length) fail(0, `a block of ${source.length} bytes cannot be a page`);
  inputScratch.set(source);
  const size = decompress(source.length, outputLimit);
  target.set(size === OUTPUT_SIZE_MAX ? outputScratch : outputScratch.subarray(0, size));
  return size;
}

/** Decompresses the first `inputEnd` bytes of inputScratch into outputScratch. */
function decompress(inputEnd: number, outputEnd: number): number {
  const source = inputScratch;
  const target = outputScratch;
  let input = 0;
  let output = 0;
  while (input < inputEnd) {
    const token = source[input++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      for (let more = 255; more === 255; literals += more) {
        if (input >= inputEnd) fail(input, "the literal count is cut off");
        more = source[input++]!;
      }
    }
    if (literals > inputEnd - input) fail(input, `${literals} literals in ${inputEnd - input} bytes`);
    if (literals > outputEnd - output) fail(input, `the output is longer than ${outputEnd} bytes`);
    for (const end = input + literals; input < end; ) target[output++] = source[input++]!;
    if (input === inputEnd) return output;

    if (inputEnd - input < 2) fail(input, "the match distance is cut off");
    const distance = source[input]! | (source[input + 1]! << 8);
    input += 2;
    if (distance === 0 || distance > output) fail(input, `distance ${distance} at output byte ${output}`);
    let length = (token & 15) + MATCH_MIN;
    if (length === 15 + MATCH_MIN) {
      for (let more = 255; more === 255; length += more) {
        if (input >= inputEnd) fail(input, "the match length is cut off");
        more = source[input++]!;
      }
    }
    if (length > outputEnd - output) fail(input, `the output is longer than ${outputEnd} bytes`);
    const end = output + length;
    if (distance === 1 && length > 32) target.fill(target[output - 1]!, output, end);
    else for (let at = output; at < end; at++) target[at] = target[at - distance]!;
    output = end;
  }
  return fail(input, "it ends without literals");
}

function fail(at: number, found: string): never {
  throw new WalrustError("corrupt", `Cannot decompress LZ4 block at byte ${at}: ${found}`);
}
