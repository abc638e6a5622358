/**
 * When a file was last written and how long it is. SQLite writes a database file in WAL mode only in
 * checkpoints, so a stamp that moves without one is somebody else's doing, such as `cp old.db app.db`, which
 * leaves the inode.
 */
import { fstatSync, statSync } from "node:fs";
import type { WalIndexHeader } from "../../format/wal-index.ts";

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

/** The stamp of the file at a path, or null when there is none. */
export function pathStampOrNull(path: string): FileStamp | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? null : { sizeBytes: stats.size, modifiedNs: stats.mtimeNs };
}

/** Whether two stamps are the same. */
export function isSameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}

/** The writes to a pinned database file, as far as its stamp shows them. */
export class OverwriteDetector {
  #stamp: FileStamp | null = null;
  /** How far checkpoints had got when the stamp was taken; null while one is at work. */
  #progress: string | null = null;
  #isOverwritten = false;

  /** Whether a write was seen that was not SQLite's, and that nobody has accepted. */
  get isOverwritten(): boolean {
    return this.#isOverwritten;
  }

  /** Takes the file as it is now. */
  accept(fd: number, index: WalIndexHeader | null): void {
    this.#isOverwritten = false;
    this.#stamp = fileStamp(fd);
    this.#progress = progressOrNull(index);
  }

  /**
   * Compares the file with its last stamp. Under the freeze no checkpoint writes it; under a mark one may,
   * and the wal-index says how far it got.
   * @returns whether something that is not SQLite wrote it
   */
  check(fd: number, isFrozen: boolean, readIndex: () => WalIndexHeader | null): boolean {
    if (this.#isOverwritten || this.#stamp === null) return this.#isOverwritten;
    const stamp = fileStamp(fd);
    if (isFrozen) {
      this.#isOverwritten = !isSameStamp(stamp, this.#stamp);
      return this.#isOverwritten;
    }
    // A checkpoint announces itself in the wal-index before it writes: so the stamp is taken first.
    const progress = progressOrNull(readIndex());
    const isIdle = progress !== null && progress === this.#progress;
    this.#isOverwritten = isIdle && !isSameStamp(stamp, this.#stamp);
    if (!this.#isOverwritten) {
      this.#stamp = stamp;
      this.#progress = progress;
    }
    return this.#isOverwritten;
  }
}

/** How far the WAL is in the database file, as a text to compare; null while a checkpoint is at work. */
function progressOrNull(index: WalIndexHeader | null): string | null {
  if (index === null || index.backfilled !== index.backfillAttempted) return null;
  return `${index.salt1} ${index.salt2} ${index.backfilled}`;
}
