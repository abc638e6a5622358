/**
 * When a file was last written and how long it is: under a freeze SQLite writes nothing into the database
 * file, so a stamp that moves is somebody else's doing, such as `cp old.db app.db`, which leaves the inode.
 */
import { fstatSync } from "node:fs";

/** What moves whenever a file is written. */
export interface FileStamp {
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
}

/** The stamp of an open file. */
export function fileStamp(fd: number): FileStamp {
  const stats = fstatSync(fd, { bigint: true });
  return { sizeBytes: stats.size, modifiedNs: stats.mtimeNs };
}

/** Whether two stamps are the same. */
export function isSameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}
