/**
 * CRC-64/ISO (CRC-64/GO-ISO): the checksum of LTX files and of database pages.
 *
 * Reflected, polynomial 0xD800000000000000, initial value and final XOR all ones, the same as hash/crc64 of
 * Go with the ISO table. The check value of "123456789" is 0xb90956c775a41001.
 *
 * The checksum of a page is CRC-64(page number as big-endian u32 ‖ page content) with bit 63 set, so that it
 * is never zero. The checksum of a database is the XOR of the checksums of all pages except the lock page,
 * again with bit 63 set; that of an empty database is bit 63 alone. Source: superfly/ltx v0.5.2, checksum.go.
 *
 * The polynomial is x^64 + x^4 + x^3 + x + 1. Squaring keeps the number of its terms, so that x^2048 is
 * congruent to x^128 + x^96 + x^32 + 1: a 32-bit word 256 bytes before the end of the input counts as much as
 * the same word 256, 252, 244 and 240 bytes later. `fold` moves all words of a page into its last 256 bytes
 * in this way, with four XORs for a word and no table. A page of 4 KB takes a third of the time of the tables
 * alone.
 *
 * Each further step handles eight bytes with eight tables ("slicing by 8"). Each table is split into two
 * 32-bit halves, so a bigint is made only for a final value. Between calls only scratch memory is kept.
 */
import { CHECKSUM_FLAG, type Checksum } from "./types.ts";

const POLYNOMIAL_HIGH = 0xd8000000;
const SCRATCH_SIZE = 65536;

/** Entry t * 256 + b: the CRC of byte b followed by t zero bytes. */
const TABLE_LOW = new Uint32Array(8 * 256);
const TABLE_HIGH = new Uint32Array(8 * 256);
fillTables();

/** Words that `fold` leaves: 256 bytes. */
const FOLDED_WORDS = 64;
/** Words of zeros before the scratch memory: `fold` reads them in place of words before the input. */
const MARGIN_WORDS = 4;
/** For shorter input the tables are faster. */
const FOLD_WORDS_MIN = 2 * FOLDED_WORDS;

// Input is copied here, so that input of any alignment can be read as 32-bit words.
const memory = new ArrayBuffer(MARGIN_WORDS * 4 + SCRATCH_SIZE);
const scratch = new Uint8Array(memory, MARGIN_WORDS * 4);
/** The words of the scratch memory after those of the margin. */
const scratchWords = new Int32Array(memory);

/** The CRC register of advance(): the inverted CRC, in two halves. */
let registerLow = 0;
let registerHigh = 0;

const valueWords = new Uint32Array(2);
const valueBigints = new BigUint64Array(valueWords.buffer);

function fillTables(): void {
  for (let byte = 0; byte < 256; byte++) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = (low & 1) === 1;
      low = ((low >>> 1) | (high << 31)) >>> 0;
      high = isOdd ? ((high >>> 1) ^ POLYNOMIAL_HIGH) >>> 0 : high >>> 1;
    }
    TABLE_LOW[byte] = low;
    TABLE_HIGH[byte] = high;
  }
  for (let entry = 256; entry < 8 * 256; entry++) {
    const low = TABLE_LOW[entry - 256]!;
    const high = TABLE_HIGH[entry - 256]!;
    TABLE_LOW[entry] = ((low >>> 8) | (high << 24)) ^ TABLE_LOW[low & 255]!;
    TABLE_HIGH[entry] = (high >>> 8) ^ TABLE_HIGH[low & 255]!;
  }
}

/**
 * Moves the first words of the scratch memory into the `FOLDED_WORDS` before `end`, with the register in the
 * first two. The words before are arbitrary then, and count as zeros.
 * @param end index of the word after the input, which has `FOLD_WORDS_MIN` words at least
 * @returns the index of the first word that is left
 */
function fold(end: number): number {
  const words = scratchWords;
  words[MARGIN_WORDS]! ^= registerLow;
  words[MARGIN_WORDS + 1]! ^= registerHigh;
  registerLow = 0;
  registerHigh = 0;
  // Each sum is that of a word and the next one. The last four words get a part of the terms only.
  const last = end - MARGIN_WORDS;
  let [sum0, sum1, sum2, before] = [0, 0, 0, 0];
  let index = FOLDED_WORDS;
  for (; index + 3 < last; index += 4) {
    const source = index - FOLDED_WORDS + MARGIN_WORDS;
    const word0 = words[source]!;
    const word1 = words[source + 1]!;
    const word2 = words[source + 2]!;
    const word3 = words[source + 3]!;
    const sum3 = before ^ word0;
    words[index]! ^= sum0 ^ sum3;
    sum0 = word0 ^ word1;
    words[index + 1]! ^= sum1 ^ sum0;
    sum1 = word1 ^ word2;
    words[index + 2]! ^= sum2 ^ sum1;
    sum2 = word2 ^ word3;
    words[index + 3]! ^= sum3 ^ sum2;
    before = word3;
  }
  for (; index < end; index++) {
    const from = index - FOLDED_WORDS;
    const left = end - 1 - index;
    let word = words[index]! ^ words[from]!;
    if (left >= 1) word ^= words[from + 1]!;
    if (left >= 3) word ^= words[from + 3]!;
    if (left >= 4) word ^= words[from + 4]!;
    words[index] = word;
  }
  return end - FOLDED_WORDS;
}

