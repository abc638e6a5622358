/**
 * Merging LTX files: the merged file has the same effect on a database as its sources one by one, and the ltx
 * CLI agrees. One test for each rejection.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { FLAG_NO_CHECKSUM, type LtxHeader, type LtxTrailer } from "../../src/format/ltx.ts";
import { decodeLtxFile } from "../../src/format/ltx-decoder.ts";
import {
  type LtxSource,
  MERGE_INPUTS_MAX,
  type MergeOptions,
  mergeLtx,
  mergeLtxInSlices,
} from "../../src/format/ltx-merge.ts";
import { CHECKSUM_FLAG, type Checksum, NO_CHECKSUM, type Txid } from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { peerPath, testWith } from "../support/servers/peers.ts";
import { tempFolder } from "../support/temp.ts";
import {
  applyPages,
  encodeSample,
  expectRefusal,
  pagesChecksum,
  type SamplePage,
  sampleHeader,
  samplePage,
  samplePages,
  vector,
  vectorPath,
} from "./samples.ts";

const PAGE_SIZE = 512;

/** A file and the database after applying the file. */
interface Step {
  readonly file: Uint8Array;
  readonly image: Uint8Array;
}

/** Reads `bytes` in pieces of at most `pieceSize`. */
function sourceOf(bytes: Uint8Array, pieceSize = 1 << 20): LtxSource {
  let at = 0;
  return (target) => {
    const count = Math.min(target.length, pieceSize, bytes.length - at);
    target.set(bytes.subarray(at, at + count));
    at += count;
    return count;
  };
}

function merge(
  files: readonly Uint8Array[],
  options: MergeOptions = {},
  pieceSize?: number,
): { header: LtxHeader; trailer: LtxTrailer; bytes: Uint8Array } {
  const parts: Uint8Array[] = [];
  const sources = files.map((file) => sourceOf(file, pieceSize));
  const result = mergeLtx(sources, (bytes) => parts.push(bytes.slice()), options);
  return { ...result, bytes: new Uint8Array(Buffer.concat(parts)) };
}

function apply(image: Uint8Array, file: Uint8Array): Uint8Array {
  const pages: SamplePage[] = [];
  const { header } = decodeLtxFile(file, (pgno, page) => pages.push([pgno, page.slice()]));
  return applyPages(image, header, pages);
}

function imageChecksum(image: Uint8Array): Checksum {
  const pages = Array.from({ length: image.length / PAGE_SIZE }, (_, index): SamplePage => {
    return [index + 1, image.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE)];
  });
  return pagesChecksum(pages);
}

/** A history from TXID 1: each step has a new size and some changed pages, including the new pages. */
function history(
  steps: readonly { commit: number; pgnos: readonly number[] }[],
  seed: number,
  flags = 0,
): Step[] {
  const made: Step[] = [];
  let image = new Uint8Array(0);
  for (const [index, { commit, pgnos }] of steps.entries()) {
    const known = image.length / PAGE_SIZE;
    const wanted = Array.from({ length: commit }, (_, page) => page + 1).filter((pgno) => {
      return pgno > known || pgnos.includes(pgno);
    });
    const pages = wanted.map((pgno): SamplePage => [pgno, samplePage(PAGE_SIZE, seed + index * 100 + pgno)]);
    const header = sampleHeader({
      commit,
      flags,
      minTxid: (index + 1) as Txid,
      maxTxid: (index + 1) as Txid,
      timestampMs: 1000 + index,
      preApplyChecksum: index === 0 || flags !== 0 ? NO_CHECKSUM : imageChecksum(image),
      walOffset: 32,
      walSizeBytes: 99,
    });
    image = applyPages(image, header, pages) as Uint8Array<ArrayBuffer>;
    made.push({ file: encodeSample(header, pages, flags === 0 ? imageChecksum(image) : NO_CHECKSUM), image });
  }
  return made;
}

const STEPS = [
  { commit: 9, pgnos: [] },
  { commit: 9, pgnos: [2, 5, 9] },
  { commit: 4, pgnos: [1] },
  { commit: 12, pgnos: [2, 4] },
  { commit: 11, pgnos: [11] },
];

