/** Page sums against a brute-force model of pages in memory, and against checksums by their definition. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { sumScratch } from "../../src/database/files/scratch-buffers.ts";
import { CHECKSUM_FLAG, type Checksum } from "../../src/format/types.ts";
import {
  applyBatch,
  checksumOfFileOrNull,
  PageSumReader,
  PageSumWriter,
  type SumBatch,
  SumUpdate,
} from "../../src/local/page-sums.ts";
import { databaseChecksum, pageChecksum } from "../support/oracles/page-sums-oracle.ts";
import { cases } from "../support/property-cases.ts";
import { tempFolder } from "../support/temp.ts";

const PAGE_SIZE = 512;

function pageOf(seed: number, sizeBytes = PAGE_SIZE): Uint8Array {
  return new Uint8Array(sizeBytes).map((_, index) => (seed * 31 + index * (seed % 7)) & 0xff);
}

/** A sums file for the pages of `database`, written by PageSumWriter. */
function sumsFile(database: Uint8Array, path = join(tempFolder("sums"), "pages.sum")): string {
  const writer = new PageSumWriter(path);
  for (let pgno = 1; pgno * PAGE_SIZE <= database.length; pgno++) {
    const sum = pageChecksum(pgno, database.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE));
    writer.push(Number(sum & 0xffffffffn), Number(sum >> 32n));
  }
  expect(writer.xor.checksum()).toBe(databaseChecksum(database, PAGE_SIZE) as Checksum);
  writer.close();
  writer.publish();
  return path;
}

function batchOf(pages: ReadonlyMap<number, bigint>): SumBatch {
  const pgnos = [...pages.keys()].sort((a, b) => a - b);
  return {
    pgnos: Uint32Array.from(pgnos),
    low: Uint32Array.from(pgnos, (pgno) => Number(pages.get(pgno)! & 0xffffffffn)),
    high: Uint32Array.from(pgnos, (pgno) => Number(pages.get(pgno)! >> 32n)),
  };
}

/**
 * Changes a model database: writes pages, then truncates or grows the database to `commit` pages; holes are
 * zeros.
 */
function change(database: Uint8Array, pages: ReadonlyMap<number, Uint8Array>, commit: number): Uint8Array {
  const next = new Uint8Array(commit * PAGE_SIZE);
  next.set(database.subarray(0, Math.min(database.length, next.length)));
  for (const [pgno, page] of pages) next.set(page, (pgno - 1) * PAGE_SIZE);
  return next;
}

