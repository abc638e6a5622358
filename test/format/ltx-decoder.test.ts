/**
 * The LTX decoder: files of the ltx CLI and of Litestream, any chunking, every truncation, every flipped
 * byte, and one hostile file for each rejection.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { hasCode } from "../../src/errors.ts";
import { FLAG_NO_CHECKSUM, LTX_HEADER_SIZE, type LtxHeader } from "../../src/format/ltx.ts";
import { decodeLtxFile, LtxDecoder } from "../../src/format/ltx-decoder.ts";
import { lz4CompressBound } from "../../src/format/lz4.ts";
import { CHECKSUM_FLAG, type Checksum, lockPgno, type Txid } from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { buildLtx, type RawLtx, storedBlock } from "./raw-ltx.ts";
import {
  applyPages,
  encodeSample,
  expectRefusal,
  type SamplePage,
  sampleHeader,
  samplePage,
  samplePages,
  vector,
  vectorPath,
} from "./samples.ts";

interface Decoded {
  readonly header: LtxHeader;
  readonly pages: SamplePage[];
  readonly postApplyChecksum: Checksum;
}

function decode(bytes: Uint8Array): Decoded {
  const pages: SamplePage[] = [];
  const { header, trailer } = decodeLtxFile(bytes, (pgno, page) => pages.push([pgno, page.slice()]));
  return { header, pages, postApplyChecksum: trailer.postApplyChecksum };
}

/** Decodes a file in chunks of these sizes; the last size repeats. */
function decodeInChunks(bytes: Uint8Array, sizes: readonly number[]): Decoded {
  const decoder = new LtxDecoder();
  const pages: SamplePage[] = [];
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = sizes[Math.min(index, sizes.length - 1)]!;
    // The chunk is a copy that is overwritten afterwards: the decoder must not refer to a consumed chunk.
    const chunk = bytes.slice(at, at + size);
    decoder.push(chunk);
    while (decoder.next()) pages.push([decoder.pgno, decoder.page.slice()]);
    chunk.fill(0xee);
    at += size;
  }
  const { postApplyChecksum } = decoder.finish();
  expect(decoder.bytesRead).toBe(bytes.length);
  return { header: decoder.header!, pages, postApplyChecksum };
}

const INCREMENT = { minTxid: 2 as Txid, maxTxid: 2 as Txid, preApplyChecksum: CHECKSUM_FLAG };

