/**
 * Detects writes to a database file by its size and its time of modification. In WAL mode SQLite writes the
 * file only in checkpoints. So a stamp that changes without a checkpoint shows another writer, such as
 * `cp old.db app.db`, which keeps the inode.
 */
import { fstatSync, statSync } from "node:fs";
import type { WalIndexHeader } from "../../format/wal-index.ts";

/** Size and time of modification: they change with every write. */
export interface FileStamp {
  readonly sizeBytes: number;
  /**
   * In ns, rounded to a double: 256 ns. The kernel's own clock for files ticks a thousand times as slowly.
   */
  readonly modifiedNs: number;
}

/** The stamp of an open file. */
export function fileStamp(fd: number): FileStamp {
  const stats = fstatSync(fd, { bigint: true });
  return { sizeBytes: Number(stats.size), modifiedNs: Number(stats.mtimeNs) };
}

/** The stamp of the file at a path, or null when there is none. */
export function pathStampOrNull(path: string): FileStamp | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? null : { sizeBytes: Number(stats.size), modifiedNs: Number(stats.mtimeNs) };
}

/** Whether two stamps are equal. */
export function isSameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}

/** Detects that another program than SQLite wrote a pinned database file. */
export class OverwriteDetector {
  #stamp: FileStamp | null = null;
  /** The progress of checkpoints when the stamp was taken; null while a checkpoint runs. */
  #progress: string | null = null;
  #isOverwritten = false;

  /** Whether such a write was detected and not accepted since. */
  get isOverwritten(): boolean {
    return this.#isOverwritten;
  }

  /** Accepts the file as it is now. */
  accept(fd: number, index: WalIndexHeader | null): void {
    this.#isOverwritten = false;
    this.#stamp = fileStamp(fd);
    this.#progress = progressOrNull(index);
  }

  /**
   * Compares the file with its last stamp. Under the freeze no checkpoint writes the file. Under a mark one
   * may, and the wal-index shows its progress.
   * @returns whether another program than SQLite wrote the file
   */
  check(fd: number, isFrozen: boolean, readIndex: () => WalIndexHeader | null): boolean {
    if (this.#isOverwritten || this.#stamp === null) return this.#isOverwritten;
    const stamp = fileStamp(fd);
    if (isFrozen) {
      this.#isOverwritten = !isSameStamp(stamp, this.#stamp);
      return this.#isOverwritten;
    }
    // The stamp is taken first, because a checkpoint updates the wal-index before it writes the file.
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

/** The progress of checkpoints as a text to compare; null while a checkpoint runs. */
function progressOrNull(index: WalIndexHeader | null): string | null {
  if (index === null || index.backfilled !== index.backfillAttempted) return null;
  return [index.salt1, index.salt2, index.backfilled].join(" ");
}
