/**
 * Databases below folders of other users: which symbolic and hard links the finder accepts, and which
 * collisions it refuses. The users are real ones (4242 and 4300), so most tests need root.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseFinder, type SearchResult } from "../../src/discovery/finder.ts";
import { isNameUntrusted } from "../../src/discovery/link-trust.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { LocalPlaces } from "../../src/local/places.ts";
import { tempFolder } from "../support/temp.ts";

const TENANT = 4242;
const VICTIM = 4300;
const ENV = systemEnv(SILENT_LOG);
const testAsRoot = test.skipIf(process.getuid?.() !== 0);

function find(...paths: string[]): Promise<SearchResult> {
  const places = LocalPlaces.standard();
  return new DatabaseFinder({ paths, file: null, destination: "s3://b", places }, ENV).find();
}

/** Folders `tenant` and `victim` of their users, with a database in the second. */
function machine(): { top: string; tenant: string; database: string } {
  const top = tempFolder("foreign");
  chmodSync(top, 0o755);
  const [tenant, victim] = [join(top, "tenant"), join(top, "victim")];
  for (const [folder, uid] of [
    [tenant, TENANT],
    [victim, VICTIM],
  ] as const) {
    mkdirSync(folder);
    chownSync(folder, uid, uid);
  }
  const database = join(victim, "app.db");
  writeFileSync(database, "x");
  chownSync(database, VICTIM, VICTIM);
  return { top, tenant, database };
}

function link(target: string, path: string, uid: number): void {
  symlinkSync(target, path);
  lchownSync(path, uid, uid);
}

const pathsOf = ({ databases }: SearchResult): string[] => databases.map(({ path }) => path);
const said = ({ skipped }: SearchResult): string => skipped.map(({ message }) => message).join("\n");

describe("a link to another user's database", () => {
  testAsRoot("that a tenant made is left out of a glob and told, and stops nobody", async () => {
    const { top, tenant, database } = machine();
    link(database, join(tenant, "app.db"), TENANT);
    const finding = await find(join(top, "*/app.db"));
    expect(pathsOf(finding)).toEqual([database]);
    expect(said(finding)).toContain(`is a link of user ${TENANT} to a file or folder of user ${VICTIM}`);
    expect(finding.collisions).toEqual([]);
  });

  testAsRoot("is left out too when it is a folder on the way, or leads over root's link", async () => {
    const { top, tenant, database } = machine();
    link(dirname(database), join(tenant, "sub"), TENANT);
    symlinkSync(dirname(database), join(top, "of-root"));
    link(join(top, "of-root"), join(tenant, "over"), TENANT);
    const finding = await find(join(tenant, "*/app.db"));
    expect(pathsOf(finding)).toEqual([]);
    expect(finding.skipped.length).toBe(2);
    // A glob with matches that cannot be watched differs from a glob without matches.
    expect(finding.emptyGlobs).toEqual([]);
  });

  testAsRoot("is left out when root's link leads through a tenant's", async () => {
    const { top, tenant, database } = machine();
    link(dirname(database), join(tenant, "sub"), TENANT);
    symlinkSync(join(tenant, "sub"), join(top, "of-root"));
    const finding = await find(join(top, "of-root/*.db"));
    expect(pathsOf(finding)).toEqual([]);
    expect(said(finding)).toContain(`link of user ${TENANT}`);
  });

  testAsRoot("is followed when root made it, or the owner of what it leads to", async () => {
    const { top, database } = machine();
    mkdirSync(join(top, "a"));
    mkdirSync(join(top, "b"));
    symlinkSync(database, join(top, "a", "app.db"));
    expect(pathsOf(await find(join(top, "a/*.db")))).toEqual([database]);
    link(database, join(top, "b", "app.db"), VICTIM);
    expect(pathsOf(await find(join(top, "b/*.db")))).toEqual([database]);
  });

  testAsRoot("that is named is refused likewise, and told as an error", async () => {
    const { tenant, database } = machine();
    const path = join(tenant, "app.db");
    link(database, path, TENANT);
    const { missing } = await find(path);
    expect(missing.map(({ error }) => error.message)).toEqual([
      `${path} is not followed: ${path} is a link of user ${TENANT} to a file or folder of user ${VICTIM}`,
    ]);
  });
});

