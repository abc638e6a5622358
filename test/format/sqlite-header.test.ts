/** The SQLite header against files written by SQLite. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../../src/format/sqlite-header.ts";
import { tempFolder } from "../support/temp.ts";
import { expectRefusal, vector } from "./samples.ts";

describe("decodeDatabaseHeader", () => {
  for (let pageSizeBytes = 512; pageSizeBytes <= 65536; pageSizeBytes *= 2) {
    test(`agrees with SQLite at page size ${pageSizeBytes}`, () => {
      const path = join(tempFolder("header"), "app.db");
      const database = new Database(path);
      database.run(`PRAGMA page_size=${pageSizeBytes}`);
      database.run("CREATE TABLE t(x)");
      database.run("INSERT INTO t VALUES (1)");
      const { version } = database.query("SELECT sqlite_version() AS version").get() as { version: string };
      const [major, minor, patch] = version.split(".").map(Number) as [number, number, number];
      const { page_count: pageCount } = database.query("PRAGMA page_count").get() as { page_count: number };
      const rollback = decodeDatabaseHeader(readFileSync(path));
      expect(rollback).toEqual({
        pageSizeBytes,
        writeVersion: 1,
        readVersion: 1,
        isWal: false,
        reservedBytesPerPage: 0,
        changeCounter: 2,
        pageCount,
        isPageCountValid: true,
        libraryVersion: major * 1_000_000 + minor * 1_000 + patch,
      });
      database.run("PRAGMA journal_mode=WAL");
      expect(decodeDatabaseHeader(readFileSync(path)).isWal).toBe(true);
      database.close();
    });
  }

  test("detects a page count that is older than the last change", () => {
    const bytes = vector("encode-db-512.db");
    bytes[27]! ^= 1;
    expect(decodeDatabaseHeader(bytes).isPageCountValid).toBe(false);
  });

  test("rejects every truncation, the empty file included", () => {
    const bytes = vector("encode-db-512.db");
    for (let size = 0; size < DATABASE_HEADER_SIZE; size++) {
      expectRefusal(
        () => decodeDatabaseHeader(bytes.subarray(0, size)),
        "database",
        `at byte ${size}: it ends`,
      );
    }
  });

  test("rejects every flip in the magic", () => {
    for (let at = 0; at < 16; at++) {
      const bytes = vector("encode-db-512.db");
      bytes[at]! ^= 0x10;
      expectRefusal(() => decodeDatabaseHeader(bytes), "database", `at byte ${at}: magic is wrong`);
    }
  });

  const changes: [string, number, number, string][] = [
    ["a page size that is no power of two", 16, 3, "at byte 16: page size is 768"],
    ["reserved bytes that leave too little", 20, 33, "at byte 20: 33 reserved bytes"],
    ["other payload fractions", 22, 31, "at byte 21: payload fractions are 64, 31, 32"],
  ];
  for (const [name, at, value, text] of changes) {
    test(`rejects ${name}`, () => {
      const bytes = vector("encode-db-512.db");
      bytes[at] = value;
      expectRefusal(() => decodeDatabaseHeader(bytes), "database", text);
    });
  }
});
