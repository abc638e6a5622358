/**
 * Encodes an LTX file page by page. Synchronous; memory is one buffer and the page index, or the first 64 KB
 * of the index if the caller gives a store for it.
 *
 * Invariants: page numbers ascend and are within the commit, the lock page is never written, a snapshot has
 * every page, and the page index lists exactly the frames that were written. If an encoder threw an error or
 * was not finished, its output is a prefix that no decoder accepts.
 *
 * The caller provides the post-apply checksum, and the encoder stores it unverified. A decoder verifies that
 * of a snapshot.
 */
import { WalrustError } from "../errors.ts";
import { Crc64 } from "./crc64.ts";
import {
  encodeLtxHeader,
  encodeLtxTrailer,
  formatChecksum,
  INDEX_ENTRY_SIZE_MAX,
  isSnapshot,
  LTX_PAGE_HEADER_SIZE,
  LTX_TRAILER_FIELDS,
  type LtxHeader,
  type LtxTrailer,
  PAGE_FLAG_SIZE,
  putIndexEntry,
} from "./ltx.ts";
import { lz4Compress, lz4CompressBound } from "./lz4.ts";
import { CHECKSUM_FLAG, type Checksum, lockPgno } from "./types.ts";

const BUFFER_SIZE = 256 * 1024;
const FRAME_HEADER_SIZE = LTX_PAGE_HEADER_SIZE + 4;
const INDEX_SIZE_FIRST = 1024;
/** The index of a larger file goes to the store. */
const INDEX_HELD_MAX = 64 * 1024;
/** Bytes of the index that are written before other work gets a turn. */
const INDEX_SLICE_BYTES = 1024 * 1024;
/** Buffers kept for later encoders: of hundreds of databases only a few write at the same time. */
const SPARE_BUFFERS_MAX = 2;

const spareBuffers: Uint8Array[] = [];

/** Holds the page index of a large file until the pages are written. */
export interface IndexStore {
  append(bytes: Uint8Array): void;
  /** All bytes in order; a chunk is valid until the next one. */
  chunks(): Iterable<Uint8Array>;
}

/** A streaming encoder. The bytes given to `sink` are valid only during the call. */
export class LtxEncoder {
  readonly header: LtxHeader;
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #crc = new Crc64();
  readonly #lockPgno: number;
  readonly #isSnapshot: boolean;
  #buffer: Uint8Array;
  #view: DataView;
  #length = 0;
  #flushed = 0;
  #index = new Uint8Array(INDEX_SIZE_FIRST);
  #indexLength = 0;
  readonly #indexStore: IndexStore | null;
  #storedIndexSize = 0;
  #lastPgno = 0;
  #isOpen = true;

  /** Begins a file. @throws WalrustError "internal" when the header is not valid */
  constructor(header: LtxHeader, sink: (bytes: Uint8Array) => void, indexStore: IndexStore | null = null) {
    const bytes = encodeLtxHeader(header);
    this.#indexStore = indexStore;
    this.header = header;
    this.#sink = sink;
    this.#lockPgno = lockPgno(header.pageSizeBytes);
    this.#isSnapshot = isSnapshot(header);
    this.#buffer = spareBuffers.pop() ?? new Uint8Array(BUFFER_SIZE);
    this.#view = new DataView(this.#buffer.buffer);
    this.#put(bytes);
  }

  /** Size of the file so far in bytes, including bytes that the sink has not received yet. */
  get bytesWritten(): number {
    return this.#flushed + this.#length;
  }

