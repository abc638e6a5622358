/**
 * Builds a database file from LTX objects in TXID order, and proves it object by object.
 *
 * Invariants after each object:
 * 1. The file is exactly `commit` pages long; pages that no object holds are zeros.
 * 2. The database checksum is the XOR of the page sums of all pages but the lock page. It equals the
 *    post-apply checksum of the object, and equalled its pre-apply checksum before, if the object carries
 *    checksums.
 * Memory: one write buffer, and at most 4 MB of page sums (built-sums.ts). A violation throws code
 * "integrity"; the file is worthless then.
 */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, type Stats, writeSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { FLAG_NO_CHECKSUM, type LtxHeader, type LtxTrailer } from "../../format/ltx.ts";
import { type Checksum, lockPgno, NO_CHECKSUM, type Txid } from "../../format/types.ts";
import { GrowthLimit } from "../object/growth-limit.ts";
import { assertFreeSpace } from "./free-space.ts";
import { holdDraft } from "./leftover-drafts.ts";
import { PageSumState } from "./page-sum-state.ts";
import type { Ownership } from "./target-access.ts";
import { setAccess } from "./target-access.ts";

const WRITE_BUFFER_SIZE = 1 << 20;
/** The unit of `blocks` in `stat`. */
const STAT_BLOCK_SIZE = 512;

/**
 * A database file under construction: `begin`, `page`…, `end` for each object in order, then `sync` and
 * `close`.
 */
export class DatabaseBuilder {
  readonly #fd: number;
  readonly #path: string;
  readonly #openPath: string;
  readonly #buffer = new Uint8Array(WRITE_BUFFER_SIZE);
  #bufferOffset = 0;
  #buffered = 0;
  readonly #sum = new Uint32Array(2);
  readonly #growth = new GrowthLimit();
  readonly #sums: PageSumState;
  #header: LtxHeader | null = null;
  #key = "";
  #pagesInObject = 0;
  #isReset = false;

  txid: Txid | 0 = 0;
  pageSizeBytes = 0;
  timeMs = 0;
  /** TXID and time of the first object, which holds the whole database. */
  base: { readonly txid: Txid; readonly timeMs: number } | null = null;
  /** Whether every object so far carries checksums. */
  hasChecksums = true;
  /**
   * Whether the newest object carries a database checksum, which was compared with all pages. Then the file
   * equals its source, whatever the earlier objects carried.
   */
  isProven = false;

  /**
   * Creates the file, private to us. The path must not exist, not even as a link.
   * @param path the path in messages
   * @param openPath the path by which the file is created
   * @throws WalrustError code "database" when the file cannot be created
   */
  constructor(path: string, openPath = path) {
    this.#path = path;
    this.#openPath = openPath;
    this.#sums = new PageSumState(`${openPath}.sums`);
    this.#fd = this.#try("create", () => openSync(openPath, "wx+", 0o600));
  }