describe("LtxDecoder", () => {
  for (const name of ["encode-db-512", "encode-db-4096"]) {
    test(`decodes ${name}.ltx of the ltx CLI into the database, and its older form with LZ4 frames`, () => {
      const image = vector(`${name}.db`);
      for (const file of [`${name}.ltx`, `${name}-frames.ltx`]) {
        const { header, pages } = decode(vector(file));
        expect(Buffer.compare(applyPages(new Uint8Array(0), header, pages), image)).toBe(0);
      }
    });
  }

  test("decodes the files of a Litestream replica into the database that Litestream restores", () => {
    const names = readdirSync(vectorPath("litestream")).filter((name) => name.startsWith("0-"));
    let image = new Uint8Array(0);
    for (const name of names.sort()) {
      const { header, pages } = decode(vector(`litestream/${name}`));
      expect(header.flags).toBe(FLAG_NO_CHECKSUM);
      image = applyPages(image, header, pages) as Uint8Array<ArrayBuffer>;
    }
    expect(names.length).toBe(4);
    expect(Buffer.compare(image, vector("litestream/restored.db"))).toBe(0);
  });

  test("decodes a file written by hand", () => {
    const { header, pages } = decode(buildLtx({}));
    expect(header).toEqual(sampleHeader());
    expect(pages.map(([pgno]) => pgno)).toEqual([1, 2]);
  });

  test("decodes a file one byte at a time", () => {
    for (const name of ["encode-db-512.ltx", "encode-db-512-frames.ltx"]) {
      expect(decodeInChunks(vector(name), [1])).toEqual(decode(vector(name)));
    }
  });

  test("decodes a file in any chunks", () => {
    const files = [vector("encode-db-4096.ltx"), vector("encode-db-512-frames.ltx")];
    const expected = files.map(decode);
    const sizes = fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 40 });
    const property = fc.property(sizes, fc.nat(files.length - 1), (chunkSizes, index) => {
      expect(decodeInChunks(files[index]!, chunkSizes)).toEqual(expected[index]!);
    });
    fc.assert(property, cases(60, 21));
  });

  test("gives the header as soon as its bytes have arrived, before any page", () => {
    const decoder = new LtxDecoder();
    const bytes = encodeSample(sampleHeader(), samplePages(512, 2));
    decoder.push(bytes.subarray(0, LTX_HEADER_SIZE - 1));
    expect(decoder.next()).toBe(false);
    expect(decoder.header).toBeNull();
    decoder.push(bytes.subarray(LTX_HEADER_SIZE - 1, LTX_HEADER_SIZE));
    expect(decoder.next()).toBe(false);
    expect(decoder.header).toEqual(sampleHeader());
  });

  test("rejects every truncation, the empty file included", () => {
    for (const name of ["encode-db-512.ltx", "encode-db-512-frames.ltx"]) {
      const bytes = vector(name);
      for (let size = 0; size < bytes.length; size++) {
        expectRefusal(() => decode(bytes.subarray(0, size)), "corrupt", "it ends");
      }
    }
  });

  for (const name of ["encode-db-512.ltx", "encode-db-512-frames.ltx"]) {
    test(`rejects ${name} with any one byte flipped, unless it decodes to the same pages`, () => {
      const bytes = vector(name);
      const whole = decode(bytes);
      let harmless = 0;
      for (let at = 0; at < bytes.length; at++) {
        const flipped = bytes.slice();
        flipped[at]! ^= 1 << (at % 8);
        const found = decodeOrNull(flipped);
        if (found === null) continue;
        // A flip can only be harmless within a block: a match copied from an equal place.
        harmless++;
        expect(found).toEqual(whole);
      }
      expect(harmless).toBeLessThan(bytes.length / 20);
    });
  }

  test("rejects every flipped bit of a file whose blocks are all literals", () => {
    const bytes = buildLtx({});
    // Except the low half of a block's last token: a match length without a match, which has no effect.
    const tokens = [110, 635];
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = tokens.includes(at) ? 4 : 0; bit < 8; bit++) {
        const flipped = bytes.slice();
        flipped[at]! ^= 1 << bit;
        expect(decodeOrNull(flipped)).toBeNull();
      }
    }
  });

  test("throws the same error again, and accepts no chunk before the previous one is consumed", () => {
    const decoder = new LtxDecoder();
    decoder.push(new Uint8Array(LTX_HEADER_SIZE));
    expectRefusal(() => decoder.push(new Uint8Array(1)), "internal", "call next()");
    expectRefusal(() => decoder.next(), "corrupt", "magic");
    expectRefusal(() => decoder.next(), "corrupt", "magic");
    expectRefusal(() => decoder.finish(), "corrupt", "magic");
  });

  test("does not finish before every page is taken", () => {
    const decoder = new LtxDecoder();
    decoder.push(buildLtx({}));
    expectRefusal(() => decoder.finish(), "internal", "page 1 has not been taken");
  });

  test("accepts a deleted database, with and without checksums", () => {
    const empty = { commit: 0, ...INCREMENT };
    expect(decode(buildLtx({ header: empty, pages: [] })).postApplyChecksum).toBe(CHECKSUM_FLAG);
    const without = { ...empty, flags: FLAG_NO_CHECKSUM, preApplyChecksum: 0n as Checksum };
    expect(decode(buildLtx({ header: without, pages: [] })).postApplyChecksum).toBe(0n as Checksum);
  });
});

