/**
 * Marks of files: what tells a file from another one that has its path, or its inode number, later. An inode
 * number is used again as soon as it is free; the time of birth tells two files with one number apart.
 */
import type { BigIntStats } from "node:fs";

/** A file and when it was written, as text where it does not fit a number, so that it can be kept as JSON. */
export interface FileVersion {
  readonly inode: string;
  /** Time of birth in ns; "0" where the file system does not know it. */
  readonly bornNs: string;
  /** Time of the last write in ns. */
  readonly modifiedNs: string;
  /** Time of the last change in ns: a write, a rename, a new link, a mode. */
  readonly changedNs: string;
}

/** What names a file, without its times of change. */
export type StoredIdentity = Pick<FileVersion, "inode" | "bornNs">;

/** The mark of a file with these stats. */
export function fileVersion({ ino, birthtimeNs, mtimeNs, ctimeNs }: BigIntStats): FileVersion {
  return {
    inode: String(ino),
    bornNs: String(birthtimeNs),
    modifiedNs: String(mtimeNs),
    changedNs: String(ctimeNs),
  };
}

/** Whether two marks are of the same file. A time of birth that is not known is equal to any. */
export function isSameIdentity(a: StoredIdentity, b: StoredIdentity): boolean {
  const isBornAlike = a.bornNs === "0" || b.bornNs === "0" || a.bornNs === b.bornNs;
  return a.inode === b.inode && isBornAlike;
}