describe("mergeLtx", () => {
  test("has the same effect as its sources, for any history and range", () => {
    const step = fc.record({
      commit: fc.integer({ min: 0, max: 12 }),
      pgnos: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
    });
    const steps = fc.array(step, { minLength: 1, maxLength: 7 });
    const property = fc.property(steps, fc.nat(), fc.nat(), fc.nat(1), (plan, first, seed, flag) => {
      // ltx knows no deleted database without checksums.
      const flags = flag === 1 && plan.every(({ commit }) => commit > 0) ? FLAG_NO_CHECKSUM : 0;
      const made = history(plan, seed % 1000, flags);
      const start = first % made.length;
      const { bytes } = merge(
        made.slice(start).map(({ file }) => file),
        {},
        700,
      );
      const before = start === 0 ? new Uint8Array(0) : made[start - 1]!.image;
      expect(Buffer.compare(apply(before, bytes), made.at(-1)!.image)).toBe(0);
    });
    fc.assert(property, cases(150, 31));
  });

  testWith("ltx")("writes a file that ltx verifies and applies to the identical database", async () => {
    const made = history(STEPS, 1);
    const folder = tempFolder("merge");
    const paths = [join(folder, "snapshot.ltx"), join(folder, "rest.ltx")] as const;
    writeFileSync(paths[0], merge(made.slice(0, 2).map(({ file }) => file)).bytes);
    writeFileSync(paths[1], merge(made.slice(2).map(({ file }) => file)).bytes);
    const target = join(folder, "app.db");
    expect(Bun.spawnSync([peerPath("ltx"), "verify", ...paths]).stdout.toString()).toBe("ok\n");
    expect(Bun.spawnSync([peerPath("ltx"), "apply", "-db", target, ...paths]).exitCode).toBe(0);
    expect(Buffer.compare(await Bun.file(target).bytes(), made.at(-1)!.image)).toBe(0);
  });

  test("merges the files of a Litestream replica into the database that Litestream restores", () => {
    const names = readdirSync(vectorPath("litestream")).filter((name) => name.startsWith("0-"));
    const { header, bytes } = merge(names.sort().map((name) => vector(`litestream/${name}`)));
    expect(header).toMatchObject({ flags: FLAG_NO_CHECKSUM, minTxid: 1, maxTxid: 4 });
    expect(Buffer.compare(apply(new Uint8Array(0), bytes), vector("litestream/restored.db"))).toBe(0);
  });

  test("takes the start of the oldest file and the end of the newest, and no WAL position", () => {
    const files = history(STEPS, 2).map(({ file }) => file);
    const { header, trailer } = merge(files.slice(1));
    const oldest = decodeLtxFile(files[1]!, () => {}).header;
    const newest = decodeLtxFile(files.at(-1)!, () => {});
    expect(header).toEqual({
      ...sampleHeader(),
      commit: 11,
      minTxid: 2 as Txid,
      maxTxid: 5 as Txid,
      timestampMs: newest.header.timestampMs,
      preApplyChecksum: oldest.preApplyChecksum,
    });
    expect(trailer.postApplyChecksum).toBe(newest.trailer.postApplyChecksum);
    expect(merge(files, { timestampMs: 77 }).header.timestampMs).toBe(77);
  });

  test("tracks no checksums if one input tracks none", () => {
    const [first, second, third] = history(STEPS.slice(0, 3), 3).map(({ file }) => file);
    const bare = history(STEPS.slice(0, 3), 3, FLAG_NO_CHECKSUM).map(({ file }) => file);
    for (const files of [
      [bare[0]!, second!, third!],
      [first!, bare[1]!, third!],
      [second!, bare[2]!],
    ]) {
      const { header, trailer } = merge(files);
      expect(header.flags).toBe(FLAG_NO_CHECKSUM);
      expect(header.preApplyChecksum).toBe(NO_CHECKSUM);
      expect(trailer.postApplyChecksum).toBe(NO_CHECKSUM);
    }
  });

  // Once the merged file left these pages as they were: after its sources had expired, no restore led past
  // it, and verify found nothing.
  test("writes zeros for pages that one file cut off and no later file contains", () => {
    const steps = history(STEPS.slice(0, 3), 9);
    const [before, shrunk] = [steps[1]!, steps[2]!];
    const pages: SamplePage[] = [7, 9].map((pgno) => [pgno, samplePage(PAGE_SIZE, pgno)]);
    const grow = (commit: number): LtxHeader =>
      sampleHeader({
        commit,
        minTxid: 4 as Txid,
        maxTxid: 4 as Txid,
        preApplyChecksum: imageChecksum(shrunk.image),
      });
    const after = applyPages(shrunk.image, grow(12), pages);
    const grown = encodeSample(grow(12), pages, imageChecksum(after));
    const merged = merge([shrunk.file, grown]);
    expect(apply(before.image, merged.bytes)).toEqual(after);
    expect(merged.trailer.postApplyChecksum).toBe(imageChecksum(after));
    const claim = encodeSample(grow(2 ** 31), pages, CHECKSUM_FLAG);
    expectRefusal(() => merge([shrunk.file, claim]), "integrity", "is in none of the later files");
  });

  test("of one file gives the same database", () => {
    const [{ file, image }] = history(STEPS.slice(0, 1), 4) as [Step];
    expect(Buffer.compare(apply(new Uint8Array(0), merge([file]).bytes), image)).toBe(0);
  });
});

