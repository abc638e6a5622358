/**
 * Appends the frames of one transaction to a replica's WAL, as SQLite's writer does.
 *
 * Appended frames lie past the last published frame: no reader sees them, and the next transaction overwrites
 * the frames of an abandoned one. The frame with the commit makes the transaction part of the database. It is
 * written last, after every check, and then the file is synced. The caller holds byte 120 (writer).
 * format/wal.ts describes the format.
 */
import { closeSync, fdatasyncSync, ftruncateSync, readSync, writeSync } from "node:fs";
import { descriptorIdentity, type FileIdentity, isSameFile } from "../../database/files/descriptors.ts";
import { openRegular } from "../../database/files/regular-file.ts";
import { Uint32List } from "../../database/files/scratch-buffers.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  decodeWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WAL_MAGIC,
  walChecksum,
  walOffset,
} from "../../format/wal.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { assertSpaceLeft } from "../restore/free-space.ts";

const WAL_VERSION = 3007000;
const CHECKSUMMED_HEADER_SIZE = 24;
const CHECKSUMMED_FRAME_HEADER_SIZE = 8;
/** Enough for the few pages of most transactions. */
const FIRST_BUFFER_SIZE = 32 << 10;
const BUFFER_SIZE_MAX = 1 << 20;
/** The free space is checked after this many bytes: a small object may hold many equal pages. */
const BYTES_PER_LOOK = 64 << 20;

/** One open transaction. */
export class WalAppender {
  readonly #path: string;
  readonly #fd: number;
  readonly #pageSizeBytes: number;
  #buffer: Uint8Array;
  #view: DataView;
  #buffered = 0;
  #bufferOffset: number;
  readonly #beginOffset: number;
  #nextLookOffset: number;
  #isCommitted = false;
  readonly #pgnos = new Uint32List();

  readonly firstFrame: number;
  readonly salt1: number;
  readonly salt2: number;
  readonly bigEndianChecksum: boolean;
  checksum1: number;
  checksum2: number;

