/** ZeroPages against the checksums of real pages of zeros. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { pageChecksum, pageChecksumInto } from "../../src/format/crc64.ts";
import { CHECKSUM_FLAG, lockPgno } from "../../src/format/types.ts";
import { ZeroPages } from "../../src/format/zero-pages.ts";
import { cases } from "../support/property-cases.ts";

const SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const FLAG = BigInt(CHECKSUM_FLAG);

function wordsOf(words: Uint32Array): bigint {
  return (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
}

/** The XOR over a run, page by page. */
function slowRun(firstPgno: number, lastPgno: number, pageSizeBytes: number): bigint {
  const zeros = new Uint8Array(pageSizeBytes);
  let sum = 0n;
  for (let pgno = firstPgno; pgno <= lastPgno; pgno++) {
    if (pgno !== lockPgno(pageSizeBytes)) sum ^= pageChecksum(pgno, zeros);
  }
  return sum | FLAG;
}

describe.each(SIZES)("ZeroPages of %p bytes", (pageSizeBytes) => {
  const zeroPages = ZeroPages.of(pageSizeBytes);
  const out = new Uint32Array(2);

  test("sumInto is the page checksum of zeros", () => {
    const zeros = new Uint8Array(pageSizeBytes);
    const expected = new Uint32Array(2);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 0xffffffff }), (pgno) => {
        pageChecksumInto(pgno, zeros, expected);
        zeroPages.sumInto(pgno, out);
        expect(out).toEqual(expected);
      }),
      cases(100),
    );
  });

  test("runInto is the XOR of all pages of the run", () => {
    const lock = lockPgno(pageSizeBytes);
    const firsts = [1, 2, 3, 4, 1000, lock - 5, lock, lock + 1, 0xffffffff - 40];
    for (const first of firsts) {
      for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 40]) {
        zeroPages.runInto(first, first + length - 1, out);
        expect(wordsOf(out) | FLAG).toBe(slowRun(first, first + length - 1, pageSizeBytes));
      }
    }
  });

  test("runInto of adjacent runs is that of the joined run, up to four billion pages", () => {
    const pgno = fc.integer({ min: 1, max: 0xffffffff });
    fc.assert(
      fc.property(pgno, pgno, (a, b) => {
        const [middle, last] = a < b ? [a, b] : [b, a];
        zeroPages.runInto(1, middle, out);
        const left = wordsOf(out);
        zeroPages.runInto(middle + 1, last, out);
        const right = wordsOf(out);
        zeroPages.runInto(1, last, out);
        expect((left ^ right) | FLAG).toBe(wordsOf(out) | FLAG);
      }),
      cases(100),
    );
  });
});