describe("a hard link to another user's database", () => {
  testAsRoot("in a tenant's folder is left out, and does not take the file from its owner", async () => {
    const { top, tenant, database } = machine();
    linkSync(database, join(tenant, "app.db"));
    const finding = await find(join(top, "*/app.db"));
    expect(pathsOf(finding)).toEqual([database]);
    expect(said(finding)).toContain("is one of 2 names of a file of user 4300");
  });

  test.each([
    ["its owner's folder", VICTIM, 0o755, false],
    ["root's folder", 0, 0o755, false],
    ["a tenant's folder", TENANT, 0o755, true],
    ["root's folder that everybody may write to", 0, 0o1777, true],
    ["its owner's folder that a group may write to", VICTIM, 0o775, true],
  ])("a name in %s", (_, uid, mode, isForeign) => {
    expect(isNameUntrusted({ uid: VICTIM }, { uid, mode })).toBe(isForeign);
  });
});

describe("names that collide", () => {
  test("a named database wins over a find, whatever the find's earlier name", async () => {
    const top = tempFolder("foreign");
    mkdirSync(join(top, "a"));
    mkdirSync(join(top, "b"));
    for (const path of ["a/app.db", "b/app.db"]) writeFileSync(join(top, path), "x");
    const finding = await find(join(top, "b/*.db"), join(top, "a/app.db"));
    expect(finding.collisions).toEqual([]);
    expect(finding.databases.map(({ path, name }) => [path, name])).toEqual([[join(top, "a/app.db"), "app"]]);
    expect(said(finding)).toContain(`would both be called app; ${join(top, "b/app.db")} is not watched`);
  });

  test("of two finds the first is watched, and the second reported", async () => {
    const top = tempFolder("foreign");
    for (const path of ["app.db", "app.sqlite", "other.db"]) writeFileSync(join(top, path), "x");
    const finding = await find(join(top, "*.{db,sqlite}"));
    expect(finding.collisions).toEqual([]);
    expect(finding.databases.map(({ name }) => name)).toEqual(["app", "other"]);
    expect(said(finding)).toContain("app.sqlite is not watched");
  });

  test("two named databases are a usage error", async () => {
    const top = tempFolder("foreign");
    for (const path of ["app.db", "app.sqlite"]) writeFileSync(join(top, path), "x");
    const { collisions } = await find(join(top, "app.db"), join(top, "app.sqlite"));
    expect(collisions.map(({ code }) => code)).toEqual(["usage"]);
  });
});

describe("a database that an earlier search found", () => {
  /** A finder that has found a database of the tenant twice. */
  async function knownTenant(): Promise<{ finder: DatabaseFinder; database: string; own: string }> {
    const { top, tenant, database } = machine();
    const own = join(tenant, "app.db");
    writeFileSync(own, "own");
    chownSync(own, TENANT, TENANT);
    const options = { paths: [join(top, "tenant/*.db")], file: null, destination: "s3://b" };
    const finder = new DatabaseFinder({ ...options, places: LocalPlaces.standard() }, ENV);
    for (let search = 0; search < 2; search++) expect(pathsOf(await finder.find())).toEqual([own]);
    return { finder, database, own };
  }

  testAsRoot("and that a tenant replaced by a link to another user's is left out", async () => {
    const { finder, database, own } = await knownTenant();
    rmSync(own);
    link(database, own, TENANT);
    const finding = await finder.find();
    expect([pathsOf(finding), said(finding)]).toEqual([[], expect.stringContaining("is a link of user")]);
  });

  testAsRoot("and that a tenant replaced by a hard link to another user's is left out", async () => {
    const { finder, database, own } = await knownTenant();
    rmSync(own);
    linkSync(database, own);
    const finding = await finder.find();
    expect([pathsOf(finding), said(finding)]).toEqual([[], expect.stringContaining("is one of 2 names")]);
  });

  test("has a new path within a minute of searches, when its folder became a link", async () => {
    const top = tempFolder("moved");
    const [old, moved] = [join(top, "old"), join(top, "moved")];
    mkdirSync(old);
    writeFileSync(join(old, "app.db"), "x");
    const options = { paths: [join(old, "app.db")], file: null, destination: "s3://b" };
    const finder = new DatabaseFinder({ ...options, places: LocalPlaces.standard() }, ENV);
    await finder.find();
    renameSync(old, moved);
    symlinkSync(moved, old);
    const found = new Set<string>();
    for (let search = 0; search < 12; search++)
      for (const path of pathsOf(await finder.find())) found.add(path);
    expect([...found].at(-1)).toBe(join(moved, "app.db"));
  });
});
