/**
 * The tail of a WAL and the image of a database, on WALs that SQLite wrote: all page sizes, big spilled
 * transactions, rewritten pages, shrinking. The oracle is a copy that SQLite itself has checkpointed.
 */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileIdentityOrNull } from "../../../src/database/files/descriptors.ts";
import { DatabaseImage } from "../../../src/database/image.ts";
import { readWalTail, type WalPosition, type WalTail } from "../../../src/database/wal/wal-tail.ts";
import { decodeWalIndex, type WalIndexHeader } from "../../../src/format/wal-index.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

const PAGE_SIZES = [512, 4096, 65536] as const;

/** A database with a WAL by an idle application; copies without locks. */
class Stage {
  private constructor(
    readonly source: string,
    readonly app: SqliteProcess,
    readonly pageSizeBytes: number,
  ) {}

  static async open(pageSizeBytes: number): Promise<Stage> {
    const source = join(tempFolder("tail"), "app.db");
    const app = await SqliteProcess.open(source);
    await app.must(
      `PRAGMA page_size = ${pageSizeBytes}`,
      "PRAGMA journal_mode = WAL",
      "PRAGMA synchronous = OFF",
      "PRAGMA wal_autocheckpoint = 0",
      "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
      "CREATE VIEW many AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300) SELECT * FROM n",
      "PRAGMA wal_checkpoint(TRUNCATE)",
    );
    return new Stage(source, app, pageSizeBytes);
  }

  /** The three files in their present state, under other names. */
  copy(): { path: string; index: WalIndexHeader; image: Buffer } {
    const path = join(tempFolder("copy"), "copy.db");
    for (const suffix of ["", "-wal", "-shm"]) copyFileSync(`${this.source}${suffix}`, `${path}${suffix}`);
    const index = decodeWalIndex(readFileSync(`${path}-shm`));
    if (index === null) throw new Error("the wal-index cannot be read");
    return { path, index, image: imageOf(path) };
  }
}

function tailOf(path: string, index: WalIndexHeader, after: WalPosition | null = null): WalTail {
  const tail = readWalTail(`${path}-wal`, { after }, index);
  if (tail.kind === "broken") throw new Error(tail.reason);
  return tail;
}

function brokenReason(path: string, index: WalIndexHeader, after: WalPosition | null = null): string {
  const tail = readWalTail(`${path}-wal`, { after }, index);
  return tail.kind === "broken" ? tail.reason : "a tail";
}

/** The bytes of `before` with the tail's pages over them. */
function applyTail(before: Uint8Array, tail: WalTail, pageSizeBytes: number): Buffer {
  const image = Buffer.alloc(tail.commit * pageSizeBytes);
  image.set(before.subarray(0, Math.min(before.length, image.length)));
  let last = 0;
  let count = 0;
  tail.eachPage((pgno, data) => {
    expect(pgno).toBeGreaterThan(last);
    expect(data.length).toBe(pageSizeBytes);
    image.set(data, (pgno - 1) * pageSizeBytes);
    last = pgno;
    count++;
  });
  expect([count, last <= tail.commit]).toEqual([tail.pgnos.length, true]);
  return image;
}

/** The image by DatabaseImage, read in slices. */
function readImage(path: string, index: WalIndexHeader, pageSizeBytes: number, slicePages: number): Buffer {
  const databaseFd = openSync(path, "r");
  try {
    const database = { path, walPath: `${path}-wal`, databaseFd, pageSizeBytes };
    const image = DatabaseImage.open(database, index, statSync(path).size);
    if (!(image instanceof DatabaseImage)) throw new Error(image.reason);
    const bytes = Buffer.alloc(image.commit * pageSizeBytes);
    let next = 1;
    const onPage = (pgno: number, data: Uint8Array): void => {
      expect(pgno).toBe(next++);
      bytes.set(data, (pgno - 1) * pageSizeBytes);
    };
    while (image.readSlice(slicePages, onPage));
    expect(next).toBe(image.commit + 1);
    image.close();
    return bytes;
  } finally {
    closeSync(databaseFd);
  }
}

