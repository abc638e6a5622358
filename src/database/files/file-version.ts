/**
 * Versions of files: a version distinguishes a file from a later file at the same path, or with the same
 * inode number. A file system reuses an inode number as soon as the number is free; the time of birth
 * distinguishes two files with one number.
 */
import type { BigIntStats } from "node:fs";

/** A file and the times of its changes. Text, where a number would lose digits in JSON. */
export interface FileVersion {
  readonly inode: string;
  /** Time of birth in ns; "0" on a file system that does not record it. */
  readonly bornNs: string;
  /** Time of the last write in ns. */
  readonly modifiedNs: string;
  /** Time of the last change in ns: a write, a rename, a new link, a mode. */
  readonly changedNs: string;
}

/** Identifies a file independently of its path, across restarts of walrust. */
export type StoredIdentity = Pick<FileVersion, "inode" | "bornNs">;

/**
 * The last numbers and their texts: the times of one file are mostly equal, and each is kept per database.
 */
const recent: { value: bigint; text: string }[] = [];
const RECENT_MAX = 4;

/** The decimal text of a number. Equal numbers in a row get one string. */
export function decimalText(value: bigint): string {
  const known = recent.find((one) => one.value === value);
  if (known !== undefined) return known.text;
  const text = String(value);
  recent.push({ value, text });
  if (recent.length > RECENT_MAX) recent.shift();
  return text;
}

/** The version of a file with these stats. */
export function fileVersion({ ino, birthtimeNs, mtimeNs, ctimeNs }: BigIntStats): FileVersion {
  return {
    inode: decimalText(ino),
    bornNs: decimalText(birthtimeNs),
    modifiedNs: decimalText(mtimeNs),
    changedNs: decimalText(ctimeNs),
  };
}

/** The identity of a file with these stats. */
export function storedIdentity({ ino, birthtimeNs }: BigIntStats): StoredIdentity {
  return { inode: decimalText(ino), bornNs: decimalText(birthtimeNs) };
}

/** Whether both identify the same file. An unknown time of birth equals every other. */
export function isSameIdentity(a: StoredIdentity, b: StoredIdentity): boolean {
  const isBornAlike = a.bornNs === "0" || b.bornNs === "0" || a.bornNs === b.bornNs;
  return a.inode === b.inode && isBornAlike;
}
