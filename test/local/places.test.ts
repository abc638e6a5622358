/** The places of a database's files: the decision on real folders, and the variables of the environment. */
import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { LocalPlaces, realParent, stateHomeOf } from "../../src/local/places.ts";
import { stateFolderOf } from "../../src/local/state-folder.ts";
import { tempFolder } from "../support/temp.ts";

const isRoot = process.getuid?.() === 0;

function placesWith(home: string, more: { stateDir?: string; cacheDir?: string } = {}): LocalPlaces {
  const [state, cache] = [{ path: more.stateDir }, { path: more.cacheDir }];
  return new LocalPlaces({ state, cache, variables: { STATE_DIRECTORY: home } });
}

describe("LocalPlaces", () => {
  test("a database in a folder of this user alone has its files beside it", () => {
    const path = join(tempFolder("places"), "app.db");
    const place = placesWith("/home-of-state").of(path);
    expect(place).toEqual({ paths: stateFolderOf(path), kind: "beside", reason: null, ignored: null });
  });

  test("a folder that others may write to sends its files to the state home, one folder per database", () => {
    const folder = tempFolder("places");
    chmodSync(folder, 0o777);
    const places = placesWith("/home-of-state");
    const [one, two] = [places.of(join(folder, "app.db")), places.of(join(folder, "b", "app.db"))];
    expect(one.kind).toBe("state-home");
    expect(one.reason).toContain("everybody may write to it");
    expect(one.paths.folder).toMatch(/^\/home-of-state\/app\.db-[0-9a-f]{16}$/);
    expect(one.paths.statePath).toBe(join(one.paths.folder, "state.json"));
    expect(two.paths.folder).not.toBe(one.paths.folder);
    // The same place for each process of this user.
    expect(placesWith("/home-of-state").of(join(folder, "app.db")).paths).toEqual(one.paths);
  });

  test("a state beside a database in such a folder is ignored, with a reason", () => {
    const folder = tempFolder("places");
    const path = join(folder, "app.db");
    mkdirSync(stateFolderOf(path).folder);
    expect(placesWith("/h").of(path)).toMatchObject({ kind: "beside", ignored: null });
    chmodSync(folder, 0o777);
    const { ignored } = placesWith("/h").of(path);
    expect(ignored).toContain(`the state in ${stateFolderOf(path).folder} is ignored`);
    expect(ignored).toContain("everybody may write to it");
  });

  test("a state folder that is a link, or that others may write to, is ignored too", () => {
    const folder = tempFolder("places");
    const [linked, open] = [join(folder, "linked.db"), join(folder, "open.db")];
    symlinkSync(tempFolder("places"), stateFolderOf(linked).folder);
    mkdirSync(stateFolderOf(open).folder);
    chmodSync(stateFolderOf(open).folder, 0o777);
    for (const path of [linked, open]) {
      const place = placesWith("/h").of(path);
      expect([place.kind, place.ignored === null]).toEqual(["state-home", false]);
    }
  });

  test.skipIf(!isRoot)("a folder below one of another user is not this user's alone", () => {
    const top = tempFolder("places");
    const folder = join(top, "tenant", "ours");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chownSync(join(top, "tenant"), 4242, 4242);
    expect(placesWith("/h").of(join(folder, "app.db")).reason).toContain("belongs to user 4242");
  });

  test("a change takes effect after a refresh", () => {
    const folder = tempFolder("places");
    const places = placesWith("/h");
    const path = join(folder, "app.db");
    expect(places.of(path).kind).toBe("beside");
    chmodSync(folder, 0o777);
    expect(places.of(path).kind).toBe("beside");
    places.refresh();
    expect(places.of(path).kind).toBe("state-home");
  });

  test("--state-dir moves the files of all databases; --cache-dir only captured files, by name", () => {
    const path = join(tempFolder("places"), "app.db");
    const home = tempFolder("places");
    const place = placesWith("/h", { stateDir: home }).of(path);
    expect([place.kind, place.reason, place.ignored]).toEqual(["state-home", "--state-dir", null]);
    expect(place.paths.folder.startsWith(`${home}/`)).toBe(true);
    const cached = placesWith("/h", { cacheDir: home }).of(path, "t/app");
    expect([cached.paths.folder, cached.paths.spoolFolder]).toEqual([
      stateFolderOf(path).folder,
      join(home, "t/app"),
    ]);
  });

  test("a name that no file can have is replaced, and a long one is cut", () => {
    const folder = tempFolder("places");
    chmodSync(folder, 0o777);
    const of = (name: string): string => placesWith("/h").of(join(folder, name)).paths.folder;
    expect(of("a b\n\u001b[31m.db")).toMatch(/^\/h\/a_b___31m\.db-[0-9a-f]{16}$/);
    expect(of("x".repeat(250)).length).toBe("/h/".length + 40 + 17);
  });
});

describe("stateHomeOf", () => {
  const home = (variables: Record<string, string>, path?: string): string =>
    stateHomeOf({ state: { path }, variables });

  test("is --state-dir, then the service's first folder, then the user's", () => {
    expect(home({ STATE_DIRECTORY: "/s" }, "/chosen")).toBe("/chosen");
    expect(home({ STATE_DIRECTORY: "/s/one:/s/two", XDG_STATE_HOME: "/x" })).toBe("/s/one");
    const own = home({ XDG_STATE_HOME: "/x", HOME: "/nobody" });
    expect(own).toBe(isRoot ? "/var/lib/walrust" : "/x/walrust");
    if (!isRoot) expect(home({ HOME: "/nobody" })).toBe("/nobody/.local/state/walrust");
    if (!isRoot)
      expect(home({ XDG_STATE_HOME: "relative", HOME: "/nobody" })).toBe("/nobody/.local/state/walrust");
  });
});

test("realParent resolves the links of existing folders and keeps the rest", () => {
  const folder = tempFolder("places");
  mkdirSync(join(folder, "real"));
  symlinkSync(join(folder, "real"), join(folder, "link"));
  expect(realParent(join(folder, "link", "a", "b"))).toBe(join(folder, "real", "a", "b"));
  expect(realParent("/")).toBe("/");
});
