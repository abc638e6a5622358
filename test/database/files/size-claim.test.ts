/** The bound on the size of a database: SQLite itself refuses a checkpoint of the same claims. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { sizeClaimProblemOrNull } from "../../../src/database/files/size-claim.ts";
import { writeClaimingWal } from "../../support/histories/claiming-wal.ts";
import { tempFolder } from "../../support/temp.ts";

const PAGE = 4096;

function newDatabase(): string {
  const path = join(tempFolder("claim"), "app.db");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t(x)");
  database.close(true);
  return path;
}

describe("sizeClaimProblemOrNull", () => {
  // 2 pages, 1 frame, and 16 pages for the page that is never written.
  test.each([2, 3, 18, 19, 20, 21, 1_000, 0x7fffffff, 0xffffffff])(
    "of %d pages agrees with SQLite",
    (claim) => {
      const path = newDatabase();
      const fileSizeBytes = statSync(path).size;
      expect(fileSizeBytes).toBe(2 * PAGE);
      writeClaimingWal(path, claim);
      const database = new Database(path);
      let isRefused = false;
      try {
        database.query("PRAGMA wal_checkpoint(PASSIVE)").get();
      } catch {
        isRefused = true;
      }
      database.close();
      expect(sizeClaimProblemOrNull(claim, PAGE, fileSizeBytes, 1) !== null).toBe(isRefused);
    },
  );

  // SQLite writes every page that it adds to a database, even a page that stays unused.
  test.each([
    [
      "a table that was made and dropped",
      ["CREATE TABLE x(b)", "INSERT INTO x VALUES (zeroblob(9000000))", "DROP TABLE x"],
    ],
    [
      "rows that were deleted again",
      ["CREATE TABLE x(b)", "INSERT INTO x VALUES (zeroblob(9000000))", "DELETE FROM x"],
    ],
    [
      "a savepoint that was rolled back",
      [
        "CREATE TABLE x(b)",
        "SAVEPOINT s",
        "INSERT INTO x VALUES (zeroblob(9000000))",
        "ROLLBACK TO s",
        "INSERT INTO x VALUES (1)",
      ],
    ],
  ])("a transaction with %s leaves no page unwritten", (_, statements) => {
    const path = newDatabase();
    const database = new Database(path);
    database.run("PRAGMA wal_autocheckpoint = 0");
    database.run("BEGIN");
    for (const sql of statements) database.run(sql);
    database.run("COMMIT");
    const wal = readFileSync(`${path}-wal`);
    const written = new Set<number>();
    let commit = 0;
    for (let at = 32; at + 24 + PAGE <= wal.length; at += 24 + PAGE) {
      written.add(wal.readUInt32BE(at));
      commit = wal.readUInt32BE(at + 4) || commit;
    }
    for (let pgno = statSync(path).size / PAGE + 1; pgno <= commit; pgno++)
      expect(written.has(pgno)).toBe(true);
    database.close();
  });
});