const PAGE_1 = samplePage(512, 1);
const LOCK = lockPgno(512);
const INCREMENTS = { ...INCREMENT, commit: 9 };
const REFUSALS: [string, RawLtx, string][] = [
  ["page number 0 with flags", { pages: [{ pgno: 0 }] }, "at byte 100: page number is 0"],
  ["unknown page flags", { pages: [{ pgno: 1, flags: 3 }] }, "at byte 104: flags of page 1 are 3"],
  [
    "a page beyond the commit",
    { header: INCREMENTS, pages: [{ pgno: 10 }] },
    "page number is 10, expected 1 to the commit of 9",
  ],
  ["any page in a deleted database", { header: { ...INCREMENTS, commit: 0 } }, "page number is 1"],
  ["the lock page", { header: { ...INCREMENT, commit: LOCK }, pages: [{ pgno: LOCK }] }, "is the lock page"],
  ["a page twice", { header: INCREMENTS, pages: [{ pgno: 3 }, { pgno: 3 }] }, "expected more than 3"],
  ["pages out of order", { header: INCREMENTS, pages: [{ pgno: 3 }, { pgno: 2 }] }, "expected more than 3"],
  ["a snapshot without page 1", { pages: [{ pgno: 2 }] }, "page number is 2, expected 1 in a snapshot"],
  [
    "a snapshot with a gap",
    { header: { commit: 3 }, pages: [{ pgno: 1 }, { pgno: 3 }] },
    "page number is 3, expected 2",
  ],
  [
    "a snapshot without its last page",
    { pages: [{ pgno: 1 }] },
    "the snapshot ends after page 1, expected 2",
  ],
  ["a snapshot without pages", { pages: [] }, "the snapshot ends after page 0, expected 2"],
  ["a block of no bytes", { pages: [{ pgno: 1, size: 0 }] }, "at byte 106: block size is 0"],
  ["a block of 4 GB", { pages: [{ pgno: 1, size: 0xffffffff }] }, "at byte 106: block size is 4294967295"],
  ["a block above the bound", { pages: [{ pgno: 1, size: lz4CompressBound(512) + 1 }] }, "block size is 531"],
  [
    "a block that is too long",
    { pages: [{ pgno: 1, block: storedBlock(samplePage(513, 1)) }] },
    "longer than 512",
  ],
  [
    "a block that is too short",
    { pages: [{ pgno: 1, block: storedBlock(PAGE_1.subarray(0, 511)) }] },
    "decompresses to 511 bytes, expected 512",
  ],
  ["a damaged block", { pages: [{ pgno: 1, block: new Uint8Array(20) }] }, "Cannot decompress LZ4 block"],
  ["what is no LZ4 frame", { pages: [{ pgno: 1, flags: 0 }] }, "Cannot decode LZ4 frame"],
  [
    "an index with a wrong page number",
    {
      index: [
        [1, 100, 525],
        [3, 625, 525],
      ],
    },
    "does not list the page frames",
  ],
  [
    "an index with a wrong offset",
    {
      index: [
        [1, 101, 525],
        [2, 625, 525],
      ],
    },
    "does not list the page frames",
  ],
  [
    "an index with a wrong size",
    {
      index: [
        [1, 100, 525],
        [2, 625, 526],
      ],
    },
    "does not list the page frames",
  ],
  [
    "an index out of order",
    {
      index: [
        [2, 625, 525],
        [1, 100, 525],
      ],
    },
    "does not list the page frames",
  ],
  ["an index without a page", { index: [[1, 100, 525]] }, "does not list the page frames"],
  [
    "an index with a page too many",
    {
      index: [
        [1, 100, 525],
        [2, 625, 525],
        [3, 1, 1],
      ],
    },
    "does not list",
  ],
  ["a wrong index size", { indexSize: 12 }, "Cannot decode LTX page index"],
  [
    "a wrong post-apply checksum of a snapshot",
    { postApplyChecksum: CHECKSUM_FLAG | 1n },
    "that of the pages",
  ],
  [
    "a post-apply checksum of pages in a deleted database",
    { header: { ...INCREMENTS, commit: 0 }, pages: [], postApplyChecksum: CHECKSUM_FLAG | 1n },
    "expected 8000000000000000, that of the pages",
  ],
  [
    "a post-apply checksum without bit 63",
    { postApplyChecksum: 1n },
    "post-apply checksum is 0000000000000001",
  ],
  [
    "a post-apply checksum where none is tracked",
    { header: { flags: FLAG_NO_CHECKSUM }, postApplyChecksum: CHECKSUM_FLAG },
    "post-apply checksum is 8000000000000000, expected 0",
  ],
  [
    "a wrong file checksum",
    { fileChecksum: CHECKSUM_FLAG | 1n },
    "file checksum is 8000000000000001, expected",
  ],
  ["a file checksum without bit 63", { fileChecksum: 1n }, "file checksum is 0000000000000001"],
];

describe("LtxDecoder rejects", () => {
  for (const [name, raw, text] of REFUSALS) {
    test(name, () => expectRefusal(() => decode(buildLtx(raw)), "corrupt", text));
  }

  test("bytes after the trailer", () => {
    const bytes = buildLtx({});
    const longer = new Uint8Array(bytes.length + 1);
    longer.set(bytes);
    expectRefusal(() => decode(longer), "corrupt", "more bytes follow the trailer");
    expectRefusal(
      () => decodeInChunks(longer, [bytes.length, 1]),
      "corrupt",
      "more bytes follow the trailer",
    );
  });
});

function decodeOrNull(bytes: Uint8Array): Decoded | null {
  try {
    return decode(bytes);
  } catch (error) {
    if (hasCode(error, "corrupt")) return null;
    throw error;
  }
}
