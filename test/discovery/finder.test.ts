/** The databases and their names: given as words, found by globs, configured, or known from before. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { DatabaseFinder, entriesByName, type SearchResult } from "../../src/discovery/finder.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import type { Checksum, Txid } from "../../src/format/types.ts";
import { LocalPlaces } from "../../src/local/places.ts";
import { writeState } from "../../src/local/state.ts";
import { createStateFolder, stateFolderOf } from "../../src/local/state-folder.ts";
import { tempFolder } from "../support/temp.ts";

const DESTINATION = "s3://bucket/vm1";
const ENV = systemEnv(SILENT_LOG);

/** Creates files that are not empty below a new folder. @returns their full paths */
function files(...paths: string[]): string[] {
  return filesBelow(tempFolder("names"), ...paths);
}

function filesBelow(root: string, ...paths: string[]): string[] {
  return paths.map((path) => {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, "x");
    return full;
  });
}

/** A finder over words, or over the [[databases]] of a file in `folder`. */
function finderOf(paths: readonly string[], toml?: string, folder = "/nowhere"): DatabaseFinder {
  const file =
    toml === undefined ? null : parseConfigFile(toml, join(folder, "walrust.toml"), "walrust.toml", {});
  return new DatabaseFinder({ paths, file, destination: DESTINATION, places: LocalPlaces.standard() }, ENV);
}

async function find(paths: readonly string[], toml?: string, folder?: string): Promise<SearchResult> {
  return finderOf(paths, toml, folder).find();
}

async function namesOf(paths: readonly string[], toml?: string, folder?: string): Promise<string[]> {
  const { databases, collisions, missing, emptyGlobs } = await find(paths, toml, folder);
  const wrong = [...collisions, ...missing.map(({ error }) => error), ...emptyGlobs];
  return [...databases.map(({ name }) => name), ...wrong.map(({ code, message }) => `${code}: ${message}`)];
}

/** Writes a state as a watch does, for a file or without a known file. */
function remember(path: string, name: string, destination = DESTINATION, writtenFor?: string): void {
  const paths = stateFolderOf(path);
  const { ino } = statSync(writtenFor ?? path);
  const file = { inode: String(ino), sizeBytes: 1, modifiedNs: "0" };
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
    ...(writtenFor === undefined ? {} : { file }),
  });
}

describe("databases that are named", () => {
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
    [["a/[x].db"], ["[x]"]],
  ])("are called by their stems: %p", async (paths, names) => {
    expect(await namesOf(files(...paths))).toEqual(names);
  });

  test("have their real path and the state folder beside it", async () => {
    const [path] = files("real/app.db") as [string];
    const link = join(dirname(dirname(path)), "link.db");
    symlinkSync(path, link);
    const { databases } = await find([link]);
    const paths = stateFolderOf(path);
    expect(databases).toMatchObject([{ path, name: "app", paths, entry: null, isDiscovered: false }]);
  });

  test("keep a name that was used with this destination, whatever appears beside them", async () => {
    const [one, two] = files("a/app.db", "b/app.db") as [string, string];
    remember(one, "app");
    expect(await namesOf([one, two])).toEqual(["app", "b/app"]);
    expect(await namesOf([one])).toEqual(["app"]);
    remember(two, "b/app");
    expect(await namesOf([two])).toEqual(["b/app"]);
  });

  test("do not take the name of another destination", async () => {
    const [path] = files("app.db") as [string];
    remember(path, "old-name", "s3://elsewhere");
    expect(await namesOf([path])).toEqual(["app"]);
  });

  test("are refused as the same file twice, by path, by symbolic and by hard link", async () => {
    const [path] = files("app.db") as [string];
    const [symbolic, hard] = [`${path}.symbolic`, `${path}.hard`];
    symlinkSync(path, symbolic);
    linkSync(path, hard);
    for (const other of [path, symbolic, hard]) {
      const [name, message] = await namesOf([path, other]);
      expect([name, message]).toEqual(["app", expect.stringContaining("are the same database")]);
      expect(message).toContain(other);
    }
  });

  test("are refused when two have one name, with both paths", async () => {
    const [one, two] = files("x/data/app.db", "y/data/app.db") as [string, string];
    expect(await namesOf([one, two])).toEqual([
      "data/app",
      `usage: ${one} and ${two} would both be called data/app`,
    ]);
    const [three, four] = files("three.db", "four.db") as [string, string];
    remember(three, "four");
    expect((await namesOf([three, four])).at(-1)).toContain("would both be called four");
  });

  test("that are missing are reported with their path, and the others are found", async () => {
    const [there] = files("app.db") as [string];
    const path = join(tempFolder("names"), "none.db");
    expect(await namesOf([path, there])).toEqual(["app", `database: Cannot find ${path}: ENOENT`]);
  });

  test("are refused with a name outside the prefix", async () => {
    for (const path of files("...db", "..db/...db"))
      expect((await namesOf([path]))[0]).toStartWith("usage: ");
  });
});