/** Advances the register over the first `byteCount` bytes of `scratch`. */
function advance(byteCount: number): void {
  const tableLow = TABLE_LOW;
  const tableHigh = TABLE_HIGH;
  const words = scratchWords;
  const wordCount = (byteCount >>> 3) << 1;
  const wordEnd = MARGIN_WORDS + wordCount;
  const first = wordCount < FOLD_WORDS_MIN ? MARGIN_WORDS : fold(wordEnd);
  let low = registerLow;
  let high = registerHigh;
  for (let word = first; word < wordEnd; word += 2) {
    low ^= words[word]!;
    high ^= words[word + 1]!;
    const b0 = 1792 | (low & 255);
    const b1 = 1536 | ((low >>> 8) & 255);
    const b2 = 1280 | ((low >>> 16) & 255);
    const b3 = 1024 | (low >>> 24);
    const b4 = 768 | (high & 255);
    const b5 = 512 | ((high >>> 8) & 255);
    const b6 = 256 | ((high >>> 16) & 255);
    const b7 = high >>> 24;
    low =
      tableLow[b0]! ^
      tableLow[b1]! ^
      tableLow[b2]! ^
      tableLow[b3]! ^
      tableLow[b4]! ^
      tableLow[b5]! ^
      tableLow[b6]! ^
      tableLow[b7]!;
    high =
      tableHigh[b0]! ^
      tableHigh[b1]! ^
      tableHigh[b2]! ^
      tableHigh[b3]! ^
      tableHigh[b4]! ^
      tableHigh[b5]! ^
      tableHigh[b6]! ^
      tableHigh[b7]!;
  }
  for (let index = wordCount << 2; index < byteCount; index++) {
    const entry = (low ^ scratch[index]!) & 255;
    low = ((low >>> 8) | (high << 24)) ^ tableLow[entry]!;
    high = (high >>> 8) ^ tableHigh[entry]!;
  }
  registerLow = low;
  registerHigh = high;
}

/** Advances the register over `bytes`, in pieces of the size of the scratch memory. */
function advanceBytes(bytes: Uint8Array): void {
  const size = bytes.length;
  if (size <= SCRATCH_SIZE) {
    scratch.set(bytes);
    advance(size);
    return;
  }
  for (let start = 0; start < size; start += SCRATCH_SIZE) {
    const end = Math.min(size, start + SCRATCH_SIZE);
    scratch.set(bytes.subarray(start, end));
    advance(end - start);
  }
}

function toBigint(low: number, high: number): bigint {
  valueWords[0] = low;
  valueWords[1] = high;
  return valueBigints[0]!;
}

/** A running CRC-64/ISO over bytes that arrive in pieces. */
export class Crc64 {
  #low = -1;
  #high = -1;

  /** Starts again with no bytes. */
  reset(): void {
    this.#low = -1;
    this.#high = -1;
  }

  /** Adds `bytes`; the pieces may be of any length and alignment. */
  update(bytes: Uint8Array): void {
    registerLow = this.#low;
    registerHigh = this.#high;
    advanceBytes(bytes);
    this.#low = registerLow;
    this.#high = registerHigh;
  }

  /** The CRC of everything added so far, as an unsigned 64-bit number. */
  value(): bigint {
    return toBigint(~this.#low, ~this.#high);
  }

  /** The CRC so far with bit 63 set, as LTX stores it. */
  checksum(): Checksum {
    return toBigint(~this.#low, ~this.#high | 0x80000000) as Checksum;
  }
}

/** The CRC-64/ISO of `bytes`, as an unsigned 64-bit number. */
export function crc64(bytes: Uint8Array): bigint {
  registerLow = -1;
  registerHigh = -1;
  advanceBytes(bytes);
  return toBigint(~registerLow, ~registerHigh);
}

/** Sets the register to the state after the page number, then advances it over the page (64 KB at most). */
function advancePage(pgno: number, page: Uint8Array): void {
  if (page.length > SCRATCH_SIZE) throw new RangeError(`page of ${page.length} bytes is larger than 65536`);
  let low = -1;
  let high = -1;
  for (let shift = 24; shift >= 0; shift -= 8) {
    const entry = (low ^ (pgno >>> shift)) & 255;
    low = ((low >>> 8) | (high << 24)) ^ TABLE_LOW[entry]!;
    high = (high >>> 8) ^ TABLE_HIGH[entry]!;
  }
  registerLow = low;
  registerHigh = high;
  scratch.set(page);
  advance(page.length);
}

/** The LTX checksum of one page of at most 65536 bytes. */
export function pageChecksum(pgno: number, page: Uint8Array): Checksum {
  advancePage(pgno, page);
  return toBigint(~registerLow, ~registerHigh | 0x80000000) as Checksum;
}

/** The LTX checksum of one page, without a bigint: out[0] is the low half, out[1] the high half. */
export function pageChecksumInto(pgno: number, page: Uint8Array, out: Uint32Array): void {
  advancePage(pgno, page);
  out[0] = ~registerLow;
  out[1] = ~registerHigh | 0x80000000;
}

/** Adds a page checksum to a database checksum, or removes it: the XOR, with bit 63 set again. */
export function xorChecksum(a: Checksum, b: Checksum): Checksum {
  return ((a ^ b) | CHECKSUM_FLAG) as Checksum;
}
