/** isPrivateGroupIn: one row for each rule. */
import { expect, test } from "bun:test";
import { isPrivateGroupIn } from "../../src/config/private-group.ts";

const USERS = "root:x:0:0:root:/root:/bin/sh\nann:x:7:7::/home/ann:/bin/sh\nbob:x:8:100::/home/bob:/bin/sh\n";

test.each([
  ["without members", 7, 7, "ann:x:7:\n", USERS, true],
  ["with its user as the only member", 7, 7, "ann:x:7:ann\n", USERS, true],
  ["without a last line feed", 7, 7, "root:x:0:\nann:x:7:", USERS, true],
  ["with another member", 7, 7, "ann:x:7:ann,www-data\n", USERS, false],
  ["that is another user's first one", 7, 7, "ann:x:7:\n", `${USERS}eve:x:9:7::/:/bin/sh\n`, false],
  ["that /etc/group does not have", 7, 7, "users:x:100:\n", USERS, false],
  ["that /etc/group has twice", 7, 7, "ann:x:7:\nstaff:x:7:bob\n", USERS, false],
  ["with another id than the user", 100, 7, "users:x:100:\n", USERS, false],
  ["of root", 0, 0, "root:x:0:\n", USERS, false],
  ["in empty files", 7, 7, "", "", false],
] as const)("isPrivateGroupIn: a group %s", (_, gid, ownUid, groups, users, expected) => {
  expect(isPrivateGroupIn(gid, ownUid, groups, users)).toBe(expected);
});
