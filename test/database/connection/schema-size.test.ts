/**
 * Counting a schema in the WAL and the file gives the numbers of SQLite; a schema beyond a bound is refused.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openConnection } from "../../../src/database/connection/connection.ts";
import {
  countSchema,
  type SchemaSize,
  schemaSizeOrNull,
} from "../../../src/database/connection/schema-size.ts";
import {
  fileIdentityOrNull,
  releaseConnection,
  retainConnection,
} from "../../../src/database/files/descriptors.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { inflateSchema } from "../../support/histories/large-schema.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

function newDatabase(pageSizeBytes = 4096): string {
  const path = join(tempFolder("schema"), "app.db");
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${pageSizeBytes}`);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE a (x)");
  database.close();
  return path;
}

function sizeOf(path: string): SchemaSize | null {
  const identity = fileIdentityOrNull(path)!;
  retainConnection(identity);
  try {
    return schemaSizeOrNull(path, identity);
  } finally {
    releaseConnection(identity);
  }
}

describe("schemaSizeOrNull", () => {
  test.each([512, 4096, 65_536])("counts in the WAL and the file, with pages of %p bytes", async (size) => {
    const path = newDatabase(size);
    expect(sizeOf(path)?.entries).toBe(1);
    const app = await SqliteProcess.open(path);
    await app.must("PRAGMA wal_autocheckpoint = 0");
    for (const more of [3, 300, 2000]) {
      await app.must("BEGIN");
      for (let i = 0; i < more; i++) await app.must(`CREATE VIEW v${more}_${i} AS SELECT x FROM a`);
      await app.must("COMMIT");
      const { rows } = await app.must("SELECT count(*), sum(length(sql)) FROM sqlite_schema");
      const [entries, sqlBytes] = rows[0] as [number, number];
      const counted = sizeOf(path)!;
      expect([counted.entries, counted.isTooLarge]).toEqual([entries, false]);
      expect(counted.bytes).toBeGreaterThan(sqlBytes);
      expect(counted.bytes).toBeLessThan(sqlBytes + 60 * entries);
      if (more === 300) await app.must("PRAGMA wal_checkpoint(PASSIVE)");
    }
    await app.close();
  });
});

describe("countSchema", () => {
  /** An interior page with only itself as child. */
  const loop = (pgno: number, cells: number): Uint8Array => {
    const page = new Uint8Array(4096);
    const view = new DataView(page.buffer);
    const begin = pgno === 1 ? 100 : 0;
    view.setUint8(begin, 5);
    view.setUint16(begin + 3, cells);
    view.setUint32(begin + 8, 2);
    for (let cell = 0; cell < Math.min(cells, 1900); cell++) view.setUint16(begin + 12 + cell * 2, 4000);
    view.setUint32(4000, 2);
    return page;
  };

  test("ends where pages form a cycle, misstate their cells or are missing", () => {
    expect(countSchema((pgno) => loop(pgno, 0)).isTooLarge).toBe(true);
    expect(countSchema((pgno) => loop(pgno, 1500)).isTooLarge).toBe(true);
    expect(countSchema((pgno) => loop(pgno, 65_535)).isTooLarge).toBe(true);
    expect(countSchema(() => new Uint8Array(4096).fill(0xff))).toMatchObject({ entries: 0, bytes: 0 });
    expect(countSchema(() => null)).toEqual({ entries: 0, bytes: 0, isTooLarge: false });
  });
});

test("a database whose schema would block SQLite is neither pinned nor checkpointed", () => {
  const path = newDatabase();
  const { env } = recordingEnv();
  Pin.open(path, env).close();
  inflateSchema(path);
  expect(() => Pin.open(path, env)).toThrow("its schema has more than");
  const connection = openConnection(path, { busyTimeoutMs: 0 });
  const startMs = performance.now();
  expect(() => connection.checkpoint("PASSIVE")).toThrow("schema");
  expect(performance.now() - startMs).toBeLessThan(5_000);
  connection.close();
});
