/** Tar archives: an independent tar reads them, and their bytes depend on nothing but content and time. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TarEntry, tar, tarGzip } from "../../../scripts/package/tar.ts";
import { tempFolder } from "../../support/temp.ts";

const EPOCH = 1_700_000_000;
const LONG = `${"folder/".repeat(20)}name`;
const ENTRIES: readonly TarEntry[] = [
  { path: "b/walrust", content: new Uint8Array(1000).fill(7), isExecutable: true },
  { path: "a.txt", content: "text" },
  { path: "empty", content: "" },
  { path: "block", content: "x".repeat(512) },
  { path: LONG, content: "deep" },
];

/** The listing of GNU tar, or of another tar that the system has. */
function listing(bytes: Uint8Array): string[] {
  const path = join(tempFolder("tar"), "a.tgz");
  writeFileSync(path, bytes);
  const list = Bun.spawnSync(["tar", "--numeric-owner", "-tvzf", path], {
    env: { ...process.env, TZ: "UTC" },
  });
  expect(list.stderr.toString()).toBe("");
  return list.stdout.toString().trimEnd().split("\n");
}

test("tarGzip makes an archive that tar lists: sorted, of user 0, with modes and the one time", () => {
  const rows = listing(tarGzip(ENTRIES, EPOCH, 9)).map((line) => line.split(/\s+/));
  const time = ["2023-11-14", "22:13"];
  expect(rows).toEqual([
    ["-rw-r--r--", "0/0", "4", ...time, "a.txt"],
    ["-rwxr-xr-x", "0/0", "1000", ...time, "b/walrust"],
    ["-rw-r--r--", "0/0", "512", ...time, "block"],
    ["-rw-r--r--", "0/0", "0", ...time, "empty"],
    ["-rw-r--r--", "0/0", "4", ...time, LONG],
  ]);
});

test("tar lists a folder before its files", () => {
  const entries = [
    { path: "./a/b", content: "text" },
    { path: "./a/", content: "" },
    { path: "./", content: "" },
  ];
  const rows = listing(tarGzip(entries, EPOCH, 9)).map((line) => line.split(/\s+/));
  expect(rows.map(([mode, , , , , path]) => [mode, path])).toEqual([
    ["drwxr-xr-x", "./"],
    ["drwxr-xr-x", "./a/"],
    ["-rw-r--r--", "./a/b"],
  ]);
});

test("tar keeps the content", async () => {
  const files = await new Bun.Archive(new Blob([tar(ENTRIES, EPOCH)])).files();
  for (const { path, content } of ENTRIES) {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    expect(await files.get(path)?.bytes()).toEqual(new Uint8Array(bytes));
  }
});

test("tarGzip makes the same bytes from entries in another order", () => {
  expect(tarGzip(ENTRIES.toReversed(), EPOCH, 9)).toEqual(tarGzip(ENTRIES, EPOCH, 9));
  expect(tarGzip(ENTRIES, EPOCH + 1, 9)).not.toEqual(tarGzip(ENTRIES, EPOCH, 9));
});

describe("tar refuses", () => {
  test.each([
    ["two entries of one path", ["a", "a"]],
    ["a path that is not ASCII", ["ä"]],
    ["a name that is too long", ["n".repeat(101)]],
    ["a path that is too long", [`${"f".repeat(156)}/name`]],
  ])("%s", (_what, paths) => {
    expect(() =>
      tar(
        paths.map((path) => ({ path, content: "" })),
        EPOCH,
      ),
    ).toThrow(/tar/);
  });
});
