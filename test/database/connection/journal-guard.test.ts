/** SQLite ignores a -journal while another holder has the RESERVED byte; when the guard takes that byte. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { closeSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { guardJournal } from "../../../src/database/connection/journal-guard.ts";
import { isLockedByOther } from "../../../src/database/files/ofd-lock.ts";
import { LOCK_BYTE } from "../../../src/format/types.ts";
import { tempFolder } from "../../support/temp.ts";

function newDatabase(mode: "WAL" | "DELETE"): string {
  const path = join(tempFolder("guard"), "app.db");
  const database = new Database(path);
  database.run(`PRAGMA journal_mode = ${mode}`);
  database.run("CREATE TABLE t(x)");
  database.close(true);
  return path;
}

/** Whether the byte is held while the guard exists. */
function isTaken(path: string, journalFd: number | null): boolean {
  const [own, other] = [openSync(path, "r+"), openSync(path, "r+")];
  const release = guardJournal(own, journalFd);
  const isHeld = isLockedByOther(other, LOCK_BYTE + 1, 1, "exclusive");
  release();
  expect(isLockedByOther(other, LOCK_BYTE + 1, 1, "exclusive")).toBe(false);
  release();
  for (const fd of [own, other]) closeSync(fd);
  return isHeld;
}

// Without the guard the first read opens the FIFO and waits for a writer, which blocks the whole process.
test("guardJournal prevents a FIFO that appears after all checks from blocking the first read", () => {
  const path = newDatabase("WAL");
  const fd = openSync(path, "r+");
  const release = guardJournal(fd, null);
  Bun.spawnSync(["mkfifo", `${path}-journal`]);
  const database = new Database(path);
  expect(database.query("SELECT count(*) AS n FROM t").get()).toEqual({ n: 0 });
  release();
  // After the first read SQLite knows that the database is in WAL mode, and checks for no journal.
  expect(database.query("SELECT count(*) AS n FROM t").get()).toEqual({ n: 0 });
  database.run("INSERT INTO t VALUES (1)");
  rmSync(`${path}-journal`);
  database.close(true);
  closeSync(fd);
});

test("guardJournal is for WAL mode, and leaves a journal with content to SQLite", () => {
  const path = newDatabase("WAL");
  expect(isTaken(path, null)).toBe(true);
  const journal = join(tempFolder("guard"), "journal");
  for (const [content, isGuarded] of [
    ["", true],
    ["\0\0\0", true],
    ["\xd9\xd5\x05\xf9", false],
  ] as const) {
    writeFileSync(journal, content, "latin1");
    const fd = openSync(journal, "r");
    expect(isTaken(path, fd)).toBe(isGuarded);
    closeSync(fd);
  }
  expect(isTaken(newDatabase("DELETE"), null)).toBe(false);
});
