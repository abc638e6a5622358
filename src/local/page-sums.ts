/**
 * The page sums: the checksum of each page of a database, in the file `pages.sum` of its state folder.
 *
 *   offset        size  field
 *   8 × (pgno-1)     8  LTX page checksum of page `pgno`, unsigned little-endian; 0 for the lock page
 *
 * With the page sums, an increment carries a true post-apply checksum although the database is not read.
 * After a broken WAL history the database is read once and only the differing pages are uploaded.
 *
 * Invariants:
 * 1. The XOR of all entries, with bit 63 set, is the database checksum of the persisted position. A reader
 *    checks the XOR; a file that disagrees counts as lost and is never repaired by guessing.
 * 2. Updates are written after the position that includes them is durable. A crash between the two is
 *    repaired from the spool file of that position.
 * 3. No descriptor and no memory is held per database: a shared window of 64 KB is read, changed and written.
 */
import { closeSync, fstatSync, fsync, fsyncSync, ftruncateSync, readSync, renameSync, rmSync } from "node:fs";
import { promisify } from "node:util";
import { sumScratch } from "../database/files/scratch-buffers.ts";
import { WalrustError } from "../errors.ts";
import { CHECKSUM_FLAG, type Checksum, lockPgno } from "../format/types.ts";
import { ZeroPages } from "../format/zero-pages.ts";
import {
  createTemp,
  openOwn,
  openOwnForUpdate,
  openOwnOrNull,
  type TempFile,
  writeWhole,
} from "./own-file.ts";

const syncFile = promisify(fsync);
const ENTRY_SIZE = 8;
const WINDOW_SIZE = 1 << 16;
const WINDOW_ENTRIES = WINDOW_SIZE / ENTRY_SIZE;

/** New sums of the pages in a batch, by ascending page number, as low and high 32 bits. */
export interface SumBatch {
  readonly pgnos: Uint32Array;
  readonly low: Uint32Array;
  readonly high: Uint32Array;
}

/** A running XOR of page sums, in two 32-bit halves. */
export class SumXor {
  low = 0;
  high = 0;

  add(low: number, high: number): void {
    this.low ^= low;
    this.high ^= high;
  }

  /** The database checksum: the XOR with bit 63 set. */
  checksum(): Checksum {
    const value = (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
    return (value | CHECKSUM_FLAG) as Checksum;
  }
}

/** A window over the file, for ascending page numbers. */
class SumWindow {
  readonly #bytes = sumScratch.take(WINDOW_SIZE);
  readonly #words = new Uint32Array(this.#bytes.buffer, this.#bytes.byteOffset, WINDOW_SIZE / 4);
  readonly #takeCount = sumScratch.takeCount;
  #base = -1;
  /** Indexes of the words that were changed: the first, and the one after the last. */
  #dirtyStart = 0;
  #dirtyEnd = 0;

  constructor(readonly fd: number) {}

