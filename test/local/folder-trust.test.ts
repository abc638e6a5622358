/** Whether a folder belongs to this user alone: each rule by itself, and all rules on real folders. */
import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  cachingInspector,
  distrustOrNull,
  type FolderFacts,
  folderDistrustOrNull,
  makeOwnFolder,
  ownFolderDistrustOrNull,
  parentDistrustOrNull,
  parentsDistrustOrNull,
  type Trustees,
} from "../../src/local/folder-trust.ts";
import { tempFolder } from "../support/temp.ts";

const USER: Trustees = { uid: 1000, gid: 1000, rootUid: 0 };
const ROOT: Trustees = { uid: 0, gid: 0, rootUid: 0 };

function facts(uid: number, mode: number, gid = uid): FolderFacts {
  return { isFolder: true, uid, gid, mode };
}

describe("folderDistrustOrNull", () => {
  const CASES: readonly [what: string, FolderFacts, Trustees, said: string | null][] = [
    ["ours, private", facts(1000, 0o700), USER, null],
    ["ours, readable for all", facts(1000, 0o755), USER, null],
    ["ours, writable for its group", facts(1000, 0o770), USER, "its group may write"],
    ["ours, writable for our own group", facts(1000, 0o775, 1000), USER, "its group may write"],
    ["ours, writable for everybody", facts(1000, 0o777), USER, "everybody may write"],
    ["ours, sticky and writable for everybody", facts(1000, 0o1777), USER, "everybody may write"],
    ["root's, for a user", facts(0, 0o755), USER, "user 0 owns it"],
    ["a tenant's, for root", facts(4242, 0o700), ROOT, "user 4242 owns it"],
    ["no folder", { ...facts(1000, 0o700), isFolder: false }, USER, "no folder"],
  ];
  for (const [what, folder, trustees, said] of CASES) {
    test(`${what}: ${said ?? "trusted"}`, () => {
      const found = folderDistrustOrNull(folder, trustees);
      if (said === null) expect(found).toBeNull();
      else expect(found).toContain(said);
    });
  }
});

describe("parentDistrustOrNull", () => {
  const CASES: readonly [what: string, FolderFacts, Trustees, said: string | null][] = [
    ["root's", facts(0, 0o755), USER, null],
    ["ours", facts(1000, 0o755), USER, null],
    ["of the owner of /", facts(65534, 0o755), { ...USER, rootUid: 65534 }, null],
    ["sticky, as /tmp", facts(0, 0o1777), USER, null],
    ["root's, writable for everybody", facts(0, 0o777), USER, "everybody"],
    ["root's, writable for a group", facts(0, 0o2775, 50), ROOT, "its group"],
    ["ours, writable for our private group", facts(1000, 0o775, 1000), USER, null],
    ["ours, writable for another group", facts(1000, 0o775, 33), USER, "its group"],
    ["root's, writable for root's group", facts(0, 0o775, 0), ROOT, "its group"],
    ["a tenant's", facts(4242, 0o755), ROOT, "belongs to user 4242"],
    ["a tenant's, sticky", facts(4242, 0o1777), ROOT, "belongs to user 4242"],
    ["a link", { ...facts(0, 0o777), isFolder: false }, ROOT, "link"],
  ];
  for (const [what, folder, trustees, said] of CASES) {
    test(`${what}: ${said ?? "trusted"}`, () => {
      const found = parentDistrustOrNull(folder, trustees);
      if (said === null) expect(found).toBeNull();
      else expect(found).toContain(said);
    });
  }
});

test("parentDistrustOrNull permits a chosen folder below one that a group may write to, and no more", () => {
  const volume = facts(0, 0o2775, 2000);
  expect(parentDistrustOrNull(volume, USER)).toContain("its group");
  expect(parentDistrustOrNull(volume, USER, true)).toBeNull();
  expect(parentDistrustOrNull(facts(0, 0o2777, 2000), USER, true)).toContain("everybody");
  expect(parentDistrustOrNull(facts(4242, 0o2775, 2000), USER, true)).toContain("belongs to user 4242");
});

describe("distrustOrNull", () => {
  test("a private folder is trusted until its mode, a link or a parent admits others", () => {
    const top = tempFolder("trust");
    const folder = join(top, "a", "b");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    expect(distrustOrNull(folder)).toBeNull();
    chmodSync(folder, 0o770);
    expect(distrustOrNull(folder)).toContain("its group may write");
    chmodSync(folder, 0o700);
    chmodSync(join(top, "a"), 0o777);
    expect(distrustOrNull(folder)).toBe(`${join(top, "a")} is writable for everybody`);
    chmodSync(join(top, "a"), 0o1777);
    expect(distrustOrNull(folder)).toBeNull();
    symlinkSync(folder, join(top, "link"));
    expect(distrustOrNull(join(top, "link"))).toContain("it is a link");
    expect(distrustOrNull(join(top, "missing"))).toBe("ENOENT");
  });

  test.skipIf(process.getuid?.() !== 0)("a folder below one of another user is not trusted", () => {
    const top = tempFolder("trust");
    const folder = join(top, "tenant", "ours");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chownSync(join(top, "tenant"), 4242, 4242);
    expect(distrustOrNull(folder)).toBe(`${join(top, "tenant")} belongs to user 4242`);
    expect(parentsDistrustOrNull(folder)).toBe(`${join(top, "tenant")} belongs to user 4242`);
    chownSync(folder, 4242, 4242);
    expect(distrustOrNull(folder)).toBe("user 4242 owns it");
  });

  test("makeOwnFolder makes missing folders with mode 0700, and none below a folder of others", () => {
    const top = tempFolder("trust");
    const deep = join(top, "a", "b", "c");
    expect(makeOwnFolder(deep)).toBeNull();
    for (const folder of [deep, join(top, "a")]) expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(makeOwnFolder(deep)).toBeNull();
    chmodSync(join(top, "a"), 0o777);
    expect(makeOwnFolder(join(top, "a", "x", "y"))).toBe(`${join(top, "a")} is writable for everybody`);
    expect(existsSync(join(top, "a", "x"))).toBe(false);
    writeFileSync(join(top, "file"), "");
    expect(makeOwnFolder(join(top, "file"))).toContain("no folder");
  });

  test("ownFolderDistrustOrNull judges as makeOwnFolder does, and makes nothing", () => {
    const parent = tempFolder("trust");
    const folder = join(parent, "a", "b");
    expect([ownFolderDistrustOrNull(folder), existsSync(join(parent, "a"))]).toEqual([null, false]);
    chmodSync(parent, 0o777);
    expect(ownFolderDistrustOrNull(folder)).toBe(makeOwnFolder(folder));
    chmodSync(parent, 0o700);
    makeOwnFolder(folder);
    expect(ownFolderDistrustOrNull(folder)).toBeNull();
    chmodSync(folder, 0o770);
    expect(ownFolderDistrustOrNull(folder)).toContain("its group may write");
  });

  test("cachingInspector inspects a folder once", () => {
    const folder = tempFolder("trust");
    const look = cachingInspector();
    expect(distrustOrNull(folder, look)).toBeNull();
    chmodSync(folder, 0o777);
    expect(distrustOrNull(folder, look)).toBeNull();
    expect(distrustOrNull(folder, cachingInspector())).toContain("everybody");
  });
});
