/**
 * How far a database may grow by pages that no object holds.
 *
 * SQLite writes every page that it adds to a database, so an object that says "the database has N pages now"
 * holds the new ones. A claim costs its author a few bytes; believing it costs memory, disk and time. So
 * pages nobody wrote count as zeros only up to a bound: 64 MB of them, and as many pages as really came.
 */
import { WalrustError } from "../../errors.ts";
import { lockPgno } from "../../format/types.ts";

/** What pages that nobody wrote may add at least. */
export const CLAIMED_SIZE_MAX = 64 << 20;

/** Watches the growth over all objects that are applied to one database. */
export class GrowthLimit {
  #pageSizeBytes = 0;
  #lockPgno = 0;
  #nextPgno = 1;
  /** Of the objects that were applied, and with the present one. */
  #kept = { heldPages: 0, claimedPages: 0 };
  #now = { heldPages: 0, claimedPages: 0 };

  /** Begins an object that is applied to a database of `commit` pages, instead of one that was not kept. */
  begin(commit: number, pageSizeBytes: number): void {
    this.#pageSizeBytes = pageSizeBytes;
    this.#lockPgno = lockPgno(pageSizeBytes);
    this.#nextPgno = commit + 1;
    this.#now = { ...this.#kept };
  }

  /** Takes note of a page, by ascending page number. @throws WalrustError code "integrity" past the limit */
  page(key: string, pgno: number): void {
    this.#now.heldPages++;
    if (pgno < this.#nextPgno) return;
    this.#claim(key, pgno - 1);
    this.#nextPgno = pgno + 1;
  }

  /** Ends the object, after which there are `commit` pages. @throws WalrustError code "integrity" */
  end(key: string, commit: number): void {
    if (commit >= this.#nextPgno) this.#claim(key, commit);
  }

  /** The object was applied. */
  keep(): void {
    this.#kept = this.#now;
  }

  /** Nobody wrote the pages up to `lastPgno`. */
  #claim(key: string, lastPgno: number): void {
    const isLockAmong = this.#nextPgno <= this.#lockPgno && this.#lockPgno <= lastPgno;
    this.#now.claimedPages += lastPgno - this.#nextPgno + 1 - (isLockAmong ? 1 : 0);
    const { claimedPages, heldPages } = this.#now;
    if (claimedPages <= CLAIMED_SIZE_MAX / this.#pageSizeBytes + heldPages) return;
    const found = `${claimedPages} new pages that no object holds, beside ${heldPages} that came`;
    throw new WalrustError("integrity", `${key} makes the database grow to ${lastPgno} pages: ${found}`, {
      hint: "The object is damaged or forged; run `walrust verify` and restore another point",
      context: { key },
    });
  }
}
