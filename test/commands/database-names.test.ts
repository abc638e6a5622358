/** Names of databases: stems, parents, names that were used before, and what is no name. */
import { describe, expect, test } from "bun:test";
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { nameDatabases } from "../../src/commands/database-names.ts";
import { WalrustError } from "../../src/errors.ts";
import type { Checksum, Txid } from "../../src/format/types.ts";
import { createStateFolder, stateFolderOf, writeState } from "../../src/replication/state.ts";
import { tempFolder } from "../support/temp.ts";

const DESTINATION = "s3://bucket/vm1";

/** Makes empty files below a new folder; their full paths. */
function files(...paths: string[]): string[] {
  const root = tempFolder("names");
  return paths.map((path) => {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, "");
    return full;
  });
}

function namesOf(paths: readonly string[]): string[] {
  return nameDatabases(paths, DESTINATION).map(({ name }) => name);
}

function refusal(paths: readonly string[]): string {
  try {
    return namesOf(paths).join(" ");
  } catch (error) {
    if (error instanceof WalrustError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

/** Leaves a state as a watch does. */
function remember(path: string, name: string, destination = DESTINATION): void {
  const paths = stateFolderOf(path);
  createStateFolder(paths);
  writeState(paths, {
    destination,
    name,
    writer: "a".repeat(32),
    txid: 1 as Txid,
    timeMs: 0,
    pageSizeBytes: 4096,
    commit: 1,
    checksum: 0x8000000000000000n as Checksum,
    chain: "b".repeat(64),
    wal: null,
    snapshot: null,
  });
}

describe("nameDatabases", () => {
  test.each([
    [["app.db"], ["app"]],
    [["app"], ["app"]],
    [["app.v2.sqlite"], ["app.v2"]],
    [[".hidden"], [".hidden"]],
    [
      ["a/app.db", "b/other.db"],
      ["app", "other"],
    ],
    [
      ["romneys/app.db", "smiths/app.db"],
      ["romneys/app", "smiths/app"],
    ],
    [
      ["a/app.db", "b/app.sqlite", "c/other.db"],
      ["a/app", "b/app", "other"],
    ],
    [["a/данные.db"], ["данные"]],
  ])("nameDatabases of %p", (paths, names) => {
    expect(namesOf(files(...paths))).toEqual(names);
  });

  test("nameDatabases gives the real path and the state folder beside it", () => {
    const [path] = files("real/app.db") as [string];
    const link = join(dirname(dirname(path)), "link.db");
    symlinkSync(path, link);
    expect(nameDatabases([link], DESTINATION)).toEqual([{ path, name: "app", paths: stateFolderOf(path) }]);
  });

  test("nameDatabases keeps a name that was used with this destination, whatever came beside it", () => {
    const [one, two] = files("a/app.db", "b/app.db") as [string, string];
    remember(one, "app");
    expect(namesOf([one, two])).toEqual(["app", "b/app"]);
    expect(namesOf([one])).toEqual(["app"]);
    remember(two, "b/app");
    expect(namesOf([two])).toEqual(["b/app"]);
  });

  test("nameDatabases does not take the name of another destination over", () => {
    const [path] = files("app.db") as [string];
    remember(path, "old-name", "s3://elsewhere");
    expect(namesOf([path])).toEqual(["app"]);
  });

  test("nameDatabases refuses the same file twice, by path, by symbolic and by hard link", () => {
    const [path] = files("app.db") as [string];
    const [symbolic, hard] = [`${path}.symbolic`, `${path}.hard`];
    symlinkSync(path, symbolic);
    linkSync(path, hard);
    for (const other of [path, symbolic, hard]) {
      expect(refusal([path, other])).toBe(`usage: ${path} and ${other} are the same database`);
    }
  });

  test("nameDatabases refuses two databases of one name, naming both", () => {
    const [one, two] = files("x/data/app.db", "y/data/app.db") as [string, string];
    expect(refusal([one, two])).toBe(`usage: ${one} and ${two} would both be called data/app`);
    const [three, four] = files("three.db", "four.db") as [string, string];
    remember(three, "four");
    expect(refusal([three, four])).toContain("would both be called four");
  });

  test("nameDatabases of a file that is not there is an error of the database, with its path", () => {
    const path = join(tempFolder("names"), "none.db");
    expect(refusal([path])).toBe(`database: Cannot find ${path}: ENOENT`);
  });

  test("nameDatabases refuses a name that would leave the prefix", () => {
    for (const path of files("...db", "..db/...db")) expect(refusal([path])).toStartWith("usage: ");
  });
});