  /**
   * Adds a page. `data` may be reused after the call.
   * @throws WalrustError "internal" when the page is out of order, out of bounds, the lock page, or of a
   * wrong size
   */
  page(pgno: number, data: Uint8Array): void {
    this.#checkPage(pgno, data);
    const bound = FRAME_HEADER_SIZE + lz4CompressBound(data.length);
    if (this.#length + bound > this.#buffer.length) this.#flush();
    const start = this.#length;
    const offset = this.bytesWritten;
    const dataStart = start + FRAME_HEADER_SIZE;
    const compressedSize = lz4Compress(data, this.#buffer.subarray(dataStart));
    this.#view.setUint32(start, pgno);
    this.#view.setUint16(start + 4, PAGE_FLAG_SIZE);
    this.#view.setUint32(start + LTX_PAGE_HEADER_SIZE, compressedSize);
    this.#crc.update(this.#buffer.subarray(start, dataStart));
    this.#crc.update(data);
    this.#length = dataStart + compressedSize;
    this.#lastPgno = pgno;
    this.#addIndexEntry(pgno, offset, FRAME_HEADER_SIZE + compressedSize);
  }

  /**
   * Ends the file: writes index and trailer to the sink, and closes the encoder.
   * @throws WalrustError "internal" when a snapshot is not complete, or the checksum does not suit the header
   */
  finish(postApplyChecksum: Checksum): LtxTrailer {
    const steps = this.finishInSlices(postApplyChecksum);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
    }
  }

  /** As `finish`, in slices, so that other work gets a turn while a large index is written. */
  *finishInSlices(postApplyChecksum: Checksum): Generator<void, LtxTrailer> {
    this.#checkFinish(postApplyChecksum);
    this.#put(new Uint8Array(LTX_PAGE_HEADER_SIZE));
    let slicedBytes = 0;
    for (const bytes of this.#indexStore?.chunks() ?? []) {
      this.#put(bytes);
      slicedBytes += bytes.length;
      if (slicedBytes < INDEX_SLICE_BYTES) continue;
      slicedBytes = 0;
      yield;
    }
    this.#index[this.#indexLength] = 0;
    this.#put(this.#index.subarray(0, this.#indexLength + 1));
    const indexSize = this.#storedIndexSize + this.#indexLength + 1;
    const fixed = new Uint8Array(16);
    const view = new DataView(fixed.buffer);
    view.setBigUint64(0, BigInt(indexSize));
    view.setBigUint64(8 + LTX_TRAILER_FIELDS.postApplyChecksum[0], postApplyChecksum);
    this.#crc.update(fixed);
    const trailer: LtxTrailer = { postApplyChecksum, fileChecksum: this.#crc.checksum() };
    this.#append(fixed.subarray(0, 8));
    this.#append(encodeLtxTrailer(trailer, this.header));
    this.#flush();
    this.#isOpen = false;
    if (spareBuffers.length < SPARE_BUFFERS_MAX) spareBuffers.push(this.#buffer);
    this.#buffer = this.#index = new Uint8Array(0);
    return trailer;
  }

  #checkPage(pgno: number, data: Uint8Array): void {
    const { commit, pageSizeBytes } = this.header;
    if (!this.#isOpen) throw refuse(`page ${pgno}`, "the file is finished");
    if (data.length !== pageSizeBytes) {
      throw refuse(`page ${pgno}`, `it has ${data.length} bytes, expected ${pageSizeBytes}`);
    }
    if (!Number.isInteger(pgno) || pgno < 1 || pgno > commit) {
      throw refuse(`page ${pgno}`, `it is out of bounds, expected 1 to ${commit}`);
    }
    if (pgno === this.#lockPgno) throw refuse(`page ${pgno}`, "it is the lock page, which is never written");
    if (pgno <= this.#lastPgno) {
      throw refuse(`page ${pgno}`, `it is out of order, expected more than ${this.#lastPgno}`);
    }
    if (this.#isSnapshot && pgno !== this.#nextPgno()) {
      throw refuse(`page ${pgno}`, `a snapshot has every page, expected ${this.#nextPgno()}`);
    }
  }

  #checkFinish(postApplyChecksum: Checksum): void {
    const { commit } = this.header;
    if (!this.#isOpen) throw refuse("the end", "the file is finished already");
    if (this.#isSnapshot && this.#nextPgno() <= commit) {
      throw refuse("the end", `the snapshot ends with page ${this.#lastPgno}, expected ${commit}`);
    }
    if (commit === 0 && postApplyChecksum !== CHECKSUM_FLAG) {
      const found = formatChecksum(postApplyChecksum);
      throw refuse("the end", `the checksum of an empty database is ${found}, expected 8000000000000000`);
    }
    encodeLtxTrailer({ postApplyChecksum, fileChecksum: CHECKSUM_FLAG }, this.header);
  }

  #nextPgno(): number {
    return this.#lastPgno + 1 === this.#lockPgno ? this.#lastPgno + 2 : this.#lastPgno + 1;
  }

  #addIndexEntry(pgno: number, offset: number, sizeBytes: number): void {
    if (this.#indexLength + INDEX_ENTRY_SIZE_MAX >= this.#index.length) this.#makeRoomInIndex();
    this.#indexLength = putIndexEntry(this.#index, this.#indexLength, pgno, offset, sizeBytes);
  }

  #makeRoomInIndex(): void {
    if (this.#indexStore !== null && this.#index.length >= INDEX_HELD_MAX) {
      this.#indexStore.append(this.#index.subarray(0, this.#indexLength));
      this.#storedIndexSize += this.#indexLength;
      this.#indexLength = 0;
    } else {
      const larger = new Uint8Array(this.#index.length * 2);
      larger.set(this.#index);
      this.#index = larger;
    }
  }

  /** Appends bytes, and adds them to the file checksum. */
  #put(bytes: Uint8Array): void {
    this.#crc.update(bytes);
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; ) {
      if (this.#length === this.#buffer.length) this.#flush();
      const end = Math.min(bytes.length, start + this.#buffer.length - this.#length);
      this.#buffer.set(bytes.subarray(start, end), this.#length);
      this.#length += end - start;
      start = end;
    }
  }

  #flush(): void {
    if (this.#length > 0) this.#sink(this.#buffer.subarray(0, this.#length));
    this.#flushed += this.#length;
    this.#length = 0;
  }
}

function refuse(what: string, found: string): WalrustError {
  return new WalrustError("internal", `Cannot encode LTX: ${what}: ${found}`);
}
