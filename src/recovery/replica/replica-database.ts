/**
 * The database file of a replica: a database in WAL mode that SQLite's readers share, and whose only writer
 * is walrust.
 *
 * Invariants from `open` to `close`:
 * 1. walrust holds the SHARED range, the dead-man switch, the host lock (database/pin/pin.ts) and byte 120
 *    (writer). Nobody else can commit, start the WAL over, truncate or delete it; an application that writes
 *    gets SQLITE_BUSY. Readers are never blocked and never block a commit.
 * 2. No reader sees the pages of a transaction until `commit` writes the last frame, syncs the WAL, and
 *    publishes the transaction in the wal-index. Readers see the state before or the state after. After a
 *    SIGKILL, SQLite's own recovery finds one of the two.
 * 3. `commit` requires `end`, which compares the checksum of all pages.
 * 4. The content equals a restore from the same objects byte for byte, header bytes included.
 * Memory: 8 bytes a page.
 */
import { fstatSync } from "node:fs";
import { SHARED_LENGTH, SHARED_START, WRITER_BYTE } from "../../database/files/lock-bytes.ts";
import { isLockedByOther, lockExclusive, unlock } from "../../database/files/ofd-lock.ts";
import { DatabaseImage } from "../../database/image.ts";
import { Pin } from "../../database/pin/pin.ts";
import { REPLICA_EVIDENCE } from "../../database/wal/wal-gate.ts";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { formatChecksum, isWithoutChecksum, type LtxHeader, type LtxTrailer } from "../../format/ltx.ts";
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../../format/sqlite-header.ts";
import { type Checksum, lockPgno, NO_CHECKSUM } from "../../format/types.ts";
import type { PageReceiver } from "../object/check-object.ts";
import { GrowthLimit } from "../object/growth-limit.ts";
import { assertFreeSpace } from "../restore/free-space.ts";
import { DivergedError } from "./replica-plan.ts";
import { eachHole, ReplicaSums } from "./replica-sums.ts";
import { WalAppender } from "./replica-wal.ts";
import { ReplicaWalIndex } from "./replica-wal-index.ts";

const WRITER_TRIES_MAX = 200;
const WRITER_WAIT_MS = 10;
const SLICE_PAGES = 4096;
/** The default of SQLite's autocheckpoint. */
const CHECKPOINT_FRAMES = 1000;
const FIRST_PAGE_BTREE_OFFSET = 100;
const SCHEMA_COOKIE_OFFSET = 40;
const INTERIOR_TABLE = 0x05;

/** An open transaction. */
interface Transaction {
  readonly wal: WalAppender;
  readonly newCommit: number;
  /** The newest page, not appended yet: it may become the last frame. */
  readonly held: Uint8Array;
  heldPgno: number;
  firstPage: Uint8Array | null;
  pageCount: number;
  isComplete: boolean;
}

/** The replica's file, attached. */
export class ReplicaDatabase implements PageReceiver {
  readonly #pin: Pin;
  readonly #env: Env;
  readonly #index: ReplicaWalIndex;
  readonly #sums: ReplicaSums;
  #firstPage: Uint8Array;
  #transaction: Transaction | null = null;
  #header: LtxHeader | null = null;
  readonly #growth = new GrowthLimit();
  #key = "";

  /** The TXID of the content. The owner of the state file sets it. */
  txid = 0;

  private constructor(pin: Pin, env: Env, index: ReplicaWalIndex, sums: ReplicaSums, firstPage: Uint8Array) {
    this.#pin = pin;
    this.#env = env;
    this.#index = index;
    this.#sums = sums;
    this.#firstPage = firstPage;
  }

  /**
   * Opens the replica at `path`, and reads it once for its page sums.
   * @throws WalrustError "database", "not-wal", "locked" (another walrust uses it) or "database-busy"
   * (retryable)
   */
  static open(path: string, env: Env): ReplicaDatabase {
    const pin = Pin.open(path, env, REPLICA_EVIDENCE);
    try {
      takeWriter(pin, env);
      const sums = new ReplicaSums(pin.pageSizeBytes);
      const firstPage = readSums(pin, sums);
      pin.dropFreezeAndMark();
      return new ReplicaDatabase(pin, env, new ReplicaWalIndex(pin.shmPath, pin.shmFd), sums, firstPage);
    } catch (error) {
      pin.close();
      throw error;
    }
  }

