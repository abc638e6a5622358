/**
 * A consistent image of a live database at one commit: the frozen database file, overlaid with the frames of
 * the WAL that no checkpoint has copied yet.
 *
 * An image may be read only while we hold byte 123: then no checkpoint writes the file. The image is the
 * state at exactly the mxFrame that the wal-index had when the image was opened. An earlier position is not
 * possible, because the file may already hold pages of later commits. If the file holds all of the WAL, the
 * overlay is empty, and a restart of the WAL does no harm. Otherwise the WAL cannot restart. Pages are read
 * in order, in slices, so that the caller can serve other databases between two slices.
 */
import { closeSync, readSync } from "node:fs";
import { WalrustError } from "../errors.ts";
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from "../format/wal.ts";
import type { WalIndexHeader } from "../format/wal-index.ts";
import { openRegular } from "./files/regular-file.ts";
import { imageScratch } from "./files/scratch-buffers.ts";
import { sizeClaimProblemOrNull } from "./files/size-claim.ts";
import type { WalBroken } from "./wal/wal-file.ts";
import { readWalTail, type WalPosition } from "./wal/wal-tail.ts";

/** The properties of a pin that an image needs. */
export interface FrozenDatabase {
  readonly path: string;
  readonly walPath: string;
  readonly databaseFd: number;
  readonly pageSizeBytes: number;
}

/** An open image. */
export class DatabaseImage {
  readonly #database: FrozenDatabase;
  readonly #overlayPgnos: Uint32Array;
  readonly #overlayFrames: Uint32Array;
  readonly #walFd: number | null;
  readonly #fileSizeBytes: number;
  #overlayNext = 0;
  #nextPgno = 1;

  /** Database size in pages. */
  readonly commit: number;
  /** The position in the WAL at that commit. */
  readonly position: WalPosition;

  private constructor(
    database: FrozenDatabase,
    commit: number,
    position: WalPosition,
    fileSizeBytes: number,
    overlay: { pgnos: Uint32Array; frames: Uint32Array } | null,
  ) {
    this.#database = database;
    this.#fileSizeBytes = fileSizeBytes;
    this.#overlayPgnos = overlay?.pgnos ?? new Uint32Array(0);
    this.#overlayFrames = overlay?.frames ?? new Uint32Array(0);
    this.#walFd = overlay === null ? null : openRegular(database.walPath, false);
    this.commit = commit;
    this.position = position;
  }

  /**
   * Opens the image at `index.mxFrame`. Read `index` while byte 123 is held.
   * @param fileSizeBytes size of the database file, from its pinned descriptor
   */
  static open(
    database: FrozenDatabase,
    index: WalIndexHeader,
    fileSizeBytes: number,
  ): DatabaseImage | WalBroken {
    if (index.mxFrame === 0 || index.backfilled >= index.mxFrame) {
      const commit = index.mxFrame === 0 ? fileSizeBytes / database.pageSizeBytes : index.pageCount;
      if (!Number.isInteger(commit) || commit === 0) {
        return { kind: "broken", reason: `the database file has ${fileSizeBytes} bytes` };
      }
      // Everything was backfilled: the file alone is the image.
      requireSizeHeld(database, commit, fileSizeBytes, 0);
      return new DatabaseImage(database, commit, positionOf(index), fileSizeBytes, null);
    }
    const tail = readWalTail(database.walPath, { after: null, overlayAfterFrame: index.backfilled }, index);
    if (tail.kind === "broken") return tail;
    const { commit, position } = tail;
    requireSizeHeld(database, commit, fileSizeBytes, position.frameCount);
    return new DatabaseImage(database, commit, position, fileSizeBytes, tail);
  }

  /**
   * Reads up to `pageCount` more pages in order.
   * @param onPage called with every page, the lock page as zeros; `data` is valid only during the call
   * @returns false when the last page was read
   */
  readSlice(pageCount: number, onPage: (pgno: number, data: Uint8Array) => void): boolean {
    const { pageSizeBytes, databaseFd } = this.#database;
    const scratch = imageScratch.take(1 << 20);
    let left = pageCount;
    while (left > 0 && this.#nextPgno <= this.commit) {
      const first = this.#nextPgno;
      const fits = Math.max(1, Math.floor(scratch.length / pageSizeBytes));
      const count = Math.min(left, fits, this.commit - first + 1);
      const chunk = scratch.subarray(0, count * pageSizeBytes);
      const offset = (first - 1) * pageSizeBytes;
      const read = offset < this.#fileSizeBytes ? readSync(databaseFd, chunk, 0, chunk.length, offset) : 0;
      chunk.fill(0, read);
      for (let i = 0; i < count; i++) {
        const page = chunk.subarray(i * pageSizeBytes, (i + 1) * pageSizeBytes);
        this.#overlay(first + i, page);
        onPage(first + i, page);
      }
      this.#nextPgno += count;
      left -= count;
    }
    return this.#nextPgno <= this.commit;
  }

  /** Replaces the content of a page by its newest frame, if the overlay has one. */
  #overlay(pgno: number, page: Uint8Array): void {
    if (this.#walFd === null || this.#overlayPgnos[this.#overlayNext] !== pgno) return;
    const frame = this.#overlayFrames[this.#overlayNext++]!;
    const frameSize = WAL_FRAME_HEADER_SIZE + page.length;
    const offset = WAL_HEADER_SIZE + (frame - 1) * frameSize + WAL_FRAME_HEADER_SIZE;
    if (readSync(this.#walFd, page, 0, page.length, offset) !== page.length) {
      throw new WalrustError("database", `${this.#database.walPath} became shorter while an image was read`);
    }
  }

  close(): void {
    if (this.#walFd !== null) closeSync(this.#walFd);
  }
}

/** @throws WalrustError code "database", retryable, when the files cannot hold the claimed size */
function requireSizeHeld(
  { path, pageSizeBytes }: FrozenDatabase,
  commit: number,
  fileSizeBytes: number,
  frameCount: number,
): void {
  const problem = sizeClaimProblemOrNull(commit, pageSizeBytes, fileSizeBytes, frameCount);
  if (problem === null) return;
  throw new WalrustError("database", `Cannot read an image of ${path}: ${problem}`, {
    hint: "SQLite calls such a database malformed: restore it, or remove a -wal of another file",
    context: { path },
    retryable: true,
  });
}

function positionOf(index: WalIndexHeader): WalPosition {
  return {
    salt1: index.salt1,
    salt2: index.salt2,
    frameCount: index.mxFrame,
    checksum1: index.frameChecksum1,
    checksum2: index.frameChecksum2,
  };
}
