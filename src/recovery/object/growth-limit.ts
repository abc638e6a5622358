/**
 * Limits the growth of a database by pages that no object holds.
 *
 * SQLite writes every page that it adds to a database, so an object that claims N pages holds the new ones. A
 * claim costs its author a few bytes; to believe it costs memory, disk and time. Pages that no object holds
 * therefore count as zeros only up to a limit: 64 MB, and as many pages as really came.
 */
import { WalrustError } from "../../errors.ts";
import { lockPgno } from "../../format/types.ts";

/** Pages that no object holds may add this many bytes in any case. */
export const CLAIMED_SIZE_MAX = 64 << 20;

/** Counts the growth over all objects that are applied to one database. */
export class GrowthLimit {
  #pageSizeBytes = 0;
  #lockPgno = 0;
  #nextPgno = 1;
  /** The counts of all applied objects, and the counts with the present object. */
  #kept = { heldPages: 0, claimedPages: 0 };
  #now = { heldPages: 0, claimedPages: 0 };

  /** Begins an object on a database of `commit` pages. An object before it that was not kept is forgotten. */
  begin(commit: number, pageSizeBytes: number): void {
    this.#pageSizeBytes = pageSizeBytes;
    this.#lockPgno = lockPgno(pageSizeBytes);
    this.#nextPgno = commit + 1;
    this.#now = { ...this.#kept };
  }

  /** Counts a page; pages come by ascending number. @throws WalrustError code "integrity" past the limit */
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

  /** Keeps the counts of the present object: it was applied. */
  keep(): void {
    this.#kept = this.#now;
  }

  /** Counts the pages up to `lastPgno`, which no object holds. */
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