const CHANGES: readonly [what: string, statements: readonly string[]][] = [
  ["a small commit", ["INSERT INTO t(v) VALUES ('x')"]],
  [
    "a big transaction that spills",
    ["PRAGMA cache_size = 5", "INSERT INTO t(v) SELECT randomblob(900) FROM many"],
  ],
  [
    "pages rewritten again and again",
    Array.from({ length: 30 }, (_, i) => `UPDATE t SET v = ${i} WHERE id = 1`),
  ],
  ["a rollback after a spill", ["BEGIN", "UPDATE t SET v = randomblob(900)", "ROLLBACK"]],
  ["a deletion", ["DELETE FROM t WHERE id % 2 = 0"]],
  ["a VACUUM that shrinks", ["DELETE FROM t WHERE id > 20", "VACUUM"]],
  ["growth after it", ["INSERT INTO t(v) VALUES (zeroblob(200000))"]],
];

describe("readWalTail and DatabaseImage on real WALs", () => {
  test.each(PAGE_SIZES)("each change, captured alone and all together, pages of %p bytes", async (size) => {
    const stage = await Stage.open(size);
    const first = stage.copy().image;
    let before: Buffer = first;
    let position: WalPosition | null = null;
    for (const [what, statements] of CHANGES) {
      await stage.app.must(...statements);
      const { path, index, image } = stage.copy();
      if (position === null || index.mxFrame > position.frameCount) {
        const tail = tailOf(path, index, position);
        expect([what, Buffer.compare(applyTail(before, tail, size), image)]).toEqual([what, 0]);
        expect(tail.frameCount).toBe(index.mxFrame - (position?.frameCount ?? 0));
        expect(tail.walSizeBytes).toBe(tail.frameCount * (size + 24));
        expect(tail.walOffset).toBe(32 + (position?.frameCount ?? 0) * (size + 24));
        position = tail.position;
      }
      const whole = tailOf(path, index);
      expect([what, Buffer.compare(applyTail(first, whole, size), image)]).toEqual([what, 0]);
      for (const slicePages of [1, 7, 10_000]) {
        expect([what, Buffer.compare(readImage(path, index, size, slicePages), image)]).toEqual([what, 0]);
      }
      before = image;
    }
    await stage.app.close();
  });

  test.each(PAGE_SIZES)("an image over a partly checkpointed WAL, pages of %p bytes", async (size) => {
    const stage = await Stage.open(size);
    await stage.app.must("INSERT INTO t(v) VALUES (randomblob(100000))");
    const reader = await SqliteProcess.open(stage.source);
    await reader.must("BEGIN", "SELECT count(*) FROM t");
    await stage.app.must("UPDATE t SET v = randomblob(90000)", "INSERT INTO t(v) VALUES ('after')");
    await stage.app.must("PRAGMA wal_checkpoint(PASSIVE)");
    const { path, index, image } = stage.copy();
    expect(index.backfilled).toBeGreaterThan(0);
    expect(index.backfilled).toBeLessThan(index.mxFrame);
    expect(Buffer.compare(readImage(path, index, size, 3), image)).toBe(0);
    await reader.close();
    await stage.app.must("PRAGMA wal_checkpoint(PASSIVE)");
    const full = stage.copy();
    expect(full.index.backfilled).toBe(full.index.mxFrame);
    expect(Buffer.compare(readImage(full.path, full.index, size, 3), full.image)).toBe(0);
    await stage.app.close();
  });

  test("commit frames are counted, and a tail of several commits ends at the newest", async () => {
    const stage = await Stage.open(4096);
    await stage.app.must(
      "INSERT INTO t(v) VALUES (1)",
      "INSERT INTO t(v) VALUES (2)",
      "INSERT INTO t(v) VALUES (3)",
    );
    const { path, index } = stage.copy();
    const tail = tailOf(path, index);
    expect([tail.commitCount, tail.frameCount, [...tail.pgnos]]).toEqual([3, 3, [2]]);
    expect([...tail.frames]).toEqual([3]);
    expect(tail.position).toEqual({
      salt1: index.salt1,
      salt2: index.salt2,
      frameCount: 3,
      checksum1: index.frameChecksum1,
      checksum2: index.frameChecksum2,
    });
    await stage.app.close();
  });
});

