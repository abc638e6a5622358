/**
 * Writes the wal-index ("-shm") of a replica as SQLite's own writer does: connected readers see a transaction
 * as a whole, at the moment when its header is written.
 *
 * format/wal-index.ts describes the head. After it, in blocks of 32,768 bytes:
 *
 *   block  bytes          content
 *       0  0-135          the head; 34 entries fewer than the others
 *     all  136 or 0-      page number of each frame, 4 bytes: 4,062 frames in block 0, 4,096 elsewhere
 *     all  16384-32767    hash table of 8,192 slots, 2 bytes: the frame's number within its block, from 1;
 *                         0 is free
 *
 * The slot of page p is (p * 383) mod 8192, or the next free one. Host byte order throughout.
 *
 * Invariants:
 * 1. Only the holder of byte 120 (writer) writes here.
 * 2. Readers ignore the entries of frames past mxFrame, and the next writer removes them. So frames are
 *    entered first, and the header is written last, second copy before the first, each word with a full
 *    barrier.
 * 3. Slots and entries are written through a shared mapping in whole words: no reader finds half of a number.
 * 4. The WAL starts over only under locks on bytes 121 and 124 to 127: no checkpoint runs, and no reader uses
 *    a frame. The backfill count is reset before the header, so a SIGKILL in between leaves a WAL that is
 *    merely checkpointed again.
 * The file must not be truncated while it is mapped; the pin's dead-man switch prevents that.
 * Source: SQLite 3.40, src/wal.c, walIndexAppend, walIndexWriteHdr, walRestartHdr.
 */
import { fstatSync, writeSync } from "node:fs";
import { descriptorIdentity, fileIdentityOrNull, isSameFile } from "../../database/files/descriptors.ts";
import { CHECKPOINTER_BYTE, markByte } from "../../database/files/lock-bytes.ts";
import { lockExclusive, unlock } from "../../database/files/ofd-lock.ts";
import { WalrustError } from "../../errors.ts";
import { walChecksum } from "../../format/wal.ts";
import {
  decodeWalIndex,
  READ_MARK_UNUSED,
  WAL_INDEX_SIZE,
  type WalIndexHeader,
} from "../../format/wal-index.ts";

const BLOCK_SIZE = 32_768;
const BLOCK_WORDS = BLOCK_SIZE / 4;
const BLOCK_HALVES = BLOCK_SIZE / 2;
const HEAD_WORDS = WAL_INDEX_SIZE / 4;
const ENTRIES = 4096;
const FIRST_ENTRIES = ENTRIES - HEAD_WORDS;
const HASH_FIRST_HALF = BLOCK_HALVES / 2;
const HASH_SLOTS = 8192;
const HASH_FACTOR = 383;

const COPY_WORDS = 12;
const COPY_CHECKSUMMED_SIZE = 40;
/** Words of the head after the two copies. */
const BACKFILLED_WORD = 24;
const READ_MARK_WORD = 25;
const BACKFILL_ATTEMPTED_WORD = 32;
const MARK_COUNT = 4;

const WAL_INDEX_VERSION = 3007000;
const READ_TRIES_MAX = 10;

/** The header that a commit publishes. */
export interface PublishedHeader {
  readonly mxFrame: number;
  readonly pageCount: number;
  readonly pageSizeBytes: number;
  readonly bigEndianChecksum: boolean;
  readonly frameChecksum1: number;
  readonly frameChecksum2: number;
  readonly salt1: number;
  readonly salt2: number;
}

/** The shared mapping of one -shm file. */
export class ReplicaWalIndex {
  readonly #path: string;
  readonly #fd: number;
  #words: Int32Array = new Int32Array(0);
  #entries: Uint32Array = new Uint32Array(0);
  #halves: Uint16Array = new Uint16Array(0);