describe("databases of walrust.toml", () => {
  test("take name and prefix, relative to the folder of the file", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "data/app.db", "data/other.db", "[odd]/x.db");
    const toml = `
      [[databases]]
      path = "data/app.db"
      name = "shop"
      prefix = "production"
      [[databases]]
      path = "data/other.db"
      prefix = "production"
      [[databases]]
      path = '\\[odd\\]/x.db'`;
    expect(await namesOf([], toml, folder)).toEqual(["production/shop", "production/other", "x"]);
  });

  test("of a glob are named by their path below its fixed folder", async () => {
    const folder = tempFolder("names");
    filesBelow(
      folder,
      "romneys/app.db",
      "smiths/app.db",
      "smiths/.app.db-walrust/ltx/x",
      "smiths/app.db-wal",
    );
    expect(await namesOf([], '[[databases]]\npath = "*/app.db"', folder)).toEqual([
      "romneys/app",
      "smiths/app",
    ]);
    expect(await namesOf([], '[[databases]]\npath = "smiths/*"\nprefix = "t"', folder)).toEqual(["t/app"]);
    expect(await namesOf([join(folder, "*/app.db")])).toEqual(["romneys/app", "smiths/app"]);
  });

  test("that are named are excluded from the globs, in any order", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "a.db", "b.db");
    const glob = '[[databases]]\npath = "*.db"\nprefix = "tenant"\n';
    const named = '[[databases]]\npath = "b.db"\nprefix = "app"\n';
    for (const toml of [glob + named, named + glob]) {
      expect((await namesOf([], toml, folder)).sort()).toEqual(["app/b", "tenant/a"]);
    }
  });

  test("that two globs match are reported with both places", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "a.db");
    const toml = '[[databases]]\npath = "*.db"\n[[databases]]\npath = "a.*"\n';
    // A tenant may create a file that two globs match, which must not prevent the start.
    const { databases, collisions, skipped } = await find([], toml, folder);
    expect([databases.map(({ name }) => name), collisions]).toEqual([["a"], []]);
    const told = skipped.map(({ code, message }) => `${code}: ${message}`).join();
    expect(told).toMatch(
      /^database: walrust\.toml:1:1 and walrust\.toml:3:1 are the same database .*; the first/,
    );
  });

  test("that a link leads to are found once, under the file's name", async () => {
    const folder = tempFolder("names");
    const [path] = filesBelow(folder, "z.db") as [string];
    symlinkSync(path, join(folder, "current.db"));
    expect(await namesOf([], '[[databases]]\npath = "*.db"', folder)).toEqual(["z"]);
  });

  test("an empty file is no database yet, and no match is an error unless allowed", async () => {
    const folder = tempFolder("names");
    writeFileSync(join(folder, "new.db"), "");
    const toml = '[[databases]]\npath = "*.db"\n';
    expect(await namesOf([], toml, folder)).toEqual([
      `config: walrust.toml:1:1: ${folder}/*.db matches nothing`,
    ]);
    expect(await namesOf([], `${toml}allow_empty = true`, folder)).toEqual([]);
  });

  test("words select databases, and the file configures the selected ones", async () => {
    const folder = tempFolder("names");
    const [app, other] = filesBelow(folder, "app.db", "other.db") as [string, string];
    const toml =
      '[[databases]]\npath = "app.db"\nname = "shop"\nhourly = 3\n' +
      '[[databases]]\npath = "o*.db"\nprefix = "p"\n';
    const { databases } = await find([app, other], toml, folder);
    expect(databases.map(({ name, entry }) => [name, entry?.line])).toEqual([
      ["shop", 1],
      ["p/other", 5],
    ]);
  });

  test("a changed prefix changes the name; a known name below it stays", async () => {
    const folder = tempFolder("names");
    const [path] = filesBelow(folder, "app.db") as [string];
    remember(path, "old/app");
    expect(await namesOf([], '[[databases]]\npath = "app.db"\nprefix = "new"', folder)).toEqual(["new/app"]);
    expect(await namesOf([], '[[databases]]\npath = "app.db"\nprefix = "old"', folder)).toEqual(["old/app"]);
    expect(await namesOf([], '[[databases]]\npath = "app.db"', folder)).toEqual(["old/app"]);
    expect(await namesOf([], '[[databases]]\npath = "app.db"\nname = "x"', folder)).toEqual(["x"]);
  });

  test("entriesByName has local entries by file and remote ones by name", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "t/a.db");
    const toml =
      '[[databases]]\npath = "t/*.db"\nprefix = "p"\n[[databases]]\npath = "/gone.db"\nname = "gone"\n';
    const file = parseConfigFile(toml, join(folder, "walrust.toml"), "walrust.toml", {});
    const entries = await entriesByName({ file }, DESTINATION, ENV, LocalPlaces.standard());
    expect([...entries].map(([name, { line }]) => [name, line])).toEqual([
      ["gone", 4],
      ["p/a", 1],
    ]);
  });
});