  get path(): string {
    return this.#pin.path;
  }

  get pageSizeBytes(): number {
    return this.#pin.pageSizeBytes;
  }

  /** Database size in pages. */
  get pageCount(): number {
    return this.#sums.commit;
  }

  /** The XOR of all page sums. */
  get checksum(): Checksum {
    return this.#sums.checksum;
  }

  /** The database checksum after the ended transaction. */
  get nextChecksum(): Checksum {
    return this.#sums.batchChecksum;
  }

  /** The database size in pages after the open transaction. */
  get nextPageCount(): number {
    return this.#open().newCommit;
  }

  /** The capture time of the object in the open transaction. */
  get nextTimeMs(): number {
    return this.#header?.timestampMs ?? 0;
  }

  /** Whether another process has the replica open. */
  hasReaders(): boolean {
    return isLockedByOther(this.#pin.databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  }

  /** Whether a page has this sum already. */
  isSamePage(pgno: number, low: number, high: number): boolean {
    return this.#sums.isSame(pgno, low, high);
  }

  /**
   * Begins a transaction with an object.
   * @param objectBytes the size of the object, which bounds its pages
   * @throws DivergedError when the object does not continue this content; WalrustError "database", retryable,
   * when the disk has no room for the result
   */
  begin(key: string, header: LtxHeader, objectBytes = Number.POSITIVE_INFINITY): void {
    const { minTxid, maxTxid, pageSizeBytes, commit, preApplyChecksum } = header;
    if (minTxid > this.txid + 1 || maxTxid <= this.txid) {
      throw new DivergedError(`${key} is TXID ${minTxid} to ${maxTxid}, the replica is at ${this.txid}`);
    }
    if (pageSizeBytes !== this.pageSizeBytes) {
      throw new DivergedError(
        `${key} has pages of ${pageSizeBytes} bytes, the replica ${this.pageSizeBytes}`,
      );
    }
    const isExact = minTxid === this.txid + 1;
    if (isExact && preApplyChecksum !== NO_CHECKSUM && preApplyChecksum !== this.checksum) {
      const found = `${formatChecksum(preApplyChecksum)}, the replica is ${formatChecksum(this.checksum)}`;
      throw new DivergedError(`${key} applies to database checksum ${found}`);
    }
    // New pages are written to the WAL first, and to the file by a checkpoint.
    const databaseBytes = 2 * Math.max(0, commit - this.pageCount) * pageSizeBytes;
    assertFreeSpace({ databaseBytes, writtenBytes: 0, objectBytes }, this.path);
    this.beginTransaction(commit);
    this.#header = header;
    this.#key = key;
  }

  /** Begins a transaction that makes the database `newCommit` pages long. */
  beginTransaction(newCommit: number): void {
    this.abort();
    if (newCommit === 0) throw new WalrustError("integrity", "The source is an empty database of 0 pages");
    this.#assertUnchanged();
    const [salt2, newSalt2] = new Uint32Array(this.#env.randomBytes(8).buffer) as unknown as [number, number];
    this.#index.tryRestart(salt2);
    this.#sums.beginBatch();
    this.#growth.begin(this.#sums.commit, this.pageSizeBytes);
    this.#key = "The newest state";
    this.#transaction = {
      wal: new WalAppender(
        this.#pin.walPath,
        this.#pin.wal,
        this.pageSizeBytes,
        this.#index.read(),
        newSalt2,
      ),
      newCommit,
      held: new Uint8Array(this.pageSizeBytes),
      heldPgno: 0,
      firstPage: null,
      pageCount: 0,
      isComplete: false,
    };
  }

  /** Adds a page to the transaction, by ascending page number. */
  page(pgno: number, data: Uint8Array): void {
    const transaction = this.#open();
    this.#growth.page(this.#key, pgno);
    this.#sums.add(pgno, data);
    transaction.pageCount++;
    if (pgno === 1) transaction.firstPage = data.slice();
    appendHeld(transaction);
    transaction.held.set(data);
    transaction.heldPgno = pgno;
  }

  /**
   * Ends the pages of the object, and compares checksums.
   * @throws WalrustError "integrity" when the result contradicts the object; DivergedError when only a
   * bootstrap can tell whether the object is right
   */
  end(key: string, trailer: LtxTrailer): void {
    const header = this.#header;
    if (header === null) throw new Error("end() without begin()");
    this.#assertSafeForReaders(key, this.#open());
    const checksum = this.endTransaction();
    if (!isWithoutChecksum(header) && trailer.postApplyChecksum !== checksum) {
      const expected = formatChecksum(trailer.postApplyChecksum);
      const message = `${key} leads to database checksum ${formatChecksum(checksum)}, expected ${expected}`;
      // The content holds the first transactions of the object already, so the object may be right.
      if (header.minTxid <= this.txid) throw new DivergedError(message);
      throw new WalrustError("integrity", message, {
        hint: "The object is damaged; run `walrust verify`. The replica is unchanged",
        context: { key, txid: this.txid },
      });
    }
  }

  /** Adds the pages that no object holds, as zeros. @returns the database checksum after the transaction */
  endTransaction(): Checksum {
    const transaction = this.#open();
    const { newCommit, wal, held, heldPgno } = transaction;
    if (transaction.firstPage !== null) assertWalMode(transaction.firstPage);
    this.#growth.end(this.#key, newCommit);
    // File and WAL may still hold the pages from before a shrink, so the zeros are written.
    let zero: Uint8Array | null = null;
    const pgnos = pgnosOf(wal, heldPgno);
    eachHole(this.#sums.commit, newCommit, pgnos, this.pageSizeBytes, (pgno) => {
      zero ??= new Uint8Array(this.pageSizeBytes);
      this.#sums.add(pgno, zero);
      wal.append(pgno, zero, 0);
    });
    this.#sums.cut(newCommit);
    if (heldPgno === 0 && (newCommit !== this.#sums.commit || wal.pgnos.length > 0)) {
      held.set(this.#firstPage);
      transaction.heldPgno = 1;
    }
    transaction.isComplete = true;
    return this.#sums.batchChecksum;
  }

  /** Makes the ended transaction durable, then visible. */
  commit(): void {
    const transaction = this.#open();
    if (!transaction.isComplete) throw new Error("commit() without end()");
    const { wal, newCommit, held, heldPgno, firstPage } = transaction;
    if (heldPgno !== 0) {
      wal.append(heldPgno, held, newCommit);
      wal.sync();
      this.#assertUnchanged();
      const { pageSizeBytes } = this;
      const { bigEndianChecksum, checksum1, checksum2, salt1, salt2, lastFrame: mxFrame } = wal;
      const sums = { frameChecksum1: checksum1, frameChecksum2: checksum2, salt1, salt2 };
      const header = { mxFrame, pageCount: newCommit, pageSizeBytes, bigEndianChecksum, ...sums };
      this.#index.publish(wal.firstFrame, wal.pgnos, header);
    }
    this.#sums.keepBatch(newCommit);
    this.#growth.keep();
    if (firstPage !== null) this.#firstPage = firstPage;
    wal.close();
    this.#transaction = null;
    this.#header = null;
  }

  /** Abandons the open transaction: its frames lie past the published frames, so no reader sees them. */
  abort(): void {
    this.#transaction?.wal.discard();
    this.#transaction = null;
    this.#header = null;
  }

  /** Checkpoints a long WAL, without blocking anybody. */
  checkpointIfDue(): void {
    if (this.#transaction !== null) return;
    const { mxFrame, backfilled } = this.#index.read();
    if (mxFrame < CHECKPOINT_FRAMES || backfilled === mxFrame) return;
    this.#checkpoint("PASSIVE");
  }

  /** Closes the replica, and checkpoints the whole WAL unless readers prevent it. */
  close(): void {
    this.abort();
    unlock(this.#pin.shmFd, WRITER_BYTE, 1);
    try {
      if (this.#pin.changedFile() === "none") this.#checkpoint("TRUNCATE");
    } finally {
      this.#pin.close();
    }
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    try {
      const connection = this.#pin.connect();
      try {
        connection.checkpoint(mode);
      } finally {
        connection.close();
      }
    } catch (error) {
      if (!hasCode(error, "database-busy")) throw error;
    }
  }

  #open(): Transaction {
    if (this.#transaction === null) throw new Error("no transaction is open");
    return this.#transaction;
  }

  #assertUnchanged(): void {
    const changed = this.#pin.changedFile();
    if (changed === "none") return;
    const file =
      changed === "database" ? this.path : changed === "wal" ? this.#pin.walPath : this.#pin.shmPath;
    throw new WalrustError("database", `${file} was removed or replaced while it was followed`, {
      hint: "Stop all readers and start walrust replicate again",
      context: { path: file },
    });
  }

  /**
   * Refuses an object that may change the schema under the same schema cookie: readers keep their parsed
   * schema while the cookie stays the same. A history that jumped (a restore of the source) may do that.
   */
  #assertSafeForReaders(key: string, transaction: Transaction): void {
    const { firstPage, newCommit, pageCount } = transaction;
    if (firstPage === null || cookieOf(firstPage) !== cookieOf(this.#firstPage)) return;
    const btree = firstPage.subarray(FIRST_PAGE_BTREE_OFFSET);
    const isSame = Buffer.compare(btree, this.#firstPage.subarray(FIRST_PAGE_BTREE_OFFSET)) === 0;
    const wholeCount = newCommit - (newCommit >= lockPgno(this.pageSizeBytes) ? 1 : 0);
    const isWhole = pageCount === wholeCount && btree[0] === INTERIOR_TABLE;
    if (isSame && !isWhole) return;
    throw new DivergedError(`${key} may hold another schema under the same schema cookie`);
  }
}

/** The schema cookie in the first page of a database. */
export function cookieOf(firstPage: Uint8Array): number {
  return new DataView(firstPage.buffer, firstPage.byteOffset).getUint32(SCHEMA_COOKIE_OFFSET);
}

function takeWriter(pin: Pin, env: Env): void {
  for (let attempt = 0; attempt < WRITER_TRIES_MAX; attempt++) {
    if (lockExclusive(pin.shmFd, WRITER_BYTE, 1)) return;
    env.sleepSync(WRITER_WAIT_MS);
  }
  throw new WalrustError("database-busy", `Another process writes to ${pin.path}`, {
    hint: "A replica is read-only: stop what writes to it",
    retryable: true,
  });
}

/** Reads the sums of the whole database, which is frozen and has no other writer. @returns the first page */
function readSums(pin: Pin, sums: ReplicaSums): Uint8Array {
  const index = pin.walIndex();
  if (index === null)
    throw new WalrustError("database-busy", `Cannot read ${pin.shmPath}`, { retryable: true });
  const image = DatabaseImage.open(pin, index, fstatSync(pin.databaseFd).size);
  if ("kind" in image) throw new WalrustError("database", `Cannot read ${pin.path}: ${image.reason}`);
  let firstPage: Uint8Array | null = null;
  try {
    sums.beginBatch();
    const take = (pgno: number, page: Uint8Array): void => {
      if (pgno === 1) firstPage = page.slice();
      sums.add(pgno, page);
    };
    while (image.readSlice(SLICE_PAGES, take));
    sums.keepBatch(image.commit);
  } finally {
    image.close();
  }
  if (firstPage === null) throw new WalrustError("database", `${pin.path} is empty`);
  return firstPage;
}

function appendHeld({ wal, held, heldPgno }: Transaction): void {
  if (heldPgno !== 0) wal.append(heldPgno, held, 0);
}

/** The page numbers of the transaction, the held page last. */
function pgnosOf(wal: WalAppender, heldPgno: number): Uint32Array {
  const pgnos = new Uint32Array(wal.pgnos.length + (heldPgno === 0 ? 0 : 1));
  pgnos.set(wal.pgnos);
  if (heldPgno !== 0) pgnos[pgnos.length - 1] = heldPgno;
  return pgnos;
}

function assertWalMode(firstPage: Uint8Array): void {
  if (decodeDatabaseHeader(firstPage.subarray(0, DATABASE_HEADER_SIZE)).isWal) return;
  throw new WalrustError(
    "integrity",
    "The source is not in WAL mode at this point, so it cannot be followed",
  );
}
