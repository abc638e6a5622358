/** Places below a folder: no name leaves the folder, and no two databases share a path on any file system. */
import { describe, expect, test } from "bun:test";
import { namesBelow, planTargets } from "../../../src/recovery/restore-all/restore-targets.ts";

/** The paths of names that get a place, and the messages of the others. */
function planned(...names: string[]): Record<string, string> {
  const targets = planTargets(names, "/into");
  expect(targets.map(({ name }) => name)).toEqual(names);
  return Object.fromEntries(targets.map(({ name, path, problem }) => [name, problem?.message ?? path]));
}

/** The names without a place. */
function refused(...names: string[]): string[] {
  return planTargets(names, "/into").flatMap(({ name, problem }) => {
    if (problem !== null)
      expect([name, problem.exitCode, problem.hint]).toEqual([name, 2, expect.any(String)]);
    return problem === null ? [] : [name];
  });
}

describe("planTargets", () => {
  test("gives each name its path with the ending, also a name that has the ending", () => {
    expect(planned("app", "app.db", "tenants/romneys/app", "tenants/0001")).toEqual({
      app: "/into/app.db",
      "app.db": "/into/app.db.db",
      "tenants/romneys/app": "/into/tenants/romneys/app.db",
      "tenants/0001": "/into/tenants/0001.db",
    });
  });

  test.each(["..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/.", "", "a\nb", "a/"])(
    "refuses %j, which no key can be",
    (name) => {
      expect(refused("sound", name)).toEqual([name]);
    },
  );

  test.each([
    ["case", "App", "app"],
    ["the case of a folder", "Tenants/app", "tenants/app"],
    ["the form of an accent", "caf\u00e9", "cafe\u0301"],
    ["case in another alphabet", "ΣΑΣ", "σας"],
    ["a ligature", "straße", "STRASSE"],
  ])("refuses both of two names that differ in %s alone", (_, one, other) => {
    expect(refused(one, "sound", other)).toEqual([one, other]);
    expect(planned(one, other)[one]).toContain(JSON.stringify(other));
  });

  test.each(["app.db/x", "app.db-wal/x", "app.db-shm/x/y", "APP.DB-journal/x"])(
    "refuses app and %j, which needs a folder in the place of a file",
    (name) => {
      expect(refused("app", name, "sound")).toEqual(["app", name]);
    },
  );

  test("refuses names that lead into the state of a database", () => {
    const inside = [".app.db-walrust/ltx/x", "a/.app.db-walrust.pre-restore-2026/x", ".APP.DB-WALRUST/x"];
    expect(refused(...inside, ".app.db-walrust", "walrust/x")).toEqual(inside);
  });

  test("gives databases below one another and beside one another their places", () => {
    expect(refused("a", "a/b", "a/b/c", "a-wal", "a.db-wal", "a.db")).toEqual([]);
  });
});

describe("namesBelow", () => {
  const names = ["a", "a/b", "a/b/c", "ab", "b"];

  test.each([
    [null, names],
    ["a", ["a", "a/b", "a/b/c"]],
    ["a/", ["a", "a/b", "a/b/c"]],
    ["a/b", ["a/b", "a/b/c"]],
    ["c", []],
  ])("selects for %j the name and the names below it", (prefix, expected) => {
    expect(namesBelow(names, prefix)).toEqual(expected);
  });
});