describe("readWalTail ends at mxFrame and refuses every other end", () => {
  async function staged(): Promise<{
    path: string;
    index: WalIndexHeader;
    image: Buffer;
    frameSize: number;
  }> {
    const stage = await Stage.open(512);
    await stage.app.must("INSERT INTO t(v) VALUES (randomblob(2000))", "UPDATE t SET v = randomblob(2000)");
    const copy = stage.copy();
    await stage.app.close();
    return { ...copy, frameSize: 512 + 24 };
  }

  test("frames after mxFrame are ignored: garbage, and whole commits that were not published", async () => {
    const stage = await Stage.open(512);
    await stage.app.must("INSERT INTO t(v) VALUES (randomblob(2000))");
    const early = stage.copy();
    await stage.app.must("INSERT INTO t(v) VALUES (randomblob(2000))");
    const late = stage.copy();
    await stage.app.close();
    const expected = tailOf(early.path, early.index);
    writeFileSync(`${early.path}-wal`, readFileSync(`${late.path}-wal`));
    const { stamp } = expected;
    const tail = tailOf(early.path, early.index);
    expect({ ...tail, stamp, eachPage: null }).toEqual({ ...expected, eachPage: null });
    const wal = readFileSync(`${late.path}-wal`);
    writeFileSync(`${late.path}-wal`, Buffer.concat([wal, Buffer.alloc(5000, 0xa5)]));
    expect(Buffer.compare(readImage(late.path, late.index, 512, 9), late.image)).toBe(0);
  });

  test("every flipped byte up to mxFrame is a broken history", async () => {
    const { path, index, frameSize } = await staged();
    const wal = readFileSync(`${path}-wal`);
    const end = 32 + index.mxFrame * frameSize;
    for (let at = 0; at < end; at += at < 140 ? 1 : 37) {
      const damaged = Buffer.from(wal);
      damaged[at] = damaged[at]! ^ 0x10;
      writeFileSync(`${path}-wal`, damaged);
      expect([at, brokenReason(path, index)]).not.toEqual([at, "a tail"]);
    }
  });

  test("every truncation before mxFrame is a broken history", async () => {
    const { path, index, frameSize } = await staged();
    for (let length = 32 + index.mxFrame * frameSize - 1; length >= 0; length -= 101) {
      truncateSync(`${path}-wal`, length);
      expect([length, brokenReason(path, index)]).not.toEqual([length, "a tail"]);
    }
  });

  test.each([
    ["the -wal file is gone", { salt1: 0 }, true],
    ["the WAL header is not the generation the wal-index names", { salt1: 1 }, false],
    ["the WAL header is not the generation the wal-index names", { salt2: 1 }, false],
  ] as const)("broken: %s", async (reason, change, isGone) => {
    const { path, index } = await staged();
    if (isGone) expect(brokenReason(`${path}.none`, index)).toBe(reason);
    else expect(brokenReason(path, { ...index, ...change })).toBe(reason);
  });

  test("broken: the newest frame differs from the frame that the wal-index names", async () => {
    const { path, index } = await staged();
    const other = { ...index, frameChecksum1: (index.frameChecksum1 ^ 1) >>> 0 };
    expect(brokenReason(path, other)).toBe(`frame ${index.mxFrame} is not the one the wal-index names`);
  });

  test("broken: the wal-index promises more frames than exist", async () => {
    const { path, index } = await staged();
    const reason = brokenReason(path, { ...index, mxFrame: index.mxFrame + 1 });
    expect(reason).toBe(`frame ${index.mxFrame + 1} of ${index.mxFrame + 1}: end`);
  });

  test("broken: a position that is not of this WAL, before or past its end", async () => {
    const { path, index } = await staged();
    const { position } = tailOf(path, index);
    const wrongSum = { ...position, frameCount: 2 };
    expect(brokenReason(path, index, wrongSum)).toContain("checksum");
    const past = { ...position, frameCount: index.mxFrame + 5, checksum1: 1 };
    expect(brokenReason(path, index, past)).toContain("is not the one");
  });

  test("a position of no frames is the beginning", async () => {
    const { path, index, image } = await staged();
    const start = { salt1: 9, salt2: 9, frameCount: 0, checksum1: 9, checksum2: 9 };
    expect(tailOf(path, index, start).frameCount).toBe(index.mxFrame);
    expect(image.length).toBeGreaterThan(0);
  });
});

