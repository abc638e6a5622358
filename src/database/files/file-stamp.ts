/**
 * Detects writes to a database file by its size and its time of modification. In WAL mode SQLite writes the
 * file only in checkpoints. So a stamp that changes without a checkpoint shows another writer, such as
 * `cp old.db app.db`, which keeps the inode.
 */
import { fstatSync, type Stats, statSync } from "node:fs";
import type { WalIndexHeader } from "../../format/wal-index.ts";

/** Size and time of modification: they change with every write. */
export interface FileStamp {
  readonly sizeBytes: number;
  /**
   * A double has steps of 250 ns here. The kernel's own clock for files ticks a thousand times as slowly.
   */
  readonly modifiedMs: number;
}

/** The stamp of an open file. */
export function fileStamp(fd: number): FileStamp {
  return stampOf(fstatSync(fd));
}

/** The stamp of the file at a path, or null when there is none. */
export function pathStampOrNull(path: string): FileStamp | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? null : stampOf(stats);
}

/** The stamp of a file with these attributes. Doubles make a tenth of the garbage of bigints. */
export function stampOf({ size, mtimeMs }: Pick<Stats, "size" | "mtimeMs">): FileStamp {
  return { sizeBytes: size, modifiedMs: mtimeMs };
}

/** Whether two stamps are equal. */
export function isSameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.sizeBytes === b.sizeBytes && a.modifiedMs === b.modifiedMs;
}

/** Detects that another program than SQLite wrote a pinned database file. */
export class OverwriteDetector {
  /** The last stamp in two fields, because hundreds of databases have one; null: there is none. */
  #sizeBytes: number | null = null;
  #modifiedMs = 0;
  /** The progress of checkpoints when the stamp was taken; null while a checkpoint runs. */
  #progress: string | null = null;
  #isOverwritten = false;

  /** Whether such a write was detected and not accepted since. */
  get isOverwritten(): boolean {
    return this.#isOverwritten;
  }

  /** The last stamp; null before the first. */
  get stamp(): FileStamp | null {
    return this.#sizeBytes === null ? null : { sizeBytes: this.#sizeBytes, modifiedMs: this.#modifiedMs };
  }

  /** Accepts the file as it is now. */
  accept(fd: number, index: WalIndexHeader | null): void {
    this.#isOverwritten = false;
    this.#keep(fileStamp(fd));
    this.#progress = progressOrNull(index);
  }

  /**
   * Compares the file with its last stamp. Under the freeze no checkpoint writes the file. Under a mark one
   * may, and the wal-index shows its progress.
   * @returns whether another program than SQLite wrote the file
   */
  check(fd: number, isFrozen: boolean, readIndex: () => WalIndexHeader | null): boolean {
    if (this.#isOverwritten || this.#sizeBytes === null) return this.#isOverwritten;
    const stamp = fileStamp(fd);
    const isSame = isSameStamp(stamp, { sizeBytes: this.#sizeBytes, modifiedMs: this.#modifiedMs });
    if (isFrozen) {
      this.#isOverwritten = !isSame;
      return this.#isOverwritten;
    }
    // The stamp is taken first, because a checkpoint updates the wal-index before it writes the file.
    const progress = progressOrNull(readIndex());
    const isIdle = progress !== null && progress === this.#progress;
    this.#isOverwritten = isIdle && !isSame;
    if (!isIdle) this.#keepBetween(fd, progress, readIndex);
    return this.#isOverwritten;
  }

  /**
   * Keeps a stamp that belongs to the progress: a checkpoint may have begun and ended since the last stamp
   * was taken. While checkpoints follow one another, no stamp belongs to any progress.
   */
  #keepBetween(fd: number, progress: string | null, readIndex: () => WalIndexHeader | null): void {
    this.#keep(fileStamp(fd));
    this.#progress = progressOrNull(readIndex()) === progress ? progress : null;
  }

  #keep({ sizeBytes, modifiedMs }: FileStamp): void {
    this.#sizeBytes = sizeBytes;
    this.#modifiedMs = modifiedMs;
  }
}

/** The progress of checkpoints as a text to compare; null while a checkpoint runs. */
function progressOrNull(index: WalIndexHeader | null): string | null {
  if (index === null || index.backfilled !== index.backfillAttempted) return null;
  return [index.salt1, index.salt2, index.backfilled].join(" ");
}
