/**
 * LZ4 blocks: round trips, the end-of-block rules, and hostile blocks. ltx-encoder.test.ts shows with the ltx
 * CLI that other decoders read walrust's blocks; ltx-decoder.test.ts shows the reverse.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { hasCode } from "../../src/errors.ts";
import { lz4Compress, lz4CompressBound, lz4Decompress } from "../../src/format/lz4.ts";
import { cases } from "../support/property-cases.ts";
import { expectRefusal, samplePage } from "./samples.ts";

function compress(source: Uint8Array): Uint8Array {
  const target = new Uint8Array(lz4CompressBound(source.length));
  return target.slice(0, lz4Compress(source, target));
}

function decompress(block: Uint8Array | number[], size: number): Uint8Array {
  const target = new Uint8Array(size);
  return target.slice(0, lz4Decompress(Uint8Array.from(block), target));
}

/**
 * Walks the sequences of a block.
 * @returns the start of the last match and the number of literals after it
 */
function endOf(block: Uint8Array): { lastMatchStart: number; lastLiterals: number } {
  let at = 0;
  let output = 0;
  let lastMatchStart = -1;
  const more = (count: number) => {
    let total = count;
    if (count === 15)
      do total += block[at]!;
      while (block[at++] === 255);
    return total;
  };
  for (;;) {
    const token = block[at++]!;
    const literals = more(token >>> 4);
    at += literals;
    output += literals;
    if (at === block.length) return { lastMatchStart, lastLiterals: literals };
    at += 2;
    lastMatchStart = output;
    output += more(token & 15) + 4;
  }
}

describe("lz4Compress", () => {
  test("round trips every length from 1 to 300, of zeros, words and noise", () => {
    for (let size = 1; size <= 300; size++) {
      for (const source of [new Uint8Array(size), samplePage(size, size), new Uint8Array(size).fill(0xab)]) {
        expect(decompress(compress(source), size)).toEqual(source);
      }
    }
  });

  test("round trips pages of every size", () => {
    for (let size = 512; size <= 65536; size *= 2) {
      for (const source of [new Uint8Array(size), samplePage(size, size)]) {
        expect(Buffer.compare(decompress(compress(source), size), source)).toBe(0);
      }
    }
  });

  test("round trips random bytes and periodic ones", () => {
    const source = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 2000 }),
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 30 }), fc.integer({ min: 1, max: 400 }))
        .map(([unit, n]) => {
          return Uint8Array.from({ length: unit.length * n }, (_, index) => unit[index % unit.length]!);
        }),
    );
    const property = fc.property(source, (bytes) => {
      return Buffer.compare(decompress(compress(bytes), bytes.length), bytes) === 0;
    });
    fc.assert(property, cases(500, 4));
  });

  test("keeps the end-of-block rules: 5 literals, no match in the last 12 bytes", () => {
    const noise = crypto.getRandomValues(new Uint8Array(40));
    for (let size = 13; size <= 600; size++) {
      // Zeros could match up to the end; the repetition from byte 40 matches only in the last bytes.
      const isZero = size > 60 || size <= 40;
      const source = Uint8Array.from({ length: size }, (_, index) => (isZero ? 0 : noise[index % 40]!));
      const { lastMatchStart, lastLiterals } = endOf(compress(source));
      expect(lastLiterals).toBeGreaterThanOrEqual(5);
      expect(lastMatchStart).toBeLessThanOrEqual(size - 12);
    }
  });

  test("stays within the bound for noise, and compresses an empty page well", () => {
    const noise = crypto.getRandomValues(new Uint8Array(65536));
    expect(compress(noise).length).toBeLessThanOrEqual(lz4CompressBound(65536));
    expect(compress(new Uint8Array(4096)).length).toBeLessThan(40);
    expect(compress(samplePage(4096, 1)).length).toBeLessThan(3200);
  });

  test("rejects an empty source, one above 65536 bytes, and a short target", () => {
    const target = new Uint8Array(70_000);
    expectRefusal(() => lz4Compress(new Uint8Array(0), target), "internal", "expected 1 to 65536");
    expectRefusal(() => lz4Compress(new Uint8Array(65537), target), "internal", "expected 1 to 65536");
    expectRefusal(() => lz4Compress(new Uint8Array(512), target.subarray(0, 529)), "internal", "room");
  });
});

describe("lz4Decompress", () => {
  test("decodes a block written by hand: literals, an overlapping match, literals", () => {
    const block = [0x32, 97, 98, 99, 3, 0, 0x50, 49, 50, 51, 52, 53];
    expect(new TextDecoder().decode(decompress(block, 14))).toBe("abcabcabc12345");
  });

  const refusals: [string, number[], string][] = [
    ["an empty block", [], "ends without literals"],
    ["a cut off literal count", [0xf0], "literal count is cut off"],
    ["a literal count without end", [0xf0, 255, 255], "literal count is cut off"],
    ["literals beyond the block", [0x20, 1], "2 literals in 1 bytes"],
    ["literals beyond the page", [0x90, 1, 2, 3, 4, 5, 6, 7, 8, 9], "output is longer than 8"],
    ["a cut off distance", [0x10, 1, 1], "distance is cut off"],
    ["distance 0", [0x10, 1, 0, 0, 0x00], "distance 0 at output byte 1"],
    ["a distance before the page", [0x10, 1, 2, 0, 0x00], "distance 2 at output byte 1"],
    ["a cut off match length", [0x1f, 1, 1, 0], "match length is cut off"],
    ["a match beyond the page", [0x14, 1, 1, 0, 0x00], "output is longer than 8"],
    ["an end with a match", [0x10, 1, 1, 0], "ends without literals"],
  ];
  for (const [name, block, text] of refusals) {
    test(`rejects ${name}`, () => {
      const target = new Uint8Array(8);
      expectRefusal(() => lz4Decompress(Uint8Array.from(block), target), "corrupt", text);
      expect(target).toEqual(new Uint8Array(8));
    });
  }

  test("rejects a block larger than any page", () => {
    expectRefusal(
      () => lz4Decompress(new Uint8Array(1 << 20), new Uint8Array(8)),
      "corrupt",
      "1048576 bytes",
    );
  });

  test("never returns a whole page for a truncated block", () => {
    const source = samplePage(1024, 3);
    const block = compress(source);
    for (let size = 0; size < block.length; size++) {
      expect(resultOf(block.subarray(0, size), source.length)).not.toBe(source.length);
    }
  });

  test("throws a typed error or gives a size within the page for every flipped byte", () => {
    const source = samplePage(1024, 4);
    const block = compress(source);
    for (let at = 0; at < block.length; at++) {
      for (const mask of [1, 0x80, 0xff]) {
        const flipped = block.slice();
        flipped[at]! ^= mask;
        const size = resultOf(flipped, source.length);
        expect(size === "corrupt" || size <= source.length).toBe(true);
      }
    }
  });
});

function resultOf(block: Uint8Array, size: number): number | "corrupt" {
  try {
    return lz4Decompress(block, new Uint8Array(size));
  } catch (error) {
    if (hasCode(error, "corrupt")) return "corrupt";
    throw error;
  }
}
