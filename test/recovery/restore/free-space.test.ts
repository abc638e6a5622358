/**
 * shortageOrNull: a disk without room for a database is refused before the first page, and an unreliable
 * report of free space is ignored.
 */
import { describe, expect, test } from "bun:test";
import { shortageOrNull } from "../../../src/recovery/restore/free-space.ts";

const MB = 1e6;
const EXT4 = 0xef53;
/** The file system's magic as a signed number, a form that `statfs` may give. */
const BTRFS = 0x9123683e | 0;

describe("shortageOrNull", () => {
  const rows: readonly [string, [number, number, number], [number, number, number], number | null][] = [
    ["room enough", [100, 0, 50], [1, 200, EXT4], null],
    ["just enough", [100, 0, 50], [1, 100, EXT4], null],
    ["one byte short", [100, 0, 50], [1, 100 - 1e-6, EXT4], 100],
    ["written bytes count", [100, 30, 50], [1, 70, EXT4], null],
    ["written bytes, and too little free space", [100, 30, 50], [1, 60, EXT4], 70],
    ["a database that shrinks", [10, 30, 1], [1, 0, EXT4], null],
    ["a highly compressed object", [2000, 0, 10], [1, 1000, EXT4], 2000],
    [
      "a claim above the object's capacity is damage, with any free space",
      [9000, 0, 0.004],
      [1, 50, EXT4],
      null,
    ],
    ["a file system that reports zeros", [100, 0, 50], [0, 0, EXT4], null],
    ["a file system that compresses", [100, 0, 50], [1, 60, BTRFS], null],
    ["a file system that compresses, and has less than the objects", [100, 0, 50], [1, 40, BTRFS], 50],
  ];
  test.each(rows)("%s", (_what, claim, disk, expected) => {
    const [databaseBytes, writtenBytes, objectBytes] = claim.map((count) => count * MB) as typeof claim;
    const [blocks, freeMegabytes, type] = disk;
    const found = shortageOrNull(
      { databaseBytes, writtenBytes, objectBytes },
      { blocks, freeBytes: freeMegabytes * MB, type },
    );
    expect(found).toBe(expected === null ? null : expected * MB);
  });
});
