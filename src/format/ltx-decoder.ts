/**
 * Decodes an LTX file that arrives in chunks of any size. Synchronous; memory is bounded by one page frame,
 * whatever the file claims.
 *
 * Every length is checked before it is used. The decoder hands out pages before it has seen the checksum at
 * the end, so a caller must not use a result before finish() has returned. A decoder that threw an error
 * throws the same error again.
 *
 * The page index is not kept in memory. The page frames determine the expected index, so the decoder compares
 * the length and a running CRC-64 of the expected index with those of the index in the file.
 */
import { WalrustError } from "../errors.ts";
import { Crc64, pageChecksumInto } from "./crc64.ts";
import {
  corruptLtx,
  decodeLtxHeader,
  decodeLtxTrailer,
  formatChecksum,
  INDEX_ENTRY_SIZE_MAX,
  isSnapshot,
  isWithoutChecksum,
  LTX_HEADER_SIZE,
  LTX_PAGE_HEADER_SIZE,
  LTX_TRAILER_SIZE,
  type LtxHeader,
  type LtxTrailer,
  PAGE_FLAG_SIZE,
  putIndexEntry,
} from "./ltx.ts";
import { lz4CompressBound, lz4Decompress } from "./lz4.ts";
import { decodeLz4Frame, measureLz4Frame } from "./lz4-frame.ts";
import { lockPgno } from "./types.ts";

const FRAME_HEADER_SIZE = LTX_PAGE_HEADER_SIZE + 4;
const TAIL_SIZE = 8 + LTX_TRAILER_SIZE;
const PENDING_SIZE_FIRST = 512;
const EMPTY = new Uint8Array(0);

type Part = "header" | "pages" | "index" | "trailer" | "end";

/**
 * A push parser: push a chunk, call next() until it returns false, and call finish() at the end of the file.
 */
export class LtxDecoder {
  /** The header, as soon as its 100 bytes have arrived. */
  header: LtxHeader | null = null;
  /** The page number that next() found. */
  pgno = 0;
  /** The page that next() found: a view of a reused buffer, valid until the next call. */
  page: Uint8Array = EMPTY;

  #part: Part = "header";
  #chunk: Uint8Array = EMPTY;
  #chunkAt = 0;
  /** The beginning of an item that the end of a chunk cut off. */
  #pending: Uint8Array = EMPTY;
  #pendingLength = 0;
  /** Offset in the file of the next unread item. */
  #offset = 0;
  #trailer: LtxTrailer | null = null;
  #failure: unknown = null;

  readonly #crc = new Crc64();
  readonly #expectedIndexCrc = new Crc64();
  readonly #indexCrc = new Crc64();
  readonly #indexEntry = new Uint8Array(INDEX_ENTRY_SIZE_MAX);
  #expectedIndexSize = 0;
  #indexSize = 0;
  #lockPgno = 0;
  #sumsPages = false;
  readonly #pageSum = new Uint32Array(2);
  #sumLow = 0;
  #sumHigh = 0x80000000;

  /** Number of bytes of the file that were decoded. */
  get bytesRead(): number {
    return this.#offset;
  }

  /** Adds the next bytes of the file. `chunk` must not change until next() has returned false. */
  push(chunk: Uint8Array): void {
    if (this.#chunkAt < this.#chunk.length) {
      throw new WalrustError(
        "internal",
        "Cannot push to the LTX decoder: call next() until it returns false",
      );
    }
    this.#chunk = chunk;
    this.#chunkAt = 0;
  }