describe("page sums against a model", () => {
  test("SumUpdate follows any growth, shrinking and holes", () => {
    const step = fc.record({
      commit: fc.integer({ min: 1, max: 40 }),
      writes: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 255 })), {
        maxLength: 12,
      }),
    });
    const folder = tempFolder("sums");
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.array(step, { minLength: 1, maxLength: 6 }),
        (first, steps) => {
          let database: Uint8Array = new Uint8Array(0);
          const all = new Map(Array.from({ length: first }, (_, i) => [i + 1, pageOf(i)] as const));
          database = change(database, all, first);
          const path = sumsFile(database, join(folder, "pages.sum"));
          for (const { commit, writes } of steps) {
            const pages = new Map(
              writes.filter(([pgno]) => pgno <= commit).map(([pgno, seed]) => [pgno, pageOf(seed)] as const),
            );
            const next = change(database, pages, commit);
            const sums = batchOf(new Map([...pages].map(([pgno, page]) => [pgno, pageChecksum(pgno, page)])));
            const [before, oldCommit] = [databaseChecksum(database, PAGE_SIZE), database.length / PAGE_SIZE];
            const expected = databaseChecksum(next, PAGE_SIZE);
            const bytesBefore = readFileSync(path);
            const update = SumUpdate.open(path);
            const after = update.checksumAfter(before as Checksum, oldCommit, commit, sums, PAGE_SIZE);
            expect(after).toBe(expected as Checksum);
            expect(readFileSync(path)).toEqual(bytesBefore);
            update.apply(oldCommit, commit, sums, PAGE_SIZE);
            update.close();
            expect(readFileSync(path)).toEqual(readFileSync(sumsFile(next, join(folder, "next.sum"))));
            expect(checksumOfFileOrNull(path, commit)).toBe(expected as Checksum);
            database = next;
          }
        },
      ),
      cases(60, 11),
    );
  });

  test("applyBatch repeated, as after a crash, changes nothing", () => {
    const database = change(new Uint8Array(0), new Map([1, 2, 3].map((p) => [p, pageOf(p)])), 3);
    const path = sumsFile(database);
    const sums = batchOf(
      new Map([
        [2, pageChecksum(2, pageOf(9))],
        [6, pageChecksum(6, pageOf(8))],
      ]),
    );
    applyBatch(path, 3, 6, sums, PAGE_SIZE);
    const once = readFileSync(path);
    applyBatch(path, 6, 6, sums, PAGE_SIZE);
    expect(readFileSync(path)).toEqual(once);
  });

  test("applyBatch repairs a file that a crash cut inside an entry", () => {
    const database = change(new Uint8Array(0), new Map([1, 2, 3].map((p) => [p, pageOf(p)])), 3);
    const path = sumsFile(database);
    const whole = readFileSync(path);
    writeFileSync(path, Buffer.concat([whole, Buffer.from("cut")]));
    applyBatch(path, 3, 3, batchOf(new Map()), PAGE_SIZE);
    expect(readFileSync(path)).toEqual(whole);
  });

  test("SumUpdate reads its window again after another user of the shared buffer", () => {
    const database = change(new Uint8Array(0), new Map([1, 2, 3].map((p) => [p, pageOf(p)])), 3);
    const path = sumsFile(database);
    const sums = batchOf(new Map([[2, pageChecksum(2, pageOf(9))]]));
    const next = change(database, new Map([[2, pageOf(9)]]), 3);
    const update = SumUpdate.open(path);
    update.checksumAfter(databaseChecksum(database, PAGE_SIZE) as Checksum, 3, 3, sums, PAGE_SIZE);
    sumScratch.take(1 << 16).fill(0xff);
    update.apply(3, 3, sums, PAGE_SIZE);
    update.close();
    expect(readFileSync(path)).toEqual(readFileSync(sumsFile(next)));
  });

  test("applyBatch moves its window over a file of several windows", () => {
    const path = join(tempFolder("sums"), "pages.sum");
    const pageCount = 20_000;
    const writer = new PageSumWriter(path);
    for (let pgno = 1; pgno <= pageCount; pgno++) writer.push(pgno, 0x80000000);
    const before = writer.xor.checksum();
    writer.close();
    writer.publish();
    const model = new BigUint64Array(readFileSync(path).buffer.slice(0));
    const changes = new Map(
      [1, 8192, 8193, 16_384, 16_385, 20_000].map((p) => [p, pageChecksum(p, pageOf(p))]),
    );
    for (const [pgno, sum] of changes) model[pgno - 1] = sum;
    const expected = model.reduce((xor, sum) => xor ^ sum, 0n) | CHECKSUM_FLAG;
    const batch = batchOf(changes);
    const update = SumUpdate.open(path);
    const after = update.checksumAfter(before, pageCount, pageCount, batch, PAGE_SIZE);
    update.apply(pageCount, pageCount, batch, PAGE_SIZE);
    update.close();
    expect(after).toBe(expected as Checksum);
    expect(new Uint8Array(readFileSync(path))).toEqual(new Uint8Array(model.buffer));
    expect(checksumOfFileOrNull(path, pageCount)).toBe(expected as Checksum);
  });
});