describe("mergeLtx refuses", () => {
  const files = history(STEPS, 5).map(({ file }) => file);

  test("no files, and more than the limit", () => {
    expectRefusal(() => merge([]), "internal", "Cannot merge 0 LTX files");
    const many = Array.from({ length: MERGE_INPUTS_MAX + 1 }, () => files[0]!);
    expectRefusal(() => merge(many), "internal", "Cannot merge 1025 LTX files");
  });

  test("a gap, an overlap and a wrong order of TXIDs", () => {
    expectRefusal(() => merge([files[0]!, files[2]!]), "integrity", "file 2 begins with TXID 3, expected 2");
    expectRefusal(() => merge([files[0]!, files[0]!]), "integrity", "file 2 begins with TXID 1, expected 2");
    expectRefusal(() => merge([files[1]!, files[0]!]), "integrity", "file 2 begins with TXID 1, expected 3");
  });

  test("different page sizes", () => {
    const header = sampleHeader({
      pageSizeBytes: 1024,
      minTxid: 2 as Txid,
      maxTxid: 2 as Txid,
      preApplyChecksum: CHECKSUM_FLAG,
    });
    const other = encodeSample(header, samplePages(1024, 2));
    expectRefusal(() => merge([files[0]!, other]), "integrity", "page size 1024, expected 512");
  });

  test("a file whose pre-apply checksum is that of another database", () => {
    const other = history(STEPS, 6).map(({ file }) => file);
    expectRefusal(
      () => merge([files[0]!, other[1]!]),
      "integrity",
      "file 2 applies to a database with checksum",
    );
  });

  test("a snapshot whose pages contradict the newest file's checksum", () => {
    const [first] = history(STEPS.slice(0, 1), 7) as [Step];
    const header = sampleHeader({
      commit: 9,
      minTxid: 2 as Txid,
      maxTxid: 2 as Txid,
      preApplyChecksum: imageChecksum(first.image),
    });
    const lying = encodeSample(header, [[1, samplePage(PAGE_SIZE, 1)]], CHECKSUM_FLAG);
    expectRefusal(() => merge([first.file, lying]), "integrity", "the pages have checksum");
  });

  test("to restore pages that a commit in between truncated", () => {
    const shrunk = history(STEPS.slice(0, 3), 8);
    const header = sampleHeader({
      commit: 9,
      minTxid: 4 as Txid,
      maxTxid: 4 as Txid,
      preApplyChecksum: imageChecksum(shrunk[2]!.image),
    });
    // The database grows to 9 pages again without new content: pages 5 to 9 of the first file are gone for
    // good.
    const grown = encodeSample(header, [[1, samplePage(PAGE_SIZE, 1)]], CHECKSUM_FLAG);
    const all = [...shrunk.map(({ file }) => file), grown];
    expectRefusal(() => merge(all), "integrity", "page 5 of 9 is in none of the files");
  });

  test("a damaged, a short and an empty input", () => {
    const damaged = files[1]!.slice();
    damaged[damaged.length - 1]! ^= 1;
    expectRefusal(() => merge([files[0]!, damaged]), "corrupt", "file checksum");
    expectRefusal(() => merge([files[0]!, files[1]!.subarray(0, 300)]), "corrupt", "it ends");
    expectRefusal(
      () => merge([files[0]!, new Uint8Array(0)]),
      "corrupt",
      "it ends, expected the rest of the header",
    );
  });
});

test("mergeLtxInSlices decodes about a megabyte between two turns, however many versions a page has", () => {
  const pageSizeBytes = 4096;
  const pages = Array.from({ length: 100 }, (_, index): SamplePage => {
    return [index + 1, crypto.getRandomValues(new Uint8Array(pageSizeBytes))];
  });
  const files = Array.from({ length: 30 }, (_, index) => {
    const txid = (index + 2) as Txid;
    const changes = { pageSizeBytes, commit: 100, minTxid: txid, maxTxid: txid, flags: FLAG_NO_CHECKSUM };
    return encodeSample(sampleHeader(changes), pages);
  });
  let readBytes = 0;
  const sources = files.map((file): LtxSource => {
    const read = sourceOf(file);
    return (target) => {
      const count = read(target);
      readBytes += count;
      return count;
    };
  });
  const steps = mergeLtxInSlices(sources, () => {});
  const slices: number[] = [];
  for (let isDone = false; !isDone; ) {
    const before = readBytes;
    isDone = steps.next().done === true;
    slices.push(readBytes - before);
  }
  const decodedBytes = 30 * 100 * pageSizeBytes;
  // The first slice also fills the read buffers, which share a megabyte.
  expect(Math.max(...slices)).toBeLessThan(2.2 * 1024 * 1024);
  expect(slices.length).toBeGreaterThanOrEqual(Math.floor(decodedBytes / 1024 / 1024));
});
