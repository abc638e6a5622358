/** A growing database in WAL mode: SQLite writes every new page into the WAL. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../support/seeded-random.ts";
import { tempFolder } from "../support/temp.ts";

interface Frame {
  readonly pgno: number;
  readonly commit: number;
  readonly page: DataView;
}

/** The frames of a WAL from an index on that have its salts. */
function framesOf(path: string, from: number): Frame[] {
  const bytes = readFileSync(`${path}-wal`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pageSizeBytes = view.getUint32(8);
  const frames: Frame[] = [];
  for (let at = 32 + from * (24 + pageSizeBytes); at + 24 + pageSizeBytes <= bytes.length; ) {
    if (view.getUint32(at + 8) !== view.getUint32(16)) break;
    const page = new DataView(bytes.buffer, bytes.byteOffset + at + 24, pageSizeBytes);
    frames.push({ pgno: view.getUint32(at), commit: view.getUint32(at + 4), page });
    at += 24 + pageSizeBytes;
  }
  return frames;
}

const STATEMENTS: readonly (readonly string[])[] = [
  ["INSERT INTO t(v) VALUES (randomblob(20000))"],
  ["DELETE FROM t WHERE id % 3 = 0"],
  ["BEGIN", "INSERT INTO u VALUES (zeroblob(70000))", "DELETE FROM u", "COMMIT"],
  ["BEGIN", "SAVEPOINT s", "INSERT INTO u VALUES (randomblob(90000))", "ROLLBACK TO s", "COMMIT"],
  [
    "BEGIN",
    "CREATE TABLE y AS SELECT randomblob(50000)",
    "DROP TABLE y",
    "INSERT INTO t(v) VALUES (1)",
    "COMMIT",
  ],
  ["PRAGMA incremental_vacuum(5)"],
  ["VACUUM"],
  ["CREATE INDEX i ON t(v)", "DROP INDEX i"],
];

test("SQLite writes every page that it adds, and the size into the first page", () => {
  const random = seededRandom(7);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  for (let round = 0; round < 12; round++) {
    const path = join(tempFolder("growth"), "app.db");
    const database = new Database(path);
    database.run(`PRAGMA page_size = ${pick([512, 1024, 4096])}`);
    database.run(`PRAGMA auto_vacuum = ${pick([0, 1, 2])}`);
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA wal_autocheckpoint = 0");
    database.run(`PRAGMA cache_size = ${pick([2, 10, 2000])}`);
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    database.run("CREATE TABLE u (v)");
    let [frameCount, committedCount, size, sizeInHeader] = [0, 0, 0, 0];
    for (let step = 0; step < 40; step++) {
      for (const statement of pick(STATEMENTS)) database.run(statement);
      let written = new Set<number>();
      // Frames after the last commit were rolled back, and the next transaction overwrites them.
      for (const [index, { pgno, commit, page }] of framesOf(path, frameCount).entries()) {
        written.add(pgno);
        if (pgno === 1) sizeInHeader = page.getUint32(28);
        if (commit === 0) continue;
        for (let added = size + 1; added <= commit; added++) expect(written.has(added)).toBe(true);
        expect(sizeInHeader).toBe(commit);
        size = commit;
        committedCount = frameCount + index + 1;
        written = new Set();
      }
      frameCount = committedCount;
    }
    database.close();
  }
});