  /**
   * Shows other restores, until `close`, that the file is in use.
   * @returns false when another restore took the new file for a leftover
   */
  hold(): boolean {
    return holdDraft(this.#fd);
  }

  /** The `fstat` of the file, whatever has its name by now. */
  get stats(): Stats {
    return fstatSync(this.#fd);
  }

  /**
   * Sets owner, group and mode of the file, as far as the system allows.
   * @returns owner, group and mode afterwards
   */
  setAccess(wanted: Ownership): Ownership {
    return this.#try("set the owner of", () => setAccess(this.#fd, wanted));
  }

  /** The database checksum after the applied objects. */
  get checksum(): Checksum {
    return this.#sums.checksum;
  }

  /** The size of the database in pages. */
  get commit(): number {
    return this.#sums.commit;
  }

  /** Calls back with the sum of each page, in page order, for the state of the restored database. */
  eachSum(onSum: (low: number, high: number) => void): void {
    this.#try("read the page sums of", () => this.#sums.each(onSum));
  }

  /** An empty state beside this database, which the caller closes. */
  emptyTrial(): PageSumState {
    return new PageSumState(`${this.#openPath}.trial`);
  }

  /** A copy of the page sums, which the caller closes. */
  trial(): PageSumState {
    const copy = this.emptyTrial();
    let pgno = 0;
    this.eachSum((low, high) => copy.set(++pgno, low, high));
    copy.commit = this.commit;
    return copy;
  }

  /**
   * Begins an object.
   * @param objectBytes the size of the object, which bounds its pages
   * @throws WalrustError code "integrity" when the object does not continue the file; "database" when the
   * disk has no room for the result
   */
  begin(key: string, header: LtxHeader, objectBytes = Number.POSITIVE_INFINITY): void {
    const isFirst = this.txid === 0;
    if (isFirst ? header.minTxid !== 1 : header.minTxid > this.txid + 1) {
      throw this.#violation(key, `begins at TXID ${header.minTxid}, the state is TXID ${this.txid}`);
    }
    this.#isReset = !isFirst && header.pageSizeBytes !== this.pageSizeBytes;
    if (isFirst || this.#isReset) this.#startOver(header);
    this.#growth.begin(this.commit, this.pageSizeBytes);
    this.#assertFreeSpace(header, objectBytes);
    this.base ??= { txid: header.maxTxid, timeMs: header.timestampMs };
    const isExact = !isFirst && header.minTxid === this.txid + 1;
    const hasPre = header.preApplyChecksum !== NO_CHECKSUM;
    if (isExact && !this.#isReset && hasPre && header.preApplyChecksum !== this.checksum) {
      throw this.#violation(
        key,
        `expects database checksum ${hex(header.preApplyChecksum)}, it is ${hex(this.checksum)}`,
      );
    }
    this.#header = header;
    this.#key = key;
    this.#pagesInObject = 0;
  }

  #assertFreeSpace({ commit, pageSizeBytes }: LtxHeader, objectBytes: number): void {
    const writtenBytes = fstatSync(this.#fd).blocks * STAT_BLOCK_SIZE;
    const claim = { databaseBytes: commit * pageSizeBytes, writtenBytes, objectBytes };
    assertFreeSpace(claim, this.#openPath, this.#path);
  }

  #startOver(header: LtxHeader): void {
    this.#flush();
    this.#try("truncate", () => ftruncateSync(this.#fd, 0));
    this.pageSizeBytes = header.pageSizeBytes;
    this.#try("truncate the page sums of", () => this.#sums.clear());
  }

  /** Writes one page of the object. @throws WalrustError code "integrity" beyond the growth limit */
  page(pgno: number, data: Uint8Array): void {
    this.#growth.page(this.#key, pgno);
    pageChecksumInto(pgno, data, this.#sum);
    this.#setSum(pgno, this.#sum[0]!, this.#sum[1]!);
    this.#pagesInObject++;
    const offset = (pgno - 1) * this.pageSizeBytes;
    const isContiguous = this.#bufferOffset + this.#buffered === offset;
    if (!isContiguous || this.#buffered + data.length > this.#buffer.length) {
      this.#flush();
      this.#bufferOffset = offset;
    }
    this.#buffer.set(data, this.#buffered);
    this.#buffered += data.length;
  }

  /** Ends the object. @throws WalrustError code "integrity" when the file contradicts the object */
  end(key: string, trailer: LtxTrailer): void {
    const header = this.#header;
    if (header === null) throw new Error("end() without begin()");
    const pageCount = header.commit - (header.commit >= lockPgno(this.pageSizeBytes) ? 1 : 0);
    if (this.#isReset && this.#pagesInObject !== pageCount) {
      throw this.#violation(key, `changes the page size with ${this.#pagesInObject} of ${pageCount} pages`);
    }
    this.#growth.end(key, header.commit);
    this.#growth.keep();
    this.#resize(header.commit);
    this.txid = header.maxTxid;
    this.timeMs = header.timestampMs;
    const isUnchecked = (header.flags & FLAG_NO_CHECKSUM) !== 0;
    this.isProven = !isUnchecked;
    if (isUnchecked) this.hasChecksums = false;
    else if (trailer.postApplyChecksum !== this.checksum) {
      const found = `${hex(this.checksum)}, expected ${hex(trailer.postApplyChecksum)}`;
      throw this.#violation(key, `leads to database checksum ${found}`);
    }
    this.#header = null;
  }

  /** Makes the file `commit` pages long, and updates the sums of removed pages and of new zero pages. */
  #resize(commit: number): void {
    this.#flush();
    this.#try("write the page sums of", () => this.#sums.resize(commit, this.pageSizeBytes));
    this.#try("resize", () => ftruncateSync(this.#fd, commit * this.pageSizeBytes));
  }

  #setSum(pgno: number, low: number, high: number): void {
    this.#try("write the page sums of", () => this.#sums.set(pgno, low, high));
  }

  #flush(): void {
    let written = 0;
    while (written < this.#buffered) {
      const offset = this.#bufferOffset + written;
      written += this.#try("write", () =>
        writeSync(this.#fd, this.#buffer, written, this.#buffered - written, offset),
      );
    }
    this.#bufferOffset += this.#buffered;
    this.#buffered = 0;
  }

  /** Writes everything to the disk, durably. */
  sync(): void {
    this.#flush();
    this.#try("sync", () => fsyncSync(this.#fd));
  }

  close(): void {
    this.#sums.close();
    closeSync(this.#fd);
  }

  #try<T>(operation: string, run: () => T): T {
    try {
      return run();
    } catch (error) {
      const code = systemCode(error) ?? String(error);
      throw new WalrustError("database", `Cannot ${operation} ${this.#path}: ${code}`, {
        ...(code === "ENOSPC" ? { hint: "The disk is full; the target is unchanged" } : {}),
        cause: error,
      });
    }
  }

  #violation(key: string, what: string): WalrustError {
    return new WalrustError("integrity", `${key} ${what}`, {
      hint: "This object or one before it is damaged; run `walrust verify` and restore another point",
      context: { key, txid: this.txid },
    });
  }
}

function hex(checksum: Checksum): string {
  return checksum.toString(16).padStart(16, "0");
}