describe("a repeated discovery", () => {
  const TOML = '[[databases]]\npath = "*/app.db"\n';

  test("keeps the object of a present database, finds new ones, misses removed ones", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "a/app.db", "b/app.db");
    const finder = finderOf([], TOML, folder);
    const first = await finder.find();
    filesBelow(folder, "c/app.db");
    rmSync(join(folder, "b"), { recursive: true });
    const second = await finder.find();
    expect(second.databases.map(({ name }) => name)).toEqual(["a/app", "c/app"]);
    expect(second.databases[0]).toBe(first.databases[0]!);
    expect(finder.hasGlobs).toBe(true);
  });

  test("a renamed folder is another database", async () => {
    const folder = tempFolder("names");
    filesBelow(folder, "a/app.db");
    const finder = finderOf([], TOML, folder);
    await finder.find();
    renameSync(join(folder, "a"), join(folder, "z"));
    expect((await finder.find()).databases.map(({ name }) => name)).toEqual(["z/app"]);
  });
});

describe("a later database takes nothing from a watched one", () => {
  const TOML = '[[databases]]\npath = "*/app.db"\n';

  /** `<folder>: <name>` of each. */
  function names({ databases }: SearchResult): string[] {
    return databases.map(({ path, name }) => `${basename(dirname(path))}: ${name}`);
  }

  test("neither a copied folder with its state nor a hard link, though they come first", async () => {
    const folder = tempFolder("names");
    const [path] = filesBelow(folder, "m/app.db") as [string];
    const finder = finderOf([], TOML, folder);
    await finder.find();
    remember(path, "m/app");
    cpSync(join(folder, "m"), join(folder, "a"), { recursive: true });
    mkdirSync(join(folder, "b"));
    linkSync(path, join(folder, "b/app.db"));
    const finding = await finder.find();
    expect(names(finding)).toEqual(["m: m/app", "a: a/app"]);
    const link = join(folder, "b/app.db");
    expect(finding.skipped.map(({ message }) => message)).toEqual([
      `${path} and ${link} are the same database; ${link} is not watched`,
    ]);
  });

  test("at start a copy differs from its original by the file its state was written for", async () => {
    const folder = tempFolder("names");
    const [copy, original] = filesBelow(folder, "a/app.db", "renamed/app.db") as [string, string];
    remember(copy, "m/app", DESTINATION, original);
    remember(original, "m/app", DESTINATION, original);
    const finding = await finderOf([], TOML, folder).find();
    expect(finding.collisions).toEqual([]);
    expect(names(finding)).toEqual(["a: a/app", "renamed: m/app"]);
  });

  test("at start a database with a name of its own is never omitted", async () => {
    const folder = tempFolder("names");
    const [a, b] = filesBelow(folder, "a/app.db", "b/app.db") as [string, string];
    remember(a, "b/app", DESTINATION, a);
    remember(b, "b/app", DESTINATION, b);
    const finding = await finderOf([], TOML, folder).find();
    expect(names(finding)).toEqual(["a: a/app", "b: b/app"]);
  });

  test("a database in a folder with a renamed folder's old name is omitted and reported", async () => {
    const folder = tempFolder("names");
    const [path] = filesBelow(folder, "z/app.db") as [string];
    remember(path, "m/app");
    const finder = finderOf([], TOML, folder);
    await finder.find();
    const [late] = filesBelow(folder, "m/app.db");
    for (const looking of [finder, finderOf([], TOML, folder)]) {
      const finding = await looking.find();
      expect(names(finding)).toEqual(["z: m/app"]);
      expect(finding.collisions).toEqual([]);
      expect(finding.skipped.map(({ message }) => message)).toEqual([
        `${late} is not watched: ${path} has kept the name m/app from its former place`,
      ]);
    }
  });
});

