/** The LTX encoder: the ltx CLI accepts and applies its files, and the encoder rejects invalid input. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import {
  FLAG_NO_CHECKSUM,
  INDEX_ENTRY_SIZE_MAX,
  type LtxHeader,
  putIndexEntry,
} from "../../src/format/ltx.ts";
import { decodeLtxFile, LtxDecoder } from "../../src/format/ltx-decoder.ts";
import { type IndexStore, LtxEncoder } from "../../src/format/ltx-encoder.ts";
import { CHECKSUM_FLAG, type Checksum, lockPgno, NO_CHECKSUM, type Txid } from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { peerPath, testWith } from "../support/servers/peers.ts";
import { tempFolder } from "../support/temp.ts";
import { leb128 } from "./raw-ltx.ts";
import {
  applyPages,
  encodeSample,
  expectRefusal,
  pagesChecksum,
  type SamplePage,
  sampleHeader,
  samplePage,
  samplePages,
} from "./samples.ts";

const NOTHING = () => {};

function increment(changes: Partial<LtxHeader>): LtxHeader {
  return sampleHeader({
    minTxid: 2 as Txid,
    maxTxid: 2 as Txid,
    preApplyChecksum: CHECKSUM_FLAG,
    ...changes,
  });
}

function ltx(...args: string[]): string {
  const result = Bun.spawnSync([peerPath("ltx"), ...args]);
  return result.exitCode === 0 ? result.stdout.toString().trim() : `failed: ${result.stdout}${result.stderr}`;
}

describe("LtxEncoder", () => {
  for (const [pageSizeBytes, count] of [
    [512, 300],
    [1024, 3],
    [4096, 120],
    [32768, 3],
    [65536, 5],
  ] as const) {
    testWith("ltx")(`writes files that ltx verifies and applies, at page size ${pageSizeBytes}`, async () => {
      const folder = tempFolder("encoder");
      const pages = samplePages(pageSizeBytes, count);
      const first = sampleHeader({ pageSizeBytes, commit: count });
      const changed: SamplePage[] = [1, 2, count + 1].map((pgno) => [
        pgno,
        samplePage(pageSizeBytes, 7 + pgno),
      ]);
      const second = increment({ pageSizeBytes, commit: count + 1, preApplyChecksum: pagesChecksum(pages) });
      const after = new Map([...pages, ...changed]);
      const paths = [join(folder, "1.ltx"), join(folder, "2.ltx")] as const;
      writeFileSync(paths[0], encodeSample(first, pages));
      writeFileSync(paths[1], encodeSample(second, changed, pagesChecksum([...after])));
      expect(ltx("verify", ...paths)).toBe("ok");
      const target = join(folder, "app.db");
      expect(ltx("apply", "-db", target, ...paths)).toBe("");
      const expected = applyPages(new Uint8Array(0), second, [...after]);
      expect(Buffer.compare(await Bun.file(target).bytes(), expected)).toBe(0);
    });
  }

  const skipsLockPage = "skips the lock page of a database that reaches it, as ltx does";
  testWith("ltx")(
    skipsLockPage,
    async () => {
      const pageSizeBytes = 65536;
      const lock = lockPgno(pageSizeBytes);
      const commit = lock + 1;
      const path = join(tempFolder("lock"), "large.ltx");
      const sink = Bun.file(path).writer();
      const zero = new Uint8Array(pageSizeBytes);
      const encoder = new LtxEncoder(
        sampleHeader({ pageSizeBytes, commit, flags: FLAG_NO_CHECKSUM }),
        (bytes) => {
          sink.write(bytes.slice());
        },
      );
      for (let pgno = 1; pgno < lock; pgno++) encoder.page(pgno, zero);
      expectRefusal(() => encoder.page(lock, zero), "internal", "lock page");
      encoder.page(lock + 1, zero);
      encoder.finish(0n as Checksum);
      await sink.end();
      expect(ltx("verify", path)).toBe("ok");
      const decoder = new LtxDecoder();
      let pageCount = 0;
      for await (const chunk of Bun.file(path).stream()) {
        decoder.push(chunk);
        while (decoder.next()) pageCount++;
      }
      decoder.finish();
      expect(pageCount).toBe(commit - 1);
      // A gigabyte of pages passes through three times.
    },
    60_000,
  );

  testWith("ltx")("writes a deleted database: commit 0, no pages", () => {
    const path = join(tempFolder("empty"), "empty.ltx");
    writeFileSync(path, encodeSample(increment({ commit: 0 }), []));
    expect(ltx("verify", path)).toBe("ok");
  });

  test("hands its bytes to the sink in pieces of at most 256 KB and counts them", () => {
    const pages = samplePages(4096, 200);
    let size = 0;
    let pieces = 0;
    const encoder = new LtxEncoder(sampleHeader({ pageSizeBytes: 4096, commit: 200 }), (bytes) => {
      expect(bytes.length).toBeLessThanOrEqual(256 * 1024);
      size += bytes.length;
      pieces++;
    });
    for (const [pgno, data] of pages) encoder.page(pgno, data);
    encoder.finish(pagesChecksum(pages));
    expect(pieces).toBeGreaterThan(1);
    expect(encoder.bytesWritten).toBe(size);
  });

  test("writes the same bytes when several encoders alternate", () => {
    const headers = [2, 3, 4].map((commit) => sampleHeader({ commit }));
    const parts = headers.map(() => [] as Uint8Array[]);
    const encoders = headers.map(
      (header, index) => new LtxEncoder(header, (b) => parts[index]!.push(b.slice())),
    );
    for (let pgno = 1; pgno <= 4; pgno++) {
      for (const encoder of encoders) {
        if (pgno <= encoder.header.commit) encoder.page(pgno, samplePage(512, 1000 + pgno - 1));
      }
    }
    for (const [index, encoder] of encoders.entries()) {
      const pages = samplePages(512, headers[index]!.commit);
      encoder.finish(pagesChecksum(pages));
      const expected = encodeSample(headers[index]!, pages);
      expect(Buffer.compare(Buffer.concat(parts[index]!), expected)).toBe(0);
    }
  });

  test("round trips random pages at every page size", () => {
    const file = fc.record({
      pageSizeBytes: fc.constantFrom(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
      pgnos: fc.uniqueArray(fc.integer({ min: 1, max: 5000 }), { maxLength: 8 }),
      seed: fc.nat(),
    });
    const property = fc.property(file, ({ pageSizeBytes, pgnos, seed }) => {
      const pages = pgnos
        .sort((a, b) => a - b)
        .map((pgno): SamplePage => [pgno, samplePage(pageSizeBytes, seed + pgno)]);
      const header = increment({ pageSizeBytes, commit: 5000 });
      const found: SamplePage[] = [];
      const decoded = decodeLtxFile(encodeSample(header, pages), (pgno, page) =>
        found.push([pgno, page.slice()]),
      );
      expect(decoded.header).toEqual(header);
      expect(decoded.trailer.postApplyChecksum).toBe(pagesChecksum(pages));
      expect(found).toEqual(pages);
    });
    fc.assert(property, cases(60, 11));
  });
});

describe("LtxEncoder refuses", () => {
  const page = samplePage(512, 1);
  const incremental = () => new LtxEncoder(increment({ commit: 9 }), NOTHING);
  const snapshot = (commit = 3) => new LtxEncoder(sampleHeader({ commit }), NOTHING);

  test("an invalid header", () => {
    expectRefusal(() => new LtxEncoder(sampleHeader({ pageSizeBytes: 1000 }), NOTHING), "internal", "1000");
  });

  test("a page of a wrong length", () => {
    expectRefusal(() => incremental().page(1, new Uint8Array(511)), "internal", "511 bytes, expected 512");
    expectRefusal(() => incremental().page(1, new Uint8Array(0)), "internal", "0 bytes, expected 512");
  });

  test("page 0, a page beyond the commit, and a page number that is no integer", () => {
    for (const pgno of [0, -1, 10, 1.5, Number.NaN]) {
      expectRefusal(() => incremental().page(pgno, page), "internal", "expected 1 to 9");
    }
  });

  test("the lock page", () => {
    const lock = lockPgno(512);
    const encoder = new LtxEncoder(increment({ commit: lock + 1 }), NOTHING);
    expectRefusal(() => encoder.page(lock, page), "internal", "lock page");
  });

  test("a page twice, and one before the last", () => {
    const encoder = incremental();
    encoder.page(5, page);
    expectRefusal(() => encoder.page(5, page), "internal", "out of order, expected more than 5");
    expectRefusal(() => encoder.page(4, page), "internal", "out of order, expected more than 5");
  });

  test("a snapshot with a gap, without page 1, or without its last page", () => {
    expectRefusal(() => snapshot().page(2, page), "internal", "expected 1");
    const encoder = snapshot();
    encoder.page(1, page);
    expectRefusal(() => encoder.page(3, page), "internal", "expected 2");
    encoder.page(2, page);
    expectRefusal(() => encoder.finish(CHECKSUM_FLAG), "internal", "ends with page 2, expected 3");
    expectRefusal(() => snapshot().finish(CHECKSUM_FLAG), "internal", "ends with page 0, expected 3");
  });

  test("a post-apply checksum that contradicts the header", () => {
    expectRefusal(() => incremental().finish(0n as Checksum), "internal", "post-apply checksum");
    const without = new LtxEncoder(sampleHeader({ commit: 0, flags: FLAG_NO_CHECKSUM }), NOTHING);
    expectRefusal(() => without.finish(CHECKSUM_FLAG), "internal", "post-apply checksum");
    const empty = new LtxEncoder(increment({ commit: 0 }), NOTHING);
    expectRefusal(
      () => empty.finish((CHECKSUM_FLAG | 1n) as Checksum),
      "internal",
      "expected 8000000000000000",
    );
  });

  test("any call after the end", () => {
    const encoder = incremental();
    encoder.finish(CHECKSUM_FLAG);
    expectRefusal(() => encoder.page(1, page), "internal", "finished");
    expectRefusal(() => encoder.finish(CHECKSUM_FLAG), "internal", "finished already");
  });
});

describe("putIndexEntry", () => {
  test("writes three LEB128 varints, also above 32 bits", () => {
    const target = new Uint8Array(INDEX_ENTRY_SIZE_MAX);
    const edges = [
      0,
      1,
      127,
      128,
      16383,
      16384,
      2 ** 28,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32,
      2 ** 35 + 127,
      2 ** 53 - 1,
    ];
    for (const offset of edges) {
      const end = putIndexEntry(target, 0, 0xffffffff, offset, 65809);
      expect([...target.subarray(0, end)]).toEqual([
        ...leb128(0xffffffff),
        ...leb128(offset),
        ...leb128(65809),
      ]);
    }
  });
});

test("LtxEncoder writes the same file with a store for its index, and writes the index in slices", () => {
  const count = 300_000;
  const header = increment({ commit: count, flags: FLAG_NO_CHECKSUM, preApplyChecksum: NO_CHECKSUM });
  const page = new Uint8Array(512);
  const encode = (store: IndexStore | null): { bytes: Buffer; turns: number } => {
    const parts: Uint8Array[] = [];
    const encoder = new LtxEncoder(header, (bytes) => parts.push(bytes.slice()), store);
    for (let pgno = 1; pgno <= count; pgno++) encoder.page(pgno, page);
    const steps = encoder.finishInSlices(NO_CHECKSUM);
    let turns = 0;
    while (!steps.next().done) turns++;
    return { bytes: Buffer.concat(parts), turns };
  };
  const kept: Uint8Array[] = [];
  const stored = encode({ append: (bytes) => void kept.push(bytes.slice()), chunks: () => kept });
  expect(stored.bytes.equals(encode(null).bytes)).toBe(true);
  const storedBytes = kept.reduce((sum, { length }) => sum + length, 0);
  expect(storedBytes).toBeGreaterThan(1024 * 1024);
  expect(stored.turns).toBeGreaterThanOrEqual(Math.floor(storedBytes / (1024 + 64) / 1024));
  expect(Math.max(...kept.map(({ length }) => length))).toBeLessThanOrEqual(64 * 1024);
});