  /**
   * Decodes the next page.
   * @returns true when `pgno` and `page` are set, false when more bytes are needed or the file has ended
   * @throws WalrustError "corrupt" at the first error in the file
   */
  next(): boolean {
    if (this.#failure !== null) throw this.#failure;
    try {
      if (this.#part === "header" && !this.#readHeader()) return false;
      if (this.#part === "pages" && this.#readPage()) return true;
      if (this.#part === "index") this.#readIndex();
      if (this.#part === "trailer") this.#readTrailer();
      if (this.#part === "end" && this.#chunkAt < this.#chunk.length) {
        throw corruptLtx("file", this.#offset, "more bytes follow the trailer");
      }
      return false;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Ends the file, after all its bytes were pushed, and returns the trailer.
   * @throws WalrustError "corrupt" when the file is not complete, and as next()
   */
  finish(): LtxTrailer {
    if (this.next()) {
      throw new WalrustError("internal", `Cannot finish decoding LTX: page ${this.pgno} has not been taken`);
    }
    if (this.#trailer === null) {
      const at = this.#offset + this.#pendingLength;
      throw corruptLtx("file", at, `it ends, expected the rest of the ${this.#part}`);
    }
    return this.#trailer;
  }

  /**
   * The next `size` bytes in one piece, or null when some have not arrived. The position stays: the next call
   * may ask for a longer piece with the same beginning.
   */
  #peek(size: number): Uint8Array | null {
    const available = this.#chunk.length - this.#chunkAt;
    if (this.#pendingLength === 0 && available >= size) {
      return this.#chunk.subarray(this.#chunkAt, this.#chunkAt + size);
    }
    if (this.#pendingLength < size) {
      const count = Math.min(size - this.#pendingLength, available);
      this.#growPending(this.#pendingLength + count);
      this.#pending.set(this.#chunk.subarray(this.#chunkAt, this.#chunkAt + count), this.#pendingLength);
      this.#pendingLength += count;
      this.#chunkAt += count;
    }
    return this.#pendingLength < size ? null : this.#pending.subarray(0, size);
  }

  /** Moves past the `size` bytes that #peek returned last. */
  #skip(size: number): void {
    if (this.#pendingLength > 0) this.#pendingLength = 0;
    else this.#chunkAt += size;
    this.#offset += size;
  }

  #growPending(size: number): void {
    if (size <= this.#pending.length) return;
    const larger = new Uint8Array(Math.max(size, PENDING_SIZE_FIRST, this.#pending.length * 2));
    larger.set(this.#pending.subarray(0, this.#pendingLength));
    this.#pending = larger;
  }

  #readHeader(): boolean {
    const bytes = this.#peek(LTX_HEADER_SIZE);
    if (bytes === null) return false;
    const header = decodeLtxHeader(bytes);
    this.#crc.update(bytes);
    this.#skip(LTX_HEADER_SIZE);
    this.header = header;
    this.page = new Uint8Array(header.pageSizeBytes);
    this.#lockPgno = lockPgno(header.pageSizeBytes);
    // These files hold the whole database, so the XOR of their pages is the database checksum.
    this.#sumsPages = (isSnapshot(header) || header.commit === 0) && !isWithoutChecksum(header);
    this.#part = "pages";
    return true;
  }

  /** Reads one page frame. @returns false when more bytes are needed, or at the end of the page frames */
  #readPage(): boolean {
    const start = this.#peek(LTX_PAGE_HEADER_SIZE);
    if (start === null) return false;
    const pgno = uint32At(start, 0);
    const flags = (start[4]! << 8) | start[5]!;
    if (pgno === 0 && flags === 0) {
      this.#endPages(start);
      return false;
    }
    this.#checkPage(pgno, flags);
    const frameSize = (flags & PAGE_FLAG_SIZE) !== 0 ? this.#readBlock() : this.#readFrame();
    if (frameSize === 0) return false;

    this.#crc.update(this.page);
    if (this.#sumsPages) {
      pageChecksumInto(pgno, this.page, this.#pageSum);
      this.#sumLow ^= this.#pageSum[0]!;
      this.#sumHigh ^= this.#pageSum[1]!;
    }
    const entrySize = putIndexEntry(this.#indexEntry, 0, pgno, this.#offset, frameSize);
    this.#expectedIndexCrc.update(this.#indexEntry.subarray(0, entrySize));
    this.#expectedIndexSize += entrySize;
    this.#skip(frameSize);
    this.pgno = pgno;
    return true;
  }

  #checkPage(pgno: number, flags: number): void {
    const { commit } = this.header!;
    if ((flags & ~PAGE_FLAG_SIZE) !== 0) {
      throw this.#corruptPage(4, `flags of page ${pgno} are ${flags}, expected 0 or 1`);
    }
    if (pgno === 0 || pgno > commit) {
      throw this.#corruptPage(0, `page number is ${pgno}, expected 1 to the commit of ${commit}`);
    }
    if (pgno === this.#lockPgno) throw this.#corruptPage(0, `page ${pgno} is the lock page`);
    if (pgno <= this.pgno) {
      throw this.#corruptPage(0, `page number is ${pgno}, expected more than ${this.pgno}`);
    }
    if (isSnapshot(this.header!) && pgno !== this.#nextPgno()) {
      throw this.#corruptPage(0, `page number is ${pgno}, expected ${this.#nextPgno()} in a snapshot`);
    }
  }

  /**
   * Decompresses an LZ4 block into `page`. @returns the size of the page frame, or 0 when bytes are missing
   */
  #readBlock(): number {
    const start = this.#peek(FRAME_HEADER_SIZE);
    if (start === null) return 0;
    const size = uint32At(start, LTX_PAGE_HEADER_SIZE);
    const sizeMax = lz4CompressBound(this.page.length);
    if (size === 0 || size > sizeMax) {
      throw this.#corruptPage(LTX_PAGE_HEADER_SIZE, `block size is ${size}, expected 1 to ${sizeMax}`);
    }
    const bytes = this.#peek(FRAME_HEADER_SIZE + size);
    if (bytes === null) return 0;
    const written = lz4Decompress(bytes.subarray(FRAME_HEADER_SIZE), this.page);
    if (written !== this.page.length) {
      const found = `page decompresses to ${written} bytes, expected ${this.page.length}`;
      throw this.#corruptPage(FRAME_HEADER_SIZE, found);
    }
    this.#crc.update(bytes.subarray(0, FRAME_HEADER_SIZE));
    return bytes.length;
  }

  /**
   * Decompresses an LZ4 frame into `page`. No size precedes a frame, so its parts are measured one by one.
   */
  #readFrame(): number {
    for (let known = LTX_PAGE_HEADER_SIZE; ; ) {
      const bytes = this.#peek(known);
      if (bytes === null) return 0;
      const frame = bytes.subarray(LTX_PAGE_HEADER_SIZE);
      const { sizeBytes, isWhole } = measureLz4Frame(frame, this.page.length);
      if (isWhole) {
        decodeLz4Frame(frame, this.page);
        this.#crc.update(bytes.subarray(0, LTX_PAGE_HEADER_SIZE));
        return bytes.length;
      }
      known = LTX_PAGE_HEADER_SIZE + sizeBytes;
    }
  }

  #endPages(bytes: Uint8Array): void {
    const { commit } = this.header!;
    if (isSnapshot(this.header!) && this.#nextPgno() <= commit) {
      throw this.#corruptPage(0, `the snapshot ends after page ${this.pgno}, expected ${commit}`);
    }
    this.#crc.update(bytes);
    this.#skip(LTX_PAGE_HEADER_SIZE);
    this.#indexEntry[0] = 0;
    this.#expectedIndexCrc.update(this.#indexEntry.subarray(0, 1));
    this.#expectedIndexSize++;
    this.#part = "index";
  }

  #readIndex(): void {
    const count = Math.min(this.#expectedIndexSize - this.#indexSize, this.#chunk.length - this.#chunkAt);
    const bytes = this.#chunk.subarray(this.#chunkAt, this.#chunkAt + count);
    this.#indexCrc.update(bytes);
    this.#crc.update(bytes);
    this.#skip(count);
    this.#indexSize += count;
    if (this.#indexSize < this.#expectedIndexSize) return;
    if (this.#indexCrc.value() !== this.#expectedIndexCrc.value()) {
      throw corruptLtx("page index", this.#offset, "it does not list the page frames before it");
    }
    this.#part = "trailer";
  }

  #readTrailer(): void {
    const bytes = this.#peek(TAIL_SIZE);
    if (bytes === null) return;
    const indexSize = uint32At(bytes, 0) * 2 ** 32 + uint32At(bytes, 4);
    if (indexSize !== this.#indexSize) {
      throw corruptLtx("page index", this.#offset, `its size is ${indexSize}, expected ${this.#indexSize}`);
    }
    this.#crc.update(bytes.subarray(0, TAIL_SIZE - 8));
    const trailer = decodeLtxTrailer(bytes.subarray(8), this.header!);
    const expected = this.#crc.checksum();
    if (trailer.fileChecksum !== expected) {
      const found = `file checksum is ${formatChecksum(trailer.fileChecksum)}`;
      throw corruptLtx("trailer", 8, `${found}, expected ${formatChecksum(expected)}`);
    }
    const sum = (BigInt((this.#sumHigh | 0x80000000) >>> 0) << 32n) | BigInt(this.#sumLow >>> 0);
    if (this.#sumsPages && trailer.postApplyChecksum !== sum) {
      const found = `post-apply checksum is ${formatChecksum(trailer.postApplyChecksum)}`;
      throw corruptLtx("trailer", 0, `${found}, expected ${formatChecksum(sum)}, that of the pages`);
    }
    this.#skip(TAIL_SIZE);
    this.#trailer = trailer;
    this.#part = "end";
  }

  #nextPgno(): number {
    return this.pgno + 1 === this.#lockPgno ? this.pgno + 2 : this.pgno + 1;
  }

  #corruptPage(at: number, found: string): WalrustError {
    return corruptLtx("page", this.#offset + at, found);
  }
}

/**
 * Decodes a whole file in memory.
 * @param onPage gets each page in a reused buffer, before the file is known to be valid
 * @throws WalrustError "corrupt" as LtxDecoder
 */
export function decodeLtxFile(
  bytes: Uint8Array,
  onPage: (pgno: number, page: Uint8Array) => void,
): { header: LtxHeader; trailer: LtxTrailer } {
  const decoder = new LtxDecoder();
  decoder.push(bytes);
  while (decoder.next()) onPage(decoder.pgno, decoder.page);
  const trailer = decoder.finish();
  return { header: decoder.header!, trailer };
}

function uint32At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
