/** Locks of open file descriptions: between two descriptors of one process, and against SQLite in another. */
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openDescriptor } from "../../../src/database/files/descriptors.ts";
import {
  isLockedByOther,
  lockExclusive,
  lockHolderOrNull,
  lockShared,
  ofdLocksSupported,
  unlock,
} from "../../../src/database/files/ofd-lock.ts";
import { hasCode } from "../../../src/errors.ts";
import { tempFolder } from "../../support/temp.ts";

const opened: number[] = [];

function twoDescriptors(): [number, number] {
  const path = join(tempFolder("lock"), "file");
  writeFileSync(path, "");
  const pair: [number, number] = [openDescriptor(path), openDescriptor(path)];
  opened.push(...pair);
  return pair;
}

afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});

test("ofdLocksSupported is true on Linux", () => {
  expect(ofdLocksSupported()).toBe(process.platform === "linux");
});

test("lockShared admits shared locks of others and refuses exclusive ones", () => {
  const [a, b] = twoDescriptors();
  expect(lockShared(a, 10, 5)).toBe(true);
  expect(lockShared(b, 10, 5)).toBe(true);
  expect(lockExclusive(b, 14, 1)).toBe(false);
  expect(lockExclusive(b, 15, 1)).toBe(true);
});

test("lockExclusive refuses every lock of others until it is unlocked", () => {
  const [a, b] = twoDescriptors();
  expect(lockExclusive(a, 7, 1)).toBe(true);
  expect(lockShared(b, 7, 1)).toBe(false);
  unlock(a, 7, 1);
  expect(lockShared(b, 7, 1)).toBe(true);
});

test("locks lie beyond 2^30 and beyond the end of the file", () => {
  const [a, b] = twoDescriptors();
  expect(lockExclusive(a, 2 ** 40 + 3, 1)).toBe(true);
  expect(lockShared(b, 2 ** 40 + 3, 1)).toBe(false);
  expect(lockShared(b, 3, 1)).toBe(true);
});

test("isLockedByOther distinguishes shared from exclusive and never sees the descriptor's own lock", () => {
  const [a, b] = twoDescriptors();
  lockShared(a, 1, 1);
  lockExclusive(a, 2, 1);
  expect(isLockedByOther(b, 1, 1, "shared")).toBe(false);
  expect(isLockedByOther(b, 1, 1, "exclusive")).toBe(true);
  expect(isLockedByOther(b, 2, 1, "shared")).toBe(true);
  expect(isLockedByOther(a, 2, 1, "exclusive")).toBe(false);
  expect(lockHolderOrNull(b, 2, 1, "shared")).toBe(-1);
  expect(lockHolderOrNull(b, 3, 1, "exclusive")).toBeNull();
});

test("a lock survives the closing of another descriptor on the same file and ends with its own", () => {
  const [a, b] = twoDescriptors();
  lockShared(a, 1, 1);
  const path = readLink(a);
  closeSync(openSync(path, "r"));
  expect(isLockedByOther(b, 1, 1, "exclusive")).toBe(true);
  closeSync(opened.splice(opened.indexOf(a), 1)[0]!);
  expect(isLockedByOther(b, 1, 1, "exclusive")).toBe(false);
});

test("openDescriptor opens for reading and writing, closed on exec", () => {
  const [a] = twoDescriptors();
  const flags = Number.parseInt(
    /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${a}`, "utf8"))![1]!,
    8,
  );
  expect(flags & 0o3).toBe(2);
  expect(flags & 0o2000000).toBe(0o2000000);
});

test("lockShared throws for a descriptor that is not open", () => {
  const error = caught(() => lockShared(100_000, 1, 1));
  expect(hasCode(error, "database")).toBe(true);
  expect(String(error)).toContain("errno 9");
});

function readLink(fd: number): string {
  return readlinkSync(`/proc/self/fd/${fd}`);
}

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return null;
}