describe("page sums around the lock page", () => {
  const SIZE = 65536;
  const LOCK = 2 ** 30 / SIZE + 1;

  test("growth over the lock page counts its neighbours as zero pages, but not the lock page", () => {
    const path = join(tempFolder("sums"), "pages.sum");
    const writer = new PageSumWriter(path);
    for (let pgno = 1; pgno < LOCK - 1; pgno++) writer.push(0, 0);
    writer.close();
    writer.publish();
    const zero = new Uint8Array(SIZE);
    const last = pageOf(3, SIZE);
    const batch = batchOf(new Map([[LOCK + 2, pageChecksum(LOCK + 2, last)]]));
    const expected =
      pageChecksum(LOCK - 1, zero) ^ pageChecksum(LOCK + 1, zero) ^ pageChecksum(LOCK + 2, last);
    const update = SumUpdate.open(path);
    const after = update.checksumAfter(CHECKSUM_FLAG, LOCK - 2, LOCK + 2, batch, SIZE);
    expect(after).toBe((expected | CHECKSUM_FLAG) as Checksum);
    update.apply(LOCK - 2, LOCK + 2, batch, SIZE);
    const sums = new BigUint64Array(readFileSync(path).buffer.slice(0));
    expect(sums.length).toBe(LOCK + 2);
    expect(sums[LOCK - 1]).toBe(0n);
    expect(sums[LOCK]).toBe(pageChecksum(LOCK + 1, zero));
    expect(checksumOfFileOrNull(path, LOCK + 2)).toBe(after);
    const back = update.checksumAfter(after, LOCK + 2, LOCK - 2, batchOf(new Map()), SIZE);
    update.close();
    expect(back).toBe(CHECKSUM_FLAG);
  });
});

describe("checksumOfFileOrNull", () => {
  test("checksumOfFileOrNull is null for a missing file and for any other number of entries", () => {
    const database = change(new Uint8Array(0), new Map([1, 2, 3].map((p) => [p, pageOf(p)])), 3);
    const path = sumsFile(database);
    expect(checksumOfFileOrNull(`${path}.none`, 3)).toBeNull();
    expect([2, 4].map((commit) => checksumOfFileOrNull(path, commit))).toEqual([null, null]);
    for (const size of [0, 1, 8, 20, 23]) {
      writeFileSync(path, readFileSync(sumsFile(database)));
      truncateSync(path, size);
      expect(checksumOfFileOrNull(path, 3)).toBeNull();
    }
  });

  test("checksumOfFileOrNull detects every flipped byte, except the bit that is always set", () => {
    const database = change(new Uint8Array(0), new Map([1, 2].map((p) => [p, pageOf(p)])), 2);
    const path = sumsFile(database);
    const bytes = readFileSync(path);
    const sound = checksumOfFileOrNull(path, 2);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ 0x01;
      writeFileSync(path, damaged);
      expect(checksumOfFileOrNull(path, 2)).not.toBe(sound);
    }
  });
});

describe("PageSumWriter and PageSumReader", () => {
  test("the reader gives the writer's sums, over window borders, and false at the end", () => {
    const path = join(tempFolder("sums"), "pages.sum");
    const writer = new PageSumWriter(path);
    for (let pgno = 1; pgno <= 8193; pgno++) writer.push(pgno, pgno * 2);
    writer.close();
    expect(existsSync(path)).toBe(false);
    writer.publish();
    expect(statSync(path).size).toBe(8193 * 8);
    const reader = new PageSumReader(path);
    for (let pgno = 1; pgno <= 8193; pgno++) {
      if (!reader.next() || reader.low !== pgno || reader.high !== pgno * 2) expect.unreachable(`${pgno}`);
    }
    expect([reader.next(), reader.next()]).toEqual([false, false]);
    reader.close();
  });

  test("the reader reports a file that ends inside an entry", () => {
    const path = join(tempFolder("sums"), "pages.sum");
    writeFileSync(path, new Uint8Array(12));
    const reader = new PageSumReader(path);
    expect(() => reader.next()).toThrow("ends inside an entry");
    reader.close();
  });

  test("discard keeps the previous file, and leaves no temporary file", () => {
    const path = sumsFile(pageOf(1));
    const bytes = readFileSync(path);
    for (const isClosed of [false, true]) {
      const writer = new PageSumWriter(path);
      writer.push(1, 2);
      if (isClosed) writer.close();
      writer.discard();
      expect(readFileSync(path)).toEqual(bytes);
      expect(readdirSync(join(path, ".."))).toEqual(["pages.sum"]);
    }
  });

  // The next opened file gets the number of a closed descriptor: the pin of another database.
  test("discard after close closes no descriptor that was opened since", () => {
    const folder = tempFolder("sums");
    const writer = new PageSumWriter(join(folder, "pages.sum"));
    writer.close();
    const others = Array.from({ length: 8 }, () => openSync(folder, "r"));
    writer.discard();
    for (const fd of others) expect(fstatSync(fd).isDirectory()).toBe(true);
    for (const fd of others) closeSync(fd);
  });
});
