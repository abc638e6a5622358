/** Other names of a file: hard links, and bind mounts of the file alone, from the text of mountinfo. */

import { expect, test } from "bun:test";
import { closeSync, linkSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  fileAliasesOf,
  isMountedIn,
  mountsAt,
  parseMounts,
} from "../../../src/database/files/file-aliases.ts";
import { tempFolder } from "../../support/temp.ts";

const ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw";

test.each<[string, string[], string, boolean]>([
  ["nothing but the root", [ROOT], "/srv/app.db", false],
  [
    "mounted at the path",
    [ROOT, "40 22 254:0 /data/x.db /srv/app.db rw - ext4 /dev/vda rw"],
    "/srv/app.db",
    true,
  ],
  [
    "mounted elsewhere",
    [ROOT, "40 22 254:0 /srv/app.db /mnt/c.db rw - ext4 /dev/vda rw"],
    "/srv/app.db",
    true,
  ],
  [
    "its folder mounted elsewhere",
    [ROOT, "40 22 254:0 /srv /mnt rw - ext4 /dev/vda rw"],
    "/srv/app.db",
    false,
  ],
  [
    "another file mounted",
    [ROOT, "40 22 254:0 /srv/b.db /mnt/b.db rw - ext4 /dev/vda rw"],
    "/srv/app.db",
    false,
  ],
  [
    "the same path of another disk",
    [ROOT, "40 22 8:1 /srv/app.db /mnt/c.db rw - ext4 x rw"],
    "/srv/app.db",
    false,
  ],
  [
    "below a mounted folder, mounted elsewhere",
    [ROOT, "40 22 8:1 /vol /srv rw - ext4 x rw", "41 22 8:1 /vol/t/app.db /c/app.db rw - ext4 x rw"],
    "/srv/t/app.db",
    true,
  ],
  [
    "with a space in its name",
    [ROOT, "40 22 254:0 /srv/my\\040app.db /mnt/c.db rw - ext4 /dev/vda rw"],
    "/srv/my app.db",
    true,
  ],
  ["no table", [], "/srv/app.db", false],
])("isMountedIn: %s", (_, lines, path, isMounted) => {
  expect(isMountedIn(parseMounts(`${lines.join("\n")}\n`), path)).toBe(isMounted);
});

test("fileAliasesOf counts the hard links of an open file", () => {
  const path = join(tempFolder("names"), "app.db");
  writeFileSync(path, "x");
  const fd = openSync(path, "r");
  expect(fileAliasesOf(fd, path)).toEqual({ linkCount: 1, isMounted: false });
  linkSync(path, `${path}.link`);
  expect(fileAliasesOf(fd, path).linkCount).toBe(2);
  rmSync(`${path}.link`);
  expect(fileAliasesOf(fd, path).linkCount).toBe(1);
  closeSync(fd);
});

test("mountsAt reads the mounts once in ten seconds", () => {
  const first = mountsAt(1_000);
  expect(mountsAt(10_999)).toBe(first);
  expect(mountsAt(11_000)).not.toBe(first);
});
