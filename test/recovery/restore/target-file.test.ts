/**
 * A restore or an undo that ends before or after any step of the replacement, as by SIGKILL. Each complete
 * database stays: at the target, or under the name of a replaced file. No database lies beside the log of
 * another one. Undo and another restore work after every crash, and no file keeps a second name.
 */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { keptFiles, keptName, newStamp } from "../../../src/recovery/restore/kept-files.ts";
import { replaceTarget, tidyInterrupted } from "../../../src/recovery/restore/target-file.ts";
import { TargetFolder } from "../../../src/recovery/restore/target-folder.ts";
import { undoRestore } from "../../../src/recovery/restore/undo-restore.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { tempFolder } from "../../support/temp.ts";

const context = { env: systemEnv(SILENT_LOG), places: LocalPlaces.standard() };
const STEPS = ["rename", "link", "remove"] as const;
const mocks: { mockRestore(): void }[] = [];

afterEach(() => {
  for (const mock of mocks.splice(0)) mock.mockRestore();
});

/** The end of the process in front of a step. */
class Killed extends Error {}

/** Ends `work` in front of its step with this index. @returns whether there is such a step */
function killedAt(index: number, work: () => void): boolean {
  let passed = 0;
  for (const step of STEPS) {
    const original = TargetFolder.prototype[step] as (this: TargetFolder, ...names: string[]) => boolean;
    const mock = spyOn(TargetFolder.prototype, step).mockImplementation(function (
      this: TargetFolder,
      ...names: string[]
    ): boolean {
      if (passed++ >= index) throw new Killed();
      return original.apply(this, names);
    } as never);
    mocks.push(mock);
  }
  try {
    work();
    return false;
  } catch (error) {
    // Undo reports the failure of a step as an error of its own.
    if (!(error instanceof Killed) && !((error as Error).cause instanceof Killed)) throw error;
    return true;
  } finally {
    for (const mock of mocks.splice(0)) mock.mockRestore();
  }
}

/** Writes a database with one row. @param isLogged the row is in the WAL alone */
function writeDatabase(path: string, row: string, isLogged: boolean): void {
  const source = join(tempFolder("source"), "source.db");
  const database = new Database(source);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t(v)");
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  database.run("INSERT INTO t VALUES (?)", [row]);
  if (!isLogged) database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  // As a killed application leaves the files.
  for (const suffix of ["", "-wal", "-shm"]) copyFileSync(`${source}${suffix}`, `${path}${suffix}`);
  database.close();
}

/** The row of the database at a path; "nothing" where no file is. */
function rowAt(path: string): unknown {
  return existsSync(path) ? rowsOf(imageOf(path), "SELECT v FROM t")[0]?.[0] : "nothing";
}

/** Whether the old database, and the one that a restore brings, have commits in a log. */
const KINDS = [
  ["without logs", false, false],
  ["with a log of the old file", true, false],
  ["with a log of the new file", false, true],
  ["with logs of both files", true, true],
] as const;

/** A folder with `app.db`, which holds "old", and the finished draft `.draft`, which holds "new". */
function prepared(isOldLogged: boolean): string {
  const folder = tempFolder("replaced");
  writeDatabase(join(folder, "app.db"), "old", isOldLogged);
  writeDatabase(join(folder, "draft"), "new", false);
  writeFileSync(join(folder, ".draft"), imageOf(join(folder, "draft")));
  for (const suffix of ["", "-wal", "-shm"]) TargetFolder.open(join(folder, "x")).remove(`draft${suffix}`);
  return join(folder, "app.db");
}

/** The replacement of a restore, with the draft `.draft`. */
function place(path: string): void {
  const folder = TargetFolder.open(path);
  try {
    tidyInterrupted(folder);
    const stats = folder.statsOrNull(".draft")!;
    const stamp = newStamp(folder, Date.now());
    replaceTarget(folder, { name: ".draft", stats, logs: [] }, stamp);
  } finally {
    folder.close();
  }
}

/** The rows of the databases that were kept, newest first. */
function keptRows(path: string): unknown[] {
  const folder = TargetFolder.open(path);
  try {
    const kept = keptFiles(folder).filter(({ suffixes }) => suffixes.has(""));
    return kept.map(({ name }) => rowAt(folder.shown(name)));
  } finally {
    folder.close();
  }
}

function linkCounts(path: string): number[] {
  const folder = join(path, "..");
  const files = readdirSync(folder).map((name) => statSync(join(folder, name)));
  return [...new Set(files.filter((stats) => stats.isFile()).map(({ nlink }) => nlink))];
}

