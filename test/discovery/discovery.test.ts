/**
 * The databases that a watch discovers, at its start and again, and the reason for each one that it cannot
 * watch: named and missing, colliding, or in an unreadable folder.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfigFile } from "../../src/config/config-file.ts";
import type { Discovered } from "../../src/discovery/discovered.ts";
import { Discovery } from "../../src/discovery/discovery.ts";
import type { FoundDatabase } from "../../src/discovery/finder.ts";
import { hasCode } from "../../src/errors.ts";
import { LocalPlaces } from "../../src/local/places.ts";
import { SqliteProcess } from "../support/processes/sqlite-process.ts";
import { type LoggedLine, recordingEnv } from "../support/recording-log.ts";
import { tempFolder } from "../support/temp.ts";

/** A folder with files that are not empty. */
function folderWith(...paths: string[]): string {
  const folder = tempFolder("targets");
  for (const path of paths) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), "x");
  }
  return folder;
}

/** The targets of a watch over the [[databases]] of a file in `folder`. */
function targetsOf(folder: string, ...databases: string[]): { targets: Discovery; lines: LoggedLine[] } {
  const toml = databases.map((keys) => `[[databases]]\n${keys}\n`).join("");
  const file = parseConfigFile(toml, join(folder, "walrust.toml"), "walrust.toml", {});
  const { env, lines } = recordingEnv();
  const search = { paths: [], file, destination: "s3://bucket/vm1", places: LocalPlaces.standard() };
  return { targets: new Discovery(search, env), lines };
}

function shownOf({ targets, unwatchable }: Discovered<FoundDatabase>): {
  watched: string[];
  unwatchable: [string, boolean][];
} {
  return {
    watched: targets.map(({ name }) => name),
    unwatchable: unwatchable.map(({ name, isMissing }) => [name, isMissing]),
  };
}

describe("Discovery", () => {
  test("reports a database that was deleted before, for as long as a process has it open", async () => {
    const folder = folderWith("here/app.db");
    mkdirSync(join(folder, "gone"));
    const path = join(folder, "gone", "app.db");
    const app = await SqliteProcess.open(path);
    await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)");
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
    const { targets, lines } = targetsOf(folder, 'path = "*/app.db"');
    const found = { watched: ["here/app"], unwatchable: [["gone/app", true]] };
    expect(shownOf(await targets.first())).toEqual(found as ReturnType<typeof shownOf>);
    expect(shownOf(await targets.again())).toEqual(found as ReturnType<typeof shownOf>);
    const said = lines.filter(({ message }) => message.startsWith(`A deleted file of ${path} is open in `));
    expect(said.length).toBe(1);
    await app.close();
    expect(shownOf(await targets.again())).toEqual({ watched: ["here/app"], unwatchable: [] });
  });

  test("finds a named database that was missing once it exists", async () => {
    const folder = folderWith("b.db");
    const { targets } = targetsOf(folder, 'path = "a.db"\nprefix = "eu"', 'path = "b.db"');
    const first = await targets.first();
    expect([targets.isNamedOnly, first.missing.length]).toEqual([true, 1]);
    expect(shownOf(first)).toEqual({ watched: ["b"], unwatchable: [["eu/a", true]] });
    expect(shownOf(await targets.again())).toEqual({ watched: ["b"], unwatchable: [["eu/a", true]] });
    writeFileSync(join(folder, "a.db"), "x");
    expect(shownOf(await targets.again())).toEqual({ watched: ["eu/a", "b"], unwatchable: [] });
  });

  test("resolves a named path again at each discovery", async () => {
    const folder = folderWith("releases/1/app.db", "releases/2/app.db");
    const link = join(folder, "current");
    symlinkSync("releases/1", link);
    const { targets } = targetsOf(folder, 'path = "current/app.db"');
    const pathsOf = ({ targets: found }: Discovered<FoundDatabase>): string[] =>
      found.map(({ path }) => path);
    expect(pathsOf(await targets.first())).toEqual([join(folder, "releases/1/app.db")]);
    rmSync(link);
    const dangling = await targets.again();
    expect(dangling).toMatchObject({
      targets: [],
      unwatchable: [{ path: join(folder, "releases/1/app.db") }],
    });
    symlinkSync("releases/2", link);
    expect(pathsOf(await targets.again())).toEqual([join(folder, "releases/2/app.db")]);
  });

  test("fails when every named database is missing, unless there is a glob", async () => {
    const folder = folderWith("kept.txt");
    const [a, b] = ['path = "a.db"', 'path = "b.db"'];
    const failure = await targetsOf(folder, a, b)
      .targets.first()
      .catch((error: unknown) => error);
    expect(hasCode(failure, "database") && failure.message).toContain("a.db");
    const beside = targetsOf(folder, a, 'path = "*/x.db"\nallow_empty = true').targets;
    expect(shownOf(await beside.first())).toEqual({ watched: [], unwatchable: [["a", true]] });
    expect(beside.isNamedOnly).toBe(false);
  });

  test("reports a missing database by its watched path", async () => {
    const folder = folderWith("real/a.db", "b.db");
    symlinkSync(join(folder, "real/a.db"), join(folder, "link.db"));
    const { targets } = targetsOf(folder, 'path = "link.db"', 'path = "b.db"');
    const [watched] = (await targets.first()).targets;
    rmSync(join(folder, "real/a.db"));
    const { unwatchable } = await targets.again();
    expect(unwatchable.map(({ path }) => path)).toEqual([watched!.path]);
  });

  test("reports a later collision once", async () => {
    const folder = folderWith("one/app.db");
    const { targets, lines } = targetsOf(folder, 'path = "*/app.db"');
    await targets.first();
    mkdirSync(join(folder, "two"));
    linkSync(join(folder, "one/app.db"), join(folder, "two/app.db"));
    for (let look = 0; look < 2; look++) {
      expect(shownOf(await targets.again())).toEqual({
        watched: ["one/app"],
        unwatchable: [["two/app", false]],
      });
    }
    expect(lines.map(({ level }) => level)).toEqual(["warn"]);
    rmSync(join(folder, "two"), { recursive: true });
    expect(shownOf(await targets.again()).unwatchable).toEqual([]);
  });

  test.skipIf(process.getuid?.() === 0)("tells a folder that cannot be looked into", async () => {
    const folder = folderWith("one/app.db", "two/app.db");
    const { targets } = targetsOf(folder, 'path = "*/app.db"');
    await targets.first();
    chmodSync(join(folder, "two"), 0);
    const { watched, unwatchable } = shownOf(await targets.again());
    chmodSync(join(folder, "two"), 0o755);
    expect([watched.sort(), unwatchable]).toEqual([["one/app", "two/app"], [["two", false]]]);
  });
});
