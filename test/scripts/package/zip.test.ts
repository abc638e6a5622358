/**
 * The bytes of zip archives: read by Python's zipfile, equal in each run, and refused where ZIP has no room.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type ZipEntry, zip } from "../../../scripts/package/zip.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const ENTRIES: readonly ZipEntry[] = [
  { path: "b/program", content: bytes("x".repeat(100_000)), isExecutable: true },
  { path: "a.txt", content: bytes("é") },
  { path: "empty", content: new Uint8Array() },
];

const NOON = Date.UTC(2026, 10, 29, 12, 34, 57) / 1000;

/** Python's own reading: a check of all sums, then a line of JSON with the facts of each entry. */
const READ = `
import hashlib, json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as file:
    assert file.testzip() is None
    print(json.dumps([
        [one.filename, oct(one.external_attr >> 16), one.date_time, one.create_system,
         file.read(one).decode()] for one in file.infolist()
    ]))
`;

async function readByPython(archive: Uint8Array): Promise<unknown> {
  const path = join(tempFolder("zip"), "archive.zip");
  await Bun.write(path, archive);
  const child = Bun.spawn([peerPath("python3"), "-c", READ, path], { stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(await child.stdout.text());
}

describe("zip", () => {
  testWith("python3")("makes an archive that zipfile reads: order, modes, time and content", async () => {
    const time = [2026, 11, 29, 12, 34, 56];
    expect(await readByPython(zip(ENTRIES, NOON))).toEqual([
      ["b/program", "0o100755", time, 3, "x".repeat(100_000)],
      ["a.txt", "0o100644", time, 3, "é"],
      ["empty", "0o100644", time, 3, ""],
    ]);
  });

  testWith("python3")("takes a time before 1980 for the first one that ZIP knows", async () => {
    const [[, , time]] = (await readByPython(zip(ENTRIES, 0))) as [[string, string, number[]]];
    expect(time).toEqual([1980, 1, 1, 0, 0, 0]);
  });

  test("makes an archive without entries: 22 bytes", () => {
    expect(Buffer.from(zip([], NOON)).toString("hex")).toBe(`504b0506${"00".repeat(18)}`);
  });

  test("makes the same bytes again", () => {
    expect(zip(ENTRIES, NOON)).toEqual(zip(ENTRIES, NOON));
    expect(zip(ENTRIES, NOON)).not.toEqual(zip(ENTRIES, NOON + 2));
  });

  test.each([
    [
      "two entries with one path",
      [ENTRIES[1]!, ENTRIES[1]!],
      NOON,
      "Two entries of a zip have the path a.txt",
    ],
    ["a path that is not ASCII", [{ path: "é", content: bytes("") }], NOON, "not ASCII"],
    ["a year after 2107", ENTRIES, Date.UTC(2108, 0) / 1000, "cannot hold the year 2108"],
  ])("rejects %s", (_what, entries, time, message) => {
    expect(() => zip(entries, time)).toThrow(message);
  });
});
