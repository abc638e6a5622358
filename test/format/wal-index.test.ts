/** The wal-index header against -shm files written by SQLite: checked-in ones and a live one. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeWalHeader, scanFrames, WAL_HEADER_SIZE, walCursor } from "../../src/format/wal.ts";
import { decodeWalIndex, READ_MARK_UNUSED, WAL_INDEX_SIZE } from "../../src/format/wal-index.ts";
import { tempFolder } from "../support/temp.ts";
import { vector } from "./samples.ts";

describe("decodeWalIndex", () => {
  for (const pageSizeBytes of [512, 4096, 65536]) {
    test(`agrees with the WAL beside it, at page size ${pageSizeBytes}`, () => {
      const wal = vector(`wal-${pageSizeBytes}.wal`);
      const header = decodeWalHeader(wal);
      const cursor = walCursor(header);
      let pageCount = 0;
      const chunk = wal.subarray(WAL_HEADER_SIZE);
      scanFrames(header, cursor, chunk, 1e9, (_pgno, commit) => {
        if (commit > 0) pageCount = commit;
      });
      expect(decodeWalIndex(vector(`wal-${pageSizeBytes}.shm`))).toMatchObject({
        version: 3007000,
        bigEndianChecksum: false,
        pageSizeBytes,
        mxFrame: cursor.frameCount,
        pageCount,
        frameChecksum1: cursor.checksum1,
        frameChecksum2: cursor.checksum2,
        salt1: header.salt1,
        salt2: header.salt2,
        backfilled: 0,
      });
    });
  }

  test("follows a live database: frames, read marks, backfill", () => {
    const path = join(tempFolder("shm"), "app.db");
    const read = () => decodeWalIndex(readFileSync(`${path}-shm`))!;
    const writer = new Database(path);
    writer.run("PRAGMA journal_mode=WAL");
    writer.run("PRAGMA wal_autocheckpoint=0");
    writer.run("CREATE TABLE t(x)");
    const first = read();
    expect(first.mxFrame).toBeGreaterThan(0);
    expect(first.readMarks[0]).toBe(0);
    expect(first.readMarks[4]).toBe(READ_MARK_UNUSED);

    const reader = new Database(path, { readonly: true });
    reader.run("BEGIN");
    reader.query("SELECT count(*) FROM t").get();
    writer.run("INSERT INTO t VALUES (1)");
    const second = read();
    expect(second.mxFrame).toBeGreaterThan(first.mxFrame);
    expect(second.changeCount).not.toBe(first.changeCount);
    expect(second.readMarks).toContain(first.mxFrame);

    writer.run("PRAGMA wal_checkpoint(PASSIVE)");
    const third = read();
    expect(third.backfilled).toBe(first.mxFrame);
    expect(third.backfillAttempted).toBe(first.mxFrame);
    reader.close();
    writer.close();
  });

  test("is null for every truncation", () => {
    const shm = vector("wal-512.shm");
    for (let size = 0; size < WAL_INDEX_SIZE; size++)
      expect(decodeWalIndex(shm.subarray(0, size))).toBeNull();
  });

  test("is null for every flipped byte of one copy, and of both copies alike", () => {
    const shm = vector("wal-512.shm");
    for (let at = 0; at < 96; at++) {
      const flipped = shm.slice();
      flipped[at]! ^= 4;
      expect(decodeWalIndex(flipped)).toBeNull();
      flipped[(at + 48) % 96]! ^= 4;
      expect(decodeWalIndex(flipped)).toBeNull();
    }
  });

  test("is null for a file that no connection has initialised", () => {
    expect(decodeWalIndex(new Uint8Array(WAL_INDEX_SIZE))).toBeNull();
  });
});
