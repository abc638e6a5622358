/**
 * The checksums of pages full of zeros, computed without reading the zeros of each page.
 *
 * A CRC is affine over GF(2). The CRC of zero page n (its number, then zeros) is L(n) ^ C, where L is linear
 * in the bits of n, and C is the CRC of zero page 0. So the XOR over a run of pages is L of the XOR of their
 * numbers, and additionally C if the run has an odd number of pages. Bit 63, set in every page checksum,
 * cancels in the same way.
 *
 * Memory and time: 33 checksums of one page for each page size in use, then a few operations for each page or
 * run, whatever its length.
 */
import { pageChecksumInto } from "./crc64.ts";
import { lockPgno } from "./types.ts";

const PGNO_BITS = 32;

/** The checksums of the zero pages of one page size. */
export class ZeroPages {
  /** The checksum of zero page 0: C, with bit 63 set. */
  readonly #zeroLow: number;
  readonly #zeroHigh: number;
  /** L of each single bit of a page number. */
  readonly #low = new Uint32Array(PGNO_BITS);
  readonly #high = new Uint32Array(PGNO_BITS);
  readonly #lockPgno: number;

  private constructor(pageSizeBytes: number) {
    const zeros = new Uint8Array(pageSizeBytes);
    const sum = new Uint32Array(2);
    pageChecksumInto(0, zeros, sum);
    this.#zeroLow = sum[0]!;
    this.#zeroHigh = sum[1]!;
    for (let bit = 0; bit < PGNO_BITS; bit++) {
      pageChecksumInto((1 << bit) >>> 0, zeros, sum);
      this.#low[bit] = sum[0]! ^ this.#zeroLow;
      // Both checksums have bit 63 set, so L lacks this bit, and every page checksum gets it set again.
      this.#high[bit] = sum[1]! ^ this.#zeroHigh;
    }
    this.#lockPgno = lockPgno(pageSizeBytes);
  }

  /** The checksums for one page size, computed once. */
  static of(pageSizeBytes: number): ZeroPages {
    let known = MADE.get(pageSizeBytes);
    if (known === undefined) {
      known = new ZeroPages(pageSizeBytes);
      MADE.set(pageSizeBytes, known);
    }
    return known;
  }

  /** Writes the checksum of one zero page into `out`: low half, then high half with bit 63 set. */
  sumInto(pgno: number, out: Uint32Array): void {
    this.#linearInto(pgno, out);
    out[0]! ^= this.#zeroLow;
    out[1]! ^= this.#zeroHigh;
    out[1]! |= 0x80000000;
  }

  /**
   * Writes into `out` the XOR of the checksums of the zero pages from `firstPgno` to `lastPgno`, without the
   * lock page: the contribution of the run to a database checksum. Bit 63 has no meaning in the result.
   */
  runInto(firstPgno: number, lastPgno: number, out: Uint32Array): void {
    if (lastPgno < firstPgno) {
      out.fill(0);
      return;
    }
    const hasLock = firstPgno <= this.#lockPgno && this.#lockPgno <= lastPgno;
    const count = lastPgno - firstPgno + 1 - (hasLock ? 1 : 0);
    const numbers = xorUpTo(lastPgno) ^ xorUpTo(firstPgno - 1) ^ (hasLock ? this.#lockPgno : 0);
    this.#linearInto(numbers >>> 0, out);
    if (count % 2 === 1) {
      out[0]! ^= this.#zeroLow;
      out[1]! ^= this.#zeroHigh;
    }
  }

  #linearInto(pgno: number, out: Uint32Array): void {
    let low = 0;
    let high = 0;
    for (let rest = pgno; rest !== 0; rest &= rest - 1) {
      const bit = 31 - Math.clz32(rest & -rest);
      low ^= this.#low[bit]!;
      high ^= this.#high[bit]!;
    }
    out[0] = low;
    out[1] = high;
  }
}

const MADE = new Map<number, ZeroPages>();

/** The XOR of all numbers from 1 to `n`, for `n` below 2^32. */
function xorUpTo(n: number): number {
  switch (n % 4) {
    case 0:
      return n;
    case 1:
      return 1;
    case 2:
      return n + 1;
    default:
      return 0;
  }
}
