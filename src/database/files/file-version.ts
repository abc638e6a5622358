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

/** The version of a file with these stats. */
export function fileVersion({ ino, birthtimeNs, mtimeNs, ctimeNs }: BigIntStats): FileVersion {
  return {
    inode: String(ino),
    bornNs: String(birthtimeNs),
    modifiedNs: String(mtimeNs),
    changedNs: String(ctimeNs),
  };
}

/** Whether both identify the same file. An unknown time of birth equals every other. */
export function isSameIdentity(a: StoredIdentity, b: StoredIdentity): boolean {
  const isBornAlike = a.bornNs === "0" || b.bornNs === "0" || a.bornNs === b.bornNs;
  return a.inode === b.inode && isBornAlike;
}