/** Root reads every folder, so these tests run as another user. */
const isRoot = process.getuid?.() === 0;

test("a find in a folder that has become unreadable still counts", async () => {
  const folder = tempFolder("names");
  filesBelow(folder, "a/app.db", "b/app.db");
  const finder = finderOf([], '[[databases]]\npath = "*/*.db"\n', folder);
  await finder.find();
  chmodSync(join(folder, "a"), 0o000);
  const { databases, skipped } = await finder.find();
  chmodSync(join(folder, "a"), 0o755);
  expect(databases.map(({ name }) => name).sort()).toEqual(["a/app", "b/app"]);
  expect(skipped.length).toBe(isRoot ? 0 : 1);
});

test("a glob that cannot be read keeps its finds, and the others continue", async () => {
  const folder = tempFolder("names");
  filesBelow(folder, "one/a.db", "two/b.db");
  const finder = finderOf([], '[[databases]]\npath = "one/*.db"\n[[databases]]\npath = "two/*.db"\n', folder);
  await finder.find();
  chmodSync(join(folder, "one"), 0o000);
  filesBelow(folder, "two/c.db");
  const { databases, skipped } = await finder.find();
  chmodSync(join(folder, "one"), 0o755);
  expect(databases.map(({ name }) => name).sort()).toEqual(["a", "b", "c"]);
  expect(skipped.length).toBe(isRoot ? 0 : 1);
});

test("the target of a link in a folder that has become unreadable still counts", async () => {
  const folder = tempFolder("names");
  const [path] = filesBelow(folder, "data/a.db") as [string];
  mkdirSync(join(folder, "links/x"), { recursive: true });
  symlinkSync(path, join(folder, "links/x/a.db"));
  const finder = finderOf([], '[[databases]]\npath = "links/*/*.db"\n', folder);
  await finder.find();
  chmodSync(join(folder, "links/x"), 0o000);
  const { databases } = await finder.find();
  chmodSync(join(folder, "links/x"), 0o755);
  expect(databases.map(({ path }) => path)).toEqual([path]);
});