  /**
   * Continues the WAL after the published frames, or begins a new generation when there are none.
   * @param wal the pinned file: nobody can make walrust write to another file by replacing it
   * @param newSalt2 random bits for a new generation
   * @throws WalrustError "database" when the file cannot be opened or written, or is not the WAL of this
   * index
   */
  constructor(
    path: string,
    wal: FileIdentity,
    pageSizeBytes: number,
    index: WalIndexHeader,
    newSalt2: number,
  ) {
    this.#path = path;
    this.#pageSizeBytes = pageSizeBytes;
    this.#buffer = new Uint8Array(Math.max(FIRST_BUFFER_SIZE, WAL_FRAME_HEADER_SIZE + pageSizeBytes));
    this.#view = new DataView(this.#buffer.buffer);
    this.firstFrame = index.mxFrame + 1;
    this.#bufferOffset = walOffset(pageSizeBytes, index.mxFrame);
    this.#beginOffset = this.#bufferOffset;
    this.#nextLookOffset = this.#bufferOffset + BYTES_PER_LOOK;
    this.#fd = this.#try("open", () => openRegular(path, true));
    try {
      if (!isSameFile(descriptorIdentity(this.#fd), wal)) throw replacedError(path);
      if (index.mxFrame > 0) {
        ({ salt1: this.salt1, salt2: this.salt2, bigEndianChecksum: this.bigEndianChecksum } = index);
        this.checksum1 = index.frameChecksum1;
        this.checksum2 = index.frameChecksum2;
        this.#checkHeader();
        // The frames of a transaction that was killed before it was published are cut off. They could become
        // valid again after new frames that equal the first of them.
        this.#try("truncate", () => ftruncateSync(this.#fd, this.#bufferOffset));
      } else {
        this.salt1 = (index.salt1 + 1) >>> 0;
        this.salt2 = newSalt2;
        this.bigEndianChecksum = false;
        ({ checksum1: this.checksum1, checksum2: this.checksum2 } = this.#writeHeader());
      }
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** The page numbers of the appended frames, in order. */
  get pgnos(): Uint32Array {
    return this.#pgnos.view();
  }

  /** The number (from 1) of the last appended frame. */
  get lastFrame(): number {
    return this.firstFrame + this.#pgnos.length - 1;
  }

  /** Appends a frame. @param commit database size in pages for the last frame of the transaction, else 0 */
  append(pgno: number, page: Uint8Array, commit: number): void {
    const frameSize = WAL_FRAME_HEADER_SIZE + this.#pageSizeBytes;
    if (this.#buffered + frameSize > this.#buffer.length) {
      this.#flush();
      this.#enlargeBuffer();
    }
    const at = this.#buffered;
    const view = this.#view;
    view.setUint32(at, pgno);
    view.setUint32(at + 4, commit);
    view.setUint32(at + 8, this.salt1);
    view.setUint32(at + 12, this.salt2);
    const head = this.#buffer.subarray(at, at + CHECKSUMMED_FRAME_HEADER_SIZE);
    const first = walChecksum(head, this.bigEndianChecksum, this.checksum1, this.checksum2);
    const sum = walChecksum(page, this.bigEndianChecksum, first.checksum1, first.checksum2);
    this.checksum1 = sum.checksum1;
    this.checksum2 = sum.checksum2;
    view.setUint32(at + 16, sum.checksum1);
    view.setUint32(at + 20, sum.checksum2);
    this.#buffer.set(page, at + WAL_FRAME_HEADER_SIZE);
    this.#buffered += frameSize;
    this.#pgnos.push(pgno);
    this.#isCommitted ||= commit !== 0;
  }

  /** Writes all appended frames to the disk, durably. */
  sync(): void {
    this.#flush();
    this.#try("sync", () => fdatasyncSync(this.#fd));
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Truncates an abandoned transaction, which has no commit frame, and closes the file. */
  discard(): void {
    try {
      if (!this.#isCommitted) ftruncateSync(this.#fd, this.#beginOffset);
    } catch {
      // The next transaction overwrites the frames.
    }
    this.close();
  }

  #flush(): void {
    if (this.#bufferOffset > this.#nextLookOffset) {
      this.#nextLookOffset = this.#bufferOffset + BYTES_PER_LOOK;
      assertSpaceLeft(this.#path);
    }
    this.#write(this.#buffer.subarray(0, this.#buffered), this.#bufferOffset);
    this.#bufferOffset += this.#buffered;
    this.#buffered = 0;
  }

  /** Replaces the empty buffer by one of twice the size, for fewer writes. */
  #enlargeBuffer(): void {
    if (this.#buffer.length >= BUFFER_SIZE_MAX) return;
    this.#buffer = new Uint8Array(Math.min(2 * this.#buffer.length, BUFFER_SIZE_MAX));
    this.#view = new DataView(this.#buffer.buffer);
  }

  #write(bytes: Uint8Array, offset: number): void {
    for (let written = 0; written < bytes.length; ) {
      const from = written;
      const count = () => writeSync(this.#fd, bytes, from, bytes.length - from, offset + from);
      written += this.#try("write", count);
    }
  }

  /** Writes the header of a new generation, and syncs it before any frame: no old frame can follow it. */
  #writeHeader(): { checksum1: number; checksum2: number } {
    const bytes = new Uint8Array(WAL_HEADER_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, WAL_MAGIC);
    view.setUint32(4, WAL_VERSION);
    view.setUint32(8, this.#pageSizeBytes);
    view.setUint32(12, this.#nextSequence());
    view.setUint32(16, this.salt1);
    view.setUint32(20, this.salt2);
    const sum = walChecksum(bytes.subarray(0, CHECKSUMMED_HEADER_SIZE), false, 0, 0);
    view.setUint32(24, sum.checksum1);
    view.setUint32(28, sum.checksum2);
    this.#write(bytes, 0);
    this.#try("sync", () => fdatasyncSync(this.#fd));
    return sum;
  }

  /** The checkpoint sequence after that of the present header. */
  #nextSequence(): number {
    const bytes = new Uint8Array(WAL_HEADER_SIZE);
    if (readSync(this.#fd, bytes, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return 0;
    return (new DataView(bytes.buffer).getUint32(12) + 1) >>> 0;
  }

  #checkHeader(): void {
    const bytes = new Uint8Array(WAL_HEADER_SIZE);
    const size = readSync(this.#fd, bytes, 0, WAL_HEADER_SIZE, 0);
    const header = decodeWalHeader(bytes.subarray(0, size));
    const isSame =
      header.salt1 === this.salt1 &&
      header.salt2 === this.salt2 &&
      header.pageSizeBytes === this.#pageSizeBytes &&
      header.bigEndianChecksum === this.bigEndianChecksum;
    if (isSame) return;
    throw new WalrustError("database", `${this.#path} is not the WAL that its -shm describes`, {
      hint: "Stop all readers and start again",
    });
  }

  #try<T>(operation: string, run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (error instanceof WalrustError) throw error;
      const code = systemCode(error) ?? String(error);
      throw new WalrustError("database", `Cannot ${operation} ${this.#path}: ${code}`, {
        ...(code === "ENOSPC" ? { hint: "The disk is full; the replica is unchanged" } : {}),
        retryable: code === "ENOSPC",
        cause: error,
      });
    }
  }
}

function replacedError(path: string): WalrustError {
  return new WalrustError("database", `${path} was replaced while it was followed`, {
    hint: "Nobody else may write to the folder of a replica; start walrust replicate again",
    context: { path },
  });
}
