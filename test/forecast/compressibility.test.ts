/** A sample of pages predicts the size of a snapshot; a file that is no database is rejected. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../src/errors.ts";
import { sampleCompression } from "../../src/forecast/compressibility.ts";
import { LtxEncoder } from "../../src/format/ltx-encoder.ts";
import { CHECKSUM_FLAG, NO_CHECKSUM, type Txid } from "../../src/format/types.ts";
import { tempFolder } from "../support/temp.ts";

const folder = tempFolder("compressibility");

/** A database file with rows from an SQL expression. */
function databaseOf(name: string, expression: string, pageSizeBytes: number, rowCount = 4000): string {
  const path = join(folder, name);
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${pageSizeBytes}`);
  database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  database.run(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount})
     INSERT INTO t SELECT i, ${expression} FROM n`,
  );
  database.close();
  return path;
}

/** Size of the LTX file that holds the whole database, in bytes. */
async function snapshotBytes(path: string, pageSizeBytes: number): Promise<number> {
  const image = new Uint8Array(await Bun.file(path).arrayBuffer());
  let sizeBytes = 0;
  const header = {
    flags: 0,
    pageSizeBytes,
    commit: image.length / pageSizeBytes,
    minTxid: 1 as Txid,
    maxTxid: 1 as Txid,
    timestampMs: 0,
    preApplyChecksum: NO_CHECKSUM,
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const encoder = new LtxEncoder(header, (bytes) => {
    sizeBytes += bytes.length;
  });
  for (let offset = 0; offset < image.length; offset += pageSizeBytes) {
    encoder.page(offset / pageSizeBytes + 1, image.subarray(offset, offset + pageSizeBytes));
  }
  encoder.finish(CHECKSUM_FLAG);
  return sizeBytes;
}

describe("sampleCompression", () => {
  test.each([
    ["text", "printf('the same words again, number %d', i)", 4096],
    ["random", "randomblob(300)", 4096],
    ["mixed", "iif(i % 400 < 200, randomblob(200), 'again and again and again and again ' || i)", 1024],
    ["large-pages", "hex(randomblob(100))", 65_536],
  ])("predicts the size of a snapshot: %s", async (name, expression, pageSizeBytes) => {
    const path = databaseOf(`${name}.db`, expression, pageSizeBytes);
    const sample = sampleCompression(path);
    expect(sample.pageSizeBytes).toBe(pageSizeBytes);
    const fileBytes = Bun.file(path).size;
    expect(sample.pageCount * pageSizeBytes).toBe(fileBytes);
    const foundBytes = await snapshotBytes(path, pageSizeBytes);
    const foretoldBytes = fileBytes * sample.ratio + sample.pageCount * 18;
    expect(Math.abs(foretoldBytes - foundBytes)).toBeLessThan(0.1 * foundBytes);
  });

  test("text compresses, random bytes do not", () => {
    expect(sampleCompression(join(folder, "text.db")).ratio).toBeLessThan(0.7);
    const { ratio } = sampleCompression(join(folder, "random.db"));
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.01);
  });

  test("a database of one page", () => {
    const path = join(folder, "one.db");
    const database = new Database(path);
    database.run("CREATE TABLE t (a)");
    database.run("DROP TABLE t");
    database.run("VACUUM");
    database.close();
    const { pageCount, ratio } = sampleCompression(path);
    expect(pageCount).toBe(1);
    expect(ratio).toBeLessThan(0.1);
  });

  test("a file cut off within its first page gives no prediction", () => {
    const path = databaseOf("cut.db", "i", 4096);
    truncateSync(path, 200);
    expect(sampleCompression(path)).toEqual({ pageSizeBytes: 4096, pageCount: 1, ratio: 1 });
  });

  test.each([
    ["nothing", join(folder, "missing.db"), null],
    ["a folder", folder, null],
    ["an empty file", join(folder, "empty.db"), ""],
    ["a text", join(folder, "text.txt"), "no database ".repeat(100)],
  ])("refuses %s", (_, path, content) => {
    if (content !== null) writeFileSync(path, content);
    let caught: unknown;
    try {
      sampleCompression(path);
    } catch (error) {
      caught = error;
    }
    expect(hasCode(caught, "database")).toBe(true);
    expect(String(caught)).toContain(path);
  });
});
