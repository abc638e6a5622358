/** Temporary folders: those of killed processes disappear with the next one, those at work stay. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { makeTempFolder } from "../../src/local/temp-folder.ts";
import { tempFolder } from "../support/temp.ts";

const make = (parent: string): ReturnType<typeof makeTempFolder> =>
  makeTempFolder(parent, "walrust-x-", "hint");

/** A folder as a killed process leaves it: with a lock file that nobody holds. */
function leaveFolder(parent: string, name: string): string {
  const path = join(parent, name);
  mkdirSync(path, { mode: 0o700 });
  writeFileSync(join(path, "lock"), "", { mode: 0o600 });
  writeFileSync(join(path, "trial.db"), "a whole database");
  return path;
}

test("makeTempFolder removes the folder of a killed process with its content", () => {
  const parent = tempFolder("temps");
  leaveFolder(parent, "walrust-x-AAAAAA");
  const { path } = make(parent);
  expect(readdirSync(parent)).toEqual([basename(path)]);
});

test("makeTempFolder leaves a folder at work, until its owner removes it", () => {
  const parent = tempFolder("temps");
  const first = make(parent);
  const second = make(parent);
  expect(existsSync(first.path)).toBe(true);
  writeFileSync(join(first.path, "merged.ltx"), "x");
  first.remove();
  expect(readdirSync(parent)).toEqual([basename(second.path)]);
  second.remove();
  expect(readdirSync(parent)).toEqual([]);
});

test("makeTempFolder leaves other names, folders without a lock file, and files", () => {
  const parent = tempFolder("temps");
  const others = [leaveFolder(parent, "walrust-y-AAAAAA"), join(parent, "walrust-x-BBBBBB")];
  mkdirSync(others[1]!);
  writeFileSync(join(parent, "walrust-x-CCCCCC"), "");
  make(parent);
  expect(readdirSync(parent)).toHaveLength(4);
});

test("makeTempFolder refuses a parent in which others can exchange folders", () => {
  const parent = tempFolder("temps");
  chmodSync(parent, 0o777);
  expect(() => make(parent)).toThrow("other users can exchange what lies there");
});