  /** Moves the window to page `pgno`. @returns the index in `words` of the low word of its sum */
  seek(pgno: number): number {
    const base = Math.floor((pgno - 1) / WINDOW_ENTRIES) * WINDOW_ENTRIES;
    if (base !== this.#base || sumScratch.takeCount !== this.#takeCount) {
      this.flush();
      this.#words.fill(0, 0, WINDOW_SIZE / 4);
      readSync(this.fd, this.#bytes, 0, WINDOW_SIZE, base * ENTRY_SIZE);
      this.#base = base;
    }
    return (pgno - 1 - base) * 2;
  }

  get words(): Uint32Array {
    return this.#words;
  }

  set(pgno: number, low: number, high: number): void {
    const word = this.seek(pgno);
    this.#words[word] = low;
    this.#words[word + 1] = high;
    this.#dirtyStart = this.#dirtyEnd === 0 ? word : Math.min(this.#dirtyStart, word);
    this.#dirtyEnd = Math.max(this.#dirtyEnd, word + 2);
  }

  flush(): void {
    const [start, end] = [this.#dirtyStart * 4, this.#dirtyEnd * 4];
    this.#dirtyStart = this.#dirtyEnd = 0;
    if (end === 0) return;
    writeWhole(this.fd, this.#bytes.subarray(start, end), this.#base * ENTRY_SIZE + start);
  }
}

/**
 * The page sums, opened once for one capture: first `checksumAfter`, which writes nothing, then, once the
 * position is persisted, `apply`. Nothing may be awaited in between.
 */
export class SumUpdate {
  readonly #window: SumWindow;

  /** @param fd the sums, open for reading and writing; `close` closes the file */
  constructor(readonly fd: number) {
    this.#window = new SumWindow(fd);
  }

  /**
   * Opens the sums at `path`.
   * @throws WalrustError code "integrity" for a file that is not ours, "database" for a missing one
   */
  static open(path: string): SumUpdate {
    return new SumUpdate(openSums(path));
  }

  /**
   * Computes the database checksum after a batch from the checksum before the batch. New pages that the batch
   * does not contain count as zero pages; pages past the new end drop out.
   * @throws WalrustError code "integrity" when the sums of a small file do not agree with `before`
   */
  checksumAfter(
    before: Checksum,
    oldCommit: number,
    newCommit: number,
    batch: SumBatch,
    pageSizeBytes: number,
  ): Checksum {
    const xor = new SumXor();
    xor.add(Number(before & 0xffffffffn), Number((before >> 32n) & 0xffffffffn));
    const window = this.#window;
    assertSound(window, before, oldCommit);
    const { pgnos, low, high } = batch;
    for (let i = 0; i < pgnos.length; i++) {
      const pgno = pgnos[i]!;
      if (pgno <= oldCommit) {
        const word = window.seek(pgno);
        xor.add(window.words[word]!, window.words[word + 1]!);
      }
      xor.add(low[i]!, high[i]!);
    }
    for (let pgno = newCommit + 1; pgno <= oldCommit; pgno++) {
      const word = window.seek(pgno);
      xor.add(window.words[word]!, window.words[word + 1]!);
    }
    const zeros = ZeroPages.of(pageSizeBytes);
    const sum = new Uint32Array(2);
    eachHole(oldCommit, newCommit, pgnos, (firstPgno, lastPgno) => {
      zeros.runInto(firstPgno, lastPgno, sum);
      xor.add(sum[0]!, sum[1]!);
    });
    return xor.checksum();
  }

  /**
   * Writes a batch into the file and resizes the file to `newCommit` entries, without fsync: the checksum of
   * the position reveals a lost write.
   */
  apply(oldCommit: number, newCommit: number, batch: SumBatch, pageSizeBytes: number): void {
    const window = this.#window;
    const { pgnos, low, high } = batch;
    for (let i = 0; i < pgnos.length; i++) window.set(pgnos[i]!, low[i]!, high[i]!);
    const zeros = ZeroPages.of(pageSizeBytes);
    const lock = lockPgno(pageSizeBytes);
    const sum = new Uint32Array(2);
    eachHole(oldCommit, newCommit, pgnos, (firstPgno, lastPgno) => {
      for (let pgno = firstPgno; pgno <= lastPgno; pgno++) {
        if (pgno === lock) continue;
        zeros.sumInto(pgno, sum);
        window.set(pgno, sum[0]!, sum[1]!);
      }
    });
    window.flush();
    // No entry of the batch lies past the new end, so an equal size needs no call.
    if (newCommit !== oldCommit) this.resize(newCommit);
  }

  /** Cuts or extends the file to `commit` entries. */
  resize(commit: number): void {
    ftruncateSync(this.fd, commit * ENTRY_SIZE);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/**
 * Compares the sums of a small file with the checksum that they stand for, because every restore would refuse
 * a checksum computed from damaged sums. Larger files are checked when the database is attached, and by every
 * snapshot.
 */
function assertSound(window: SumWindow, before: Checksum, commit: number): void {
  if (commit > WINDOW_ENTRIES) return;
  const xor = new SumXor();
  for (let pgno = 1; pgno <= commit; pgno++) {
    const word = window.seek(pgno);
    xor.add(window.words[word]!, window.words[word + 1]!);
  }
  if (xor.checksum() === before) return;
  throw new WalrustError("integrity", "the page sums beside the database are damaged");
}

/** Applies one batch to sums of any size, as `SumUpdate.apply` does. Repairs a file that a crash cut off. */
export function applyBatch(
  path: string,
  oldCommit: number,
  newCommit: number,
  batch: SumBatch,
  pageSizeBytes: number,
): void {
  const update = new SumUpdate(openOwnForUpdate(path));
  try {
    update.apply(oldCommit, newCommit, batch, pageSizeBytes);
    update.resize(newCommit);
  } finally {
    update.close();
  }
}

/** Calls back for each run of new pages that the batch does not contain, the lock page included. */
function eachHole(
  oldCommit: number,
  newCommit: number,
  pgnos: Uint32Array,
  onHole: (firstPgno: number, lastPgno: number) => void,
): void {
  let nextPgno = oldCommit + 1;
  for (const pgno of pgnos) {
    if (pgno < nextPgno) continue;
    if (pgno > nextPgno) onHole(nextPgno, pgno - 1);
    nextPgno = pgno + 1;
  }
  if (nextPgno <= newCommit) onHole(nextPgno, newCommit);
}

/**
 * Opens the sums. @throws WalrustError code "integrity" for a file that is not ours: an anchor replaces it
 */
function openSums(path: string): number {
  try {
    return openOwnForUpdate(path);
  } catch (error) {
    if (!(error instanceof WalrustError) || error.retryable) throw error;
    throw new WalrustError("integrity", `the page sums are lost: ${error.message}`, { cause: error });
  }
}

function openSumsOrNull(path: string): number | null {
  try {
    return openOwnOrNull(path);
  } catch (error) {
    if (error instanceof WalrustError && !error.retryable) return null;
    throw error;
  }
}

/** The database checksum that a file of sums stands for; null when the file has not `commit` entries. */
export function checksumOfFileOrNull(path: string, commit: number): Checksum | null {
  const fd = openSumsOrNull(path);
  if (fd === null) return null;
  try {
    // The size is checked first, so that an oversized file is not read to its end.
    if (fstatSync(fd).size !== commit * ENTRY_SIZE) return null;
    const bytes = sumScratch.take(WINDOW_SIZE);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, WINDOW_SIZE / 4);
    const xor = new SumXor();
    let offset = 0;
    for (;;) {
      const read = readSync(fd, bytes, 0, WINDOW_SIZE, offset);
      if (read === 0) break;
      for (let word = 0; word + 1 < read / 4; word += 2) xor.add(words[word]!, words[word + 1]!);
      offset += read;
      if (offset > commit * ENTRY_SIZE) return null;
    }
    return offset === commit * ENTRY_SIZE ? xor.checksum() : null;
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes all sums of a database, in page order, into a new file that `publish` puts in place of the old one.
 */
export class PageSumWriter {
  readonly #path: string;
  readonly #temp: TempFile;
  readonly #words = new Uint32Array(WINDOW_SIZE / 4);
  readonly xor = new SumXor();
  #used = 0;
  #isOpen = true;

  constructor(path: string) {
    this.#path = path;
    this.#temp = createTemp(path);
  }

  /** Appends the sum of the next page. */
  push(low: number, high: number): void {
    this.#words[this.#used] = low;
    this.#words[this.#used + 1] = high;
    this.xor.add(low, high);
    this.#used += 2;
    if (this.#used === this.#words.length) this.#flush();
  }

  #flush(): void {
    const bytes = new Uint8Array(this.#words.buffer, 0, this.#used * 4);
    writeWhole(this.#temp.fd, bytes);
    this.#used = 0;
  }

  /** Completes the temporary file and syncs it. */
  close(): void {
    this.#flush();
    fsyncSync(this.#temp.fd);
    this.#close();
  }

  /** As `close`, with the sync on a pool thread: the sums of a large database are megabytes. */
  async closeLarge(): Promise<void> {
    this.#flush();
    await syncFile(this.#temp.fd);
    this.#close();
  }

  /** Closes once: the system gives the number of a closed descriptor to the next open file. */
  #close(): void {
    if (this.#isOpen) closeSync(this.#temp.fd);
    this.#isOpen = false;
  }

  /** Replaces the file. To be called after the position that the sums belong to is durable. */
  publish(): void {
    renameSync(this.#temp.path, this.#path);
  }

  /** Removes the temporary file, after a failure. */
  discard(): void {
    this.#close();
    rmSync(this.#temp.path, { force: true });
  }
}

/** Reads sums in page order, to compare a database with them. A page past the end has no sum. */
export class PageSumReader {
  readonly #fd: number;
  readonly #bytes = new Uint8Array(WINDOW_SIZE);
  readonly #words = new Uint32Array(this.#bytes.buffer);
  #available = 0;
  #next = 0;
  low = 0;
  high = 0;

  constructor(path: string) {
    this.#fd = openOwn(path);
  }

  /** Reads the next sum into `low` and `high`. @returns false past the end of the file */
  next(): boolean {
    if (this.#next >= this.#available) {
      const read = readSync(this.#fd, this.#bytes, 0, WINDOW_SIZE, null);
      if (read % ENTRY_SIZE !== 0) {
        throw new WalrustError("database", `The page-sum file ends inside an entry (${read} bytes)`);
      }
      this.#available = read / 4;
      this.#next = 0;
      if (read === 0) return false;
    }
    this.low = this.#words[this.#next]!;
    this.high = this.#words[this.#next + 1]!;
    this.#next += 2;
    return true;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