describe("readWalTail of a pinned WAL", () => {
  test("a tail after a position needs no header: the wal-index and the frames prove it", async () => {
    const stage = await Stage.open(4096);
    await stage.app.must("INSERT INTO t(v) VALUES ('first')");
    const { position } = tailOf(stage.source, stage.copy().index);
    await stage.app.must("INSERT INTO t(v) VALUES ('second')");
    const { path, index } = stage.copy();
    await stage.app.close();
    const walPath = `${path}-wal`;
    const whole = tailOf(path, index, position);
    writeFileSync(walPath, Buffer.alloc(32), { flag: "r+" });
    const file = fileIdentityOrNull(walPath)!;
    const tail = readWalTail(walPath, { after: position, file }, index);
    expect(tail).toMatchObject({ kind: "tail", position: whole.position, pgnos: whole.pgnos });
    expect(readWalTail(walPath, { after: null, file }, index).kind).toBe("broken");
    expect(readWalTail(walPath, { after: position }, index).kind).toBe("broken");
  });

  test("broken: another file lies at the path", async () => {
    const stage = await Stage.open(4096);
    await stage.app.must("INSERT INTO t(v) VALUES ('first')");
    const { path, index } = stage.copy();
    await stage.app.close();
    const walPath = `${path}-wal`;
    const file = fileIdentityOrNull(walPath)!;
    expect(readWalTail(walPath, { after: null, file }, index).kind).toBe("tail");
    copyFileSync(walPath, `${walPath}.copy`);
    renameSync(`${walPath}.copy`, walPath);
    const tail = readWalTail(walPath, { after: null, file }, index);
    expect(tail).toEqual({ kind: "broken", reason: "the -wal file was replaced" });
  });
});

describe("DatabaseImage refuses", () => {
  test("a database file whose length is no multiple of the page size, and an empty one", async () => {
    const stage = await Stage.open(4096);
    const { path, index } = stage.copy();
    await stage.app.close();
    for (const size of [0, 100, 4097]) {
      const database = { path, walPath: `${path}-wal`, databaseFd: -1, pageSizeBytes: 4096 };
      expect(DatabaseImage.open(database, { ...index, mxFrame: 0 }, size)).toEqual({
        kind: "broken",
        reason: `the database file has ${size} bytes`,
      });
    }
  });

  test("a WAL that becomes shorter while it is read", async () => {
    const stage = await Stage.open(4096);
    await stage.app.must("INSERT INTO t(v) VALUES (randomblob(50000))");
    const { path, index } = stage.copy();
    await stage.app.close();
    const databaseFd = openSync(path, "r");
    const database = { path, walPath: `${path}-wal`, databaseFd, pageSizeBytes: 4096 };
    const image = DatabaseImage.open(database, index, statSync(path).size);
    truncateSync(`${path}-wal`, 2000);
    if (!(image instanceof DatabaseImage)) throw new Error(image.reason);
    expect(() => image.readSlice(1000, () => {})).toThrow("became shorter");
    image.close();
    closeSync(databaseFd);
  });
});