/** The number of steps of `work`, each of which gets a crash. */
function eachCrash(work: (index: number) => boolean): number {
  let index = 0;
  while (work(index)) index++;
  return index;
}

describe("replaceTarget that is killed in front of any step", () => {
  test("keeps a database at the target at every moment, where no log has content", () => {
    const count = eachCrash((index) => {
      const path = prepared(false);
      const isKilled = killedAt(index, () => place(path));
      expect(["old", "new"]).toContain(rowAt(path) as string);
      return isKilled;
    });
    expect(count).toBeGreaterThanOrEqual(3);
  });

  test("keeps the old database with its log, complete at the target or beside it", () => {
    const seen = new Set<unknown>();
    const count = eachCrash((index) => {
      const path = prepared(true);
      const isKilled = killedAt(index, () => place(path));
      const row = rowAt(path);
      seen.add(row);
      if (row !== "old") expect(keptRows(path)).toEqual(["old"]);
      return isKilled;
    });
    expect([...seen]).toEqual(["old", "nothing", "new"]);
    expect(count).toBeGreaterThanOrEqual(4);
  });

  test.each([
    ["without a log", false],
    ["with a log", true],
  ])("leaves what an undo puts back, %s", (_, isLogged) => {
    eachCrash((index) => {
      const path = prepared(isLogged);
      const isKilled = killedAt(index, () => place(path));
      const before = rowAt(path);
      try {
        undoRestore(path, context);
      } catch (error) {
        // The replacement had not begun.
        expect([before, (error as { exitCode?: number }).exitCode]).toEqual(["old", 6]);
      }
      expect(rowAt(path)).toBe("old");
      expect(linkCounts(path)).toEqual([1]);
      return isKilled;
    });
  });

  test.each([
    ["without a log", false],
    ["with a log", true],
  ])("leaves what another restore replaces, %s", (_, isLogged) => {
    eachCrash((index) => {
      const path = prepared(isLogged);
      const isKilled = killedAt(index, () => place(path));
      if (isKilled) place(path);
      expect([rowAt(path), keptRows(path)]).toEqual(["new", ["old"]]);
      expect(linkCounts(path)).toEqual([1]);
      undoRestore(path, context);
      expect(rowAt(path)).toBe("old");
      return isKilled;
    });
  });
});

describe("undo that is killed in front of any step", () => {
  test.each(KINDS)("leaves both databases, %s", (_, isOldLogged, isNewLogged) => {
    const count = eachCrash((index) => {
      const path = prepared(isOldLogged);
      place(path);
      // The application has run on the restored file.
      if (isNewLogged) writeDatabase(path, "new", true);
      const isKilled = killedAt(index, () => undoRestore(path, context));
      const rows = [rowAt(path), ...keptRows(path)].filter((row) => row !== "nothing");
      expect(new Set(rows)).toEqual(new Set(["old", "new"]));
      // Another undo leads to one of the two, and the one after it to the other.
      undoRestore(path, context);
      const first = rowAt(path);
      undoRestore(path, context);
      expect([first, rowAt(path)].sort()).toEqual(["new", "old"]);
      expect(linkCounts(path)).toEqual([1]);
      return isKilled;
    });
    expect(count).toBeGreaterThanOrEqual(3);
  });
});

describe("replaceTarget", () => {
  test("works on a file system without hard links", () => {
    for (const isLogged of [false, true]) {
      const path = prepared(isLogged);
      const mock = spyOn(TargetFolder.prototype, "link").mockReturnValue(false);
      place(path);
      undoRestore(path, context);
      mock.mockRestore();
      expect([rowAt(path), keptRows(path)]).toEqual(["old", ["new"]]);
    }
  });

  test("keeps a log of its own beside each kept file", () => {
    const path = prepared(true);
    const log = readFileSync(`${path}-wal`);
    place(path);
    const [kept = ""] = readdirSync(join(path, "..")).filter((name) => name.endsWith("Z-wal"));
    expect(Buffer.compare(readFileSync(join(path, "..", kept)), log)).toBe(0);
  });
});

test("tidyInterrupted leaves a second name that a user gave, and kept files of their own", () => {
  const path = prepared(false);
  place(path);
  linkSync(path, `${path}.backup`);
  const names = readdirSync(join(path, ".."));
  const folder = TargetFolder.open(path);
  writeFileSync(folder.at(keptName("app.db", "2020-01-01T00-00-00-000Z-wal")), "a log");
  tidyInterrupted(folder);
  folder.close();
  expect(readdirSync(join(path, "..")).length).toBe(names.length + 1);
});
