/** distrustOrNull: the configuration files that walrust trusts without --config, one row for each rule. */
import { describe, expect, test } from "bun:test";
import { distrustOrNull } from "../../src/config/file-trust.ts";

const FILE = 0o100000;

describe("distrustOrNull", () => {
  test.each([
    ["ours", { uid: 7, mode: 0o644 }, 7, null],
    ["of root", { uid: 0, mode: 0o644 }, 0, null],
    ["of root, by a link of ours", { uid: 0, mode: 0o644 }, 7, null],
    ["of another user", { uid: 8, mode: 0o644 }, 8, "another user (uid 8)"],
    ["of this user, by a link of another", { uid: 7, mode: 0o644 }, 8, "another user (uid 8)"],
    ["of root, by a link of another user", { uid: 0, mode: 0o644 }, 8, "another user (uid 8)"],
    ["of another user, by a link of this one", { uid: 8, mode: 0o644 }, 7, "a file of another user (uid 8)"],
    ["writable by its group", { uid: 7, mode: 0o664 }, 7, "its group"],
    ["writable by everybody", { uid: 7, mode: 0o646 }, 7, "everybody"],
    ["of root, writable by everybody", { uid: 0, mode: 0o666 }, 0, "everybody"],
  ] as const)("of a file %s", (_, file, linkUid, reason) => {
    const facts = { uid: file.uid, gid: 7, mode: FILE | file.mode, isFile: true };
    const found = distrustOrNull(facts, { uid: linkUid }, 7);
    if (reason === null) expect(found).toBeNull();
    else expect(found).toContain(reason);
  });

  test("root trusts its own files and no other user's", () => {
    expect(distrustOrNull({ uid: 0, gid: 0, mode: FILE | 0o600, isFile: true }, { uid: 0 }, 0)).toBeNull();
    expect(distrustOrNull({ uid: 7, gid: 7, mode: FILE | 0o600, isFile: true }, { uid: 7 }, 0)).toContain(
      "uid 7",
    );
  });

  test("a file that is not regular is not trusted", () => {
    expect(distrustOrNull({ uid: 7, gid: 7, mode: 0o600, isFile: false }, { uid: 7 }, 7)).toContain(
      "regular",
    );
  });

  test("a group-writable file is trusted if the group is the user's private group", () => {
    const isPrivate = (gid: number): boolean => gid === 7;
    const facts = { uid: 7, gid: 7, mode: FILE | 0o664, isFile: true };
    expect(distrustOrNull(facts, facts, 7, isPrivate)).toBeNull();
    expect(distrustOrNull({ ...facts, gid: 8 }, facts, 7, isPrivate)).toContain("its group");
    expect(distrustOrNull({ ...facts, mode: FILE | 0o666 }, facts, 7, isPrivate)).toContain("everybody");
  });
});
