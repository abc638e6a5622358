/** The judge of a journalled database: a sound copy passes, and each kind of damage fails. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import {
  commitRows,
  createJournalDatabase,
  judgeJournalDatabase,
  SLOT_COUNT,
} from "../../../scripts/measure/journal/journal-rows.ts";
import { tempFolder } from "../../support/temp.ts";

/** A database with some commits of two writers, changed by `damage`. */
function databaseWith(damage = ""): string {
  const path = join(tempFolder("journal"), "app.db");
  createJournalDatabase(path, { pageSizeBytes: 1_024, ballastBytes: 20_000 });
  const database = new Database(path);
  commitRows(database, 1, 3);
  expect(commitRows(database, 2, SLOT_COUNT + 2)).toBe(SLOT_COUNT + 2);
  expect(commitRows(database, 1, 1)).toBe(4);
  if (damage !== "") database.run(damage);
  database.query("PRAGMA wal_checkpoint(TRUNCATE)").get();
  database.close(true);
  return path;
}

test("judgeJournalDatabase gives the newest number of each writer", () => {
  expect(judgeJournalDatabase(databaseWith())).toEqual(
    new Map([
      [1, 4],
      [2, SLOT_COUNT + 2],
    ]),
  );
});

test.each([
  ["a row that is missing", "DELETE FROM row WHERE writer = 1 AND number = 2", "row 2 of 4 is row 3"],
  ["the newest row", "DELETE FROM row WHERE writer = 1 AND number = 4", "row 4 of 4 is missing"],
  ["another content", "UPDATE row SET body = 'x' WHERE writer = 2 AND slot = 5", "writer 2: row 5 of"],
  [
    "a row that was not replaced",
    "UPDATE row SET number = 1 WHERE writer = 2 AND slot = 1",
    "writer 2: row 3",
  ],
  ["a counter that is behind", "UPDATE counter SET number = 3 WHERE writer = 1", "4 rows at number 3"],
  ["a counter that is ahead", "UPDATE counter SET number = 5 WHERE writer = 1", "row 5 of 5 is missing"],
])("judgeJournalDatabase finds %s", (_damage, sql, message) => {
  const path = databaseWith(sql);
  expect(() => judgeJournalDatabase(path)).toThrow(message);
});