  /**
   * @param fd the descriptor of the file that holds the locks
   * @throws WalrustError "database-busy" when the path leads to another file
   */
  constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#map();
  }

  /**
   * Maps the file. Call only while no SQLite connection of this process is open: mapping closes a descriptor
   * of the file, and with it all POSIX locks.
   */
  #map(): void {
    const bytes = Bun.mmap(this.#path, { shared: true });
    if (
      !isSameFile(fileIdentityOrNull(this.#path), descriptorIdentity(this.#fd)) ||
      bytes.length < BLOCK_SIZE
    ) {
      throw new WalrustError("database-busy", `Cannot map ${this.#path}: it was replaced`, {
        retryable: true,
      });
    }
    const whole = bytes.length - (bytes.length % BLOCK_SIZE);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, whole / 4);
    this.#entries = new Uint32Array(bytes.buffer, bytes.byteOffset, whole / 4);
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, whole / 2);
  }

  /** Reads the header. @throws WalrustError "database" when it stays unreadable, despite the writer's lock */
  read(): WalIndexHeader {
    for (let attempt = 0; attempt < READ_TRIES_MAX; attempt++) {
      const words = new Int32Array(HEAD_WORDS);
      for (let word = 0; word < HEAD_WORDS; word++) words[word] = Atomics.load(this.#words, word);
      const header = decodeWalIndex(new Uint8Array(words.buffer));
      if (header !== null) return header;
    }
    throw new WalrustError("database", `The header of ${this.#path} is damaged`, {
      hint: "Stop all readers and start again: SQLite rebuilds it from the WAL",
    });
  }

  /**
   * Starts the WAL over with new salts if it is checkpointed completely and no reader uses it.
   * @returns whether the WAL starts over
   */
  tryRestart(salt2: number): boolean {
    if (!lockExclusive(this.#fd, CHECKPOINTER_BYTE, 1)) return false;
    try {
      const header = this.read();
      if (header.mxFrame === 0 || header.backfilled !== header.mxFrame) return false;
      if (!lockExclusive(this.#fd, markByte(1), MARK_COUNT)) return false;
      try {
        Atomics.store(this.#words, BACKFILLED_WORD, 0);
        Atomics.store(this.#words, BACKFILL_ATTEMPTED_WORD, 0);
        Atomics.store(this.#words, READ_MARK_WORD + 1, 0);
        for (let slot = 2; slot <= MARK_COUNT; slot++) {
          Atomics.store(this.#words, READ_MARK_WORD + slot, READ_MARK_UNUSED | 0);
        }
        this.#write({ ...header, mxFrame: 0, salt1: (header.salt1 + 1) >>> 0, salt2 }, header.changeCount);
        return true;
      } finally {
        unlock(this.#fd, markByte(1), MARK_COUNT);
      }
    } finally {
      unlock(this.#fd, CHECKPOINTER_BYTE, 1);
    }
  }

  /** Makes frames visible. @param pgnos the pages of the frames from `firstFrame` to `header.mxFrame` */
  publish(firstFrame: number, pgnos: Uint32Array, header: PublishedHeader): void {
    this.#ensureSize(header.mxFrame);
    const { mxFrame, changeCount } = this.read();
    for (let i = 0; i < pgnos.length; i++) this.#enter(firstFrame + i, pgnos[i]!, mxFrame);
    this.#write(header, (changeCount + 1) >>> 0);
  }

  #enter(frame: number, pgno: number, mxFrame: number): void {
    const { block, entry } = placeOf(frame);
    const firstEntry = block * BLOCK_WORDS + (block === 0 ? HEAD_WORDS : 0);
    const firstSlot = block * BLOCK_HALVES + HASH_FIRST_HALF;
    if (entry === 0) this.#entries.fill(0, firstEntry, (block + 1) * BLOCK_WORDS);
    // A writer that was killed before publishing left entries here.
    else if (this.#entries[firstEntry + entry] !== 0)
      this.#removeAfter(mxFrame, block, firstEntry, firstSlot);
    let slot = (pgno * HASH_FACTOR) % HASH_SLOTS;
    for (let tries = 0; this.#halves[firstSlot + slot] !== 0; tries++) {
      if (tries > entry) throw new WalrustError("database", `The hash table of ${this.#path} is damaged`);
      slot = (slot + 1) % HASH_SLOTS;
    }
    this.#entries[firstEntry + entry] = pgno;
    this.#halves[firstSlot + slot] = entry + 1;
  }

  /** Removes the entries of all frames past `mxFrame` from the block it lies in. */
  #removeAfter(mxFrame: number, block: number, firstEntry: number, firstSlot: number): void {
    const last = mxFrame === 0 ? null : placeOf(mxFrame);
    const keptCount = last !== null && last.block === block ? last.entry + 1 : 0;
    for (let slot = 0; slot < HASH_SLOTS; slot++) {
      if (this.#halves[firstSlot + slot]! > keptCount) this.#halves[firstSlot + slot] = 0;
    }
    this.#entries.fill(0, firstEntry + keptCount, block * BLOCK_WORDS + BLOCK_WORDS / 2);
  }

  #write(header: PublishedHeader, changeCount: number): void {
    const bytes = new Uint8Array(COPY_WORDS * 4);
    const view = new DataView(bytes.buffer);
    const { pageSizeBytes } = header;
    view.setUint32(0, WAL_INDEX_VERSION, true);
    view.setUint32(8, changeCount, true);
    view.setUint8(12, 1);
    view.setUint8(13, header.bigEndianChecksum ? 1 : 0);
    view.setUint16(14, (pageSizeBytes & 0xff00) | (pageSizeBytes >>> 16), true);
    view.setUint32(16, header.mxFrame, true);
    view.setUint32(20, header.pageCount, true);
    view.setUint32(24, header.frameChecksum1, true);
    view.setUint32(28, header.frameChecksum2, true);
    view.setUint32(32, header.salt1);
    view.setUint32(36, header.salt2);
    const sum = walChecksum(bytes.subarray(0, COPY_CHECKSUMMED_SIZE), false, 0, 0);
    view.setUint32(40, sum.checksum1, true);
    view.setUint32(44, sum.checksum2, true);
    for (const first of [COPY_WORDS, 0]) {
      for (let word = 0; word < COPY_WORDS; word++) {
        Atomics.store(this.#words, first + word, view.getInt32(word * 4, true));
      }
    }
  }

  /** Extends the file with written zeros, and maps it again. */
  #ensureSize(frameCount: number): void {
    const wanted = (placeOf(Math.max(1, frameCount)).block + 1) * BLOCK_SIZE;
    if (this.#words.length * 4 >= wanted) return;
    let { size } = fstatSync(this.#fd);
    const zeros = new Uint8Array(BLOCK_SIZE);
    while (size < wanted) {
      const count = Math.min(BLOCK_SIZE - (size % BLOCK_SIZE), wanted - size);
      size += writeSync(this.#fd, zeros, 0, count, size);
    }
    this.#map();
  }
}

/** The block a frame (from 1) belongs to, and its entry there (from 0). */
function placeOf(frame: number): { block: number; entry: number } {
  if (frame <= FIRST_ENTRIES) return { block: 0, entry: frame - 1 };
  const past = frame - FIRST_ENTRIES - 1;
  return { block: 1 + Math.floor(past / ENTRIES), entry: past % ENTRIES };
}
