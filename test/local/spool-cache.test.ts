/** Retained copies of uploaded files: lookups, pruning, and foreign files among them. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../src/format/types.ts";
import { SENT_FOLDER } from "../../src/local/spool.ts";
import {
  type CopiedObject,
  intactCopyOrNull,
  keepSent,
  linkAfterOrNull,
  localCopyOrNull,
  pruneSent,
  sentBytes,
} from "../../src/local/spool-cache.ts";
import { spooledHistory } from "../support/histories/spooled-history.ts";
import { tempFolder } from "../support/temp.ts";

const NOW_MS = 1_800_000_000_000;

/** A spool with TXIDs 2 to `count` uploaded, one each second up to now. */
function sentSpool(count: number): { folder: string; sizes: number[] } {
  const { live } = spooledHistory(count);
  const folder = live.paths.spoolFolder;
  const sizes: number[] = [];
  for (const file of live.pending) {
    keepSent(folder, file);
    if (file.level === 0) sizes.push(file.sizeBytes + 112);
  }
  for (const [index, name] of readdirSync(join(folder, SENT_FOLDER)).sort().entries()) {
    const seconds = NOW_MS / 1000 - (count - 2 - index);
    utimesSync(join(folder, SENT_FOLDER, name), seconds, seconds);
  }
  return { folder, sizes };
}

/** Last TXIDs of the retained files. */
function keptTxids(folder: string): number[] {
  const names = readdirSync(join(folder, SENT_FOLDER)).filter((name) => name.startsWith("0000-"));
  return names.map((name) => Number.parseInt(name.slice(22, 38), 16)).sort((a, b) => a - b);
}

test("keepSent moves an increment aside and removes a snapshot", () => {
  const { folder, sizes } = sentSpool(6);
  expect(readdirSync(folder)).toEqual([SENT_FOLDER]);
  expect(keptTxids(folder)).toEqual([2, 3, 4, 5, 6]);
  expect(sentBytes(folder)).toBe(sizes.reduce((sum, size) => sum + size, 0));
});

test("keepSent of a file that is gone loses only the copy", () => {
  const { live } = spooledHistory(2);
  const file = live.pending.find(({ level }) => level === 0)!;
  rmSync(file.path);
  keepSent(live.paths.spoolFolder, file);
  expect(sentBytes(live.paths.spoolFolder)).toBe(0);
});

test("pruneSent removes files older than its retention, to the second", () => {
  for (const [retentionMs, kept] of [
    [10_000, [2, 3, 4, 5, 6]],
    [2_000, [4, 5, 6]],
    [1_999, [5, 6]],
    [0, [6]],
    [-1, []],
  ] as const) {
    const { folder } = sentSpool(6);
    const left = pruneSent(folder, retentionMs, Number.POSITIVE_INFINITY, NOW_MS);
    expect([retentionMs, keptTxids(folder), left.count]).toEqual([retentionMs, [...kept], kept.length]);
    expect(left.bytes).toBe(sentBytes(folder));
  }
});

test("pruneSent removes the oldest until the size fits, and no more", () => {
  const { folder, sizes } = sentSpool(8);
  const lastThree = sizes.slice(-3).reduce((sum, size) => sum + size, 0);
  expect(pruneSent(folder, Number.POSITIVE_INFINITY, lastThree, NOW_MS)).toEqual({
    count: 3,
    bytes: lastThree,
  });
  expect(keptTxids(folder)).toEqual([6, 7, 8]);
  expect(pruneSent(folder, Number.POSITIVE_INFINITY, lastThree - 1, NOW_MS).count).toBe(2);
  expect(pruneSent(folder, Number.POSITIVE_INFINITY, 0, NOW_MS)).toEqual({ count: 0, bytes: 0 });
});

test("pruneSent after the clock went back removes nothing by age", () => {
  const { folder } = sentSpool(5);
  expect(pruneSent(folder, 1000, Number.POSITIVE_INFINITY, NOW_MS - 86_400_000).count).toBe(4);
});

test("pruneSent and sentBytes ignore foreign files, and need no folder", () => {
  const { folder, sizes } = sentSpool(4);
  writeFileSync(join(folder, SENT_FOLDER, "notes.txt"), "mine");
  mkdirSync(join(folder, SENT_FOLDER, "0000-0000000000000002.ltx"));
  expect(sentBytes(folder)).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(pruneSent(folder, -1, 0, NOW_MS)).toEqual({ count: 0, bytes: 0 });
  expect(readdirSync(join(folder, SENT_FOLDER)).sort()).toEqual(["0000-0000000000000002.ltx", "notes.txt"]);
  const empty = tempFolder("spool");
  expect(pruneSent(empty, 0, 0, NOW_MS)).toEqual({ count: 0, bytes: 0 });
  expect(sentBytes(empty)).toBe(0);
});

// Once this threw: the name was parsed before the check for a TXID.
test("sentBytes ignores a name that is no TXID", () => {
  const { folder } = sentSpool(3);
  writeFileSync(join(folder, SENT_FOLDER, "0000-ffffffffffffffff-ffffffffffffffff.ltx"), "x");
  expect(sentBytes(folder)).toBeGreaterThan(0);
});

test("linkAfterOrNull finds the file that continues a TXID, uploaded or waiting", () => {
  const { live } = spooledHistory(6);
  const folder = live.paths.spoolFolder;
  const after = (txid: number): number | undefined => linkAfterOrNull(folder, txid)?.maxTxid;
  expect([0, 1, 4, 5].map(after)).toEqual([1, 2, 5, 6] as Txid[]);
  for (const file of live.pending.filter(({ maxTxid }) => maxTxid < 4)) keepSent(folder, file);
  // The first snapshot is not kept.
  expect([0, 1, 2, 3, 5].map(after)).toEqual([undefined, 2, 3, 4, 6] as Txid[]);
  expect([after(6), after(99)]).toEqual([undefined, undefined]);
  expect(linkAfterOrNull(tempFolder("none"), 1)).toBeNull();
});

describe("the local copy of an object", () => {
  test("localCopyOrNull finds an uploaded or pending object, and no torn one or one of another size", () => {
    const { live } = spooledHistory(4);
    const folder = live.paths.spoolFolder;
    const [, second, third] = live.pending;
    keepSent(folder, second!);
    const isFound = (object: CopiedObject): boolean => localCopyOrNull(folder, object) !== null;
    expect([isFound(second!), isFound(third!)]).toEqual([true, true]);
    expect(isFound({ ...third!, minTxid: 9 as Txid, maxTxid: 9 as Txid })).toBe(false);
    expect(isFound({ ...third!, sizeBytes: third!.sizeBytes + 1 })).toBe(false);
    writeFileSync(join(folder, SENT_FOLDER, "0000-0000000000000002-0000000000000002.ltx"), "torn");
    expect(isFound(second!)).toBe(false);
    rmSync(third!.path);
    expect(isFound(third!)).toBe(false);
  });

  test("intactCopyOrNull refuses a copy with another SHA-256", async () => {
    const { live } = spooledHistory(2);
    const [, second] = live.pending;
    expect(await intactCopyOrNull(live.paths.spoolFolder, second!)).not.toBeNull();
    const bytes = readFileSync(second!.path);
    bytes[120]! ^= 1;
    writeFileSync(second!.path, bytes);
    expect(await intactCopyOrNull(live.paths.spoolFolder, second!)).toBeNull();
  });
});
