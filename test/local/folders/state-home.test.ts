/**
 * The folders of the state home: the databases that they belong to, and one test for each rule of removal.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { databasePathsIn, sweepStateHome } from "../../../src/local/folders/state-home.ts";
import { tempFolder } from "../../support/temp.ts";

const DAY_MS = 24 * 3_600_000;
const NOW_MS = 1_900_000_000_000;

test("sweepStateHome removes a folder that is a month old, of no database, and without unsent files", () => {
  const home = tempFolder("sweep");
  const present = join(tempFolder("sweep"), "app.db");
  writeFileSync(present, "x");
  const make = (name: string, database: string | null, ageDays: number, unsent = false): string => {
    const folder = join(home, name);
    mkdirSync(join(folder, "ltx"), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, "state.json"), "{}");
    if (database !== null) writeFileSync(join(folder, "database"), `${database}\n`, { mode: 0o600 });
    if (unsent) writeFileSync(join(folder, "ltx", "0000-0000000000000002-0000000000000002.ltx"), "x");
    const seconds = (NOW_MS - ageDays * DAY_MS) / 1_000;
    utimesSync(join(folder, "state.json"), seconds, seconds);
    return folder;
  };
  const gone = make("gone", "/nowhere/app.db", 31);
  const kept = [
    make("recent", "/nowhere/app.db", 29),
    make("present", present, 400),
    make("unsent", "/nowhere/app.db", 400, true),
    make("not-ours", null, 400),
  ];
  expect(sweepStateHome(home, NOW_MS)).toEqual([gone]);
  expect([gone, ...kept].map(existsSync)).toEqual([false, true, true, true, true]);
  expect(sweepStateHome(join(home, "missing"), NOW_MS)).toEqual([]);
});

test("databasePathsIn names the database of each folder, and ignores foreign folders", () => {
  const home = tempFolder("home");
  mkdirSync(join(home, "app"), { mode: 0o700 });
  writeFileSync(join(home, "app", "database"), "/srv/app.db\n", { mode: 0o600 });
  mkdirSync(join(home, "empty"), { mode: 0o700 });
  mkdirSync(join(home, "odd", "database"), { recursive: true, mode: 0o700 });
  writeFileSync(join(home, "a-file"), "x");
  expect(databasePathsIn(home)).toEqual(["/srv/app.db"]);
  expect(databasePathsIn(join(home, "missing"))).toEqual([]);
});
