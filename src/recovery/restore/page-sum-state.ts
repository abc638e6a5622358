/**
 * The state of a database as the sums of its pages: enough to know the database checksum after any object,
 * without the pages. A database under construction keeps one, and a trial of an object needs no more.
 *
 * Invariant: the checksum is the XOR of the sums of pages 1 to `commit` without the lock page. A page that no
 * object held is zeros.
 */
import { type Checksum, lockPgno } from "../../format/types.ts";
import { ZeroPages } from "../../format/zero-pages.ts";
import { SumXor } from "../../local/page-sums.ts";
import { BuiltSums } from "./built-sums.ts";

/** Page sums, and their XOR. */
export class PageSumState {
  readonly #sums: BuiltSums;
  readonly #zero = new Uint32Array(2);
  #xor = new SumXor();
  commit = 0;

  /** @param path where sums that exceed the memory are kept, under no name; nothing may have this name */
  constructor(path: string) {
    this.#sums = new BuiltSums(path);
  }

  /** The database checksum. */
  get checksum(): Checksum {
    return this.#xor.checksum();
  }

  /** Begins with an empty database. */
  clear(): void {
    this.commit = 0;
    this.#sums.clear();
    this.#xor = new SumXor();
  }

  set(pgno: number, low: number, high: number): void {
    this.#sums.read(pgno);
    this.#xor.add(this.#sums.low ^ low, this.#sums.high ^ high);
    this.#sums.set(pgno, low, high);
  }

  /** Removes the pages after `commit`, and fills up with zero pages. */
  resize(commit: number, pageSizeBytes: number): void {
    for (let pgno = commit + 1; pgno <= this.commit; pgno++) this.set(pgno, 0, 0);
    const lock = lockPgno(pageSizeBytes);
    const zeros = ZeroPages.of(pageSizeBytes);
    for (let pgno = this.commit + 1; pgno <= commit; pgno++) {
      if (pgno === lock) continue;
      this.#sums.read(pgno);
      if (this.#sums.high !== 0) continue;
      zeros.sumInto(pgno, this.#zero);
      this.set(pgno, this.#zero[0]!, this.#zero[1]!);
    }
    this.commit = commit;
  }

  /** Calls back with the sum of each page, in page order. */
  each(onSum: (low: number, high: number) => void): void {
    for (let pgno = 1; pgno <= this.commit; pgno++) {
      this.#sums.read(pgno);
      onSum(this.#sums.low, this.#sums.high);
    }
  }

  close(): void {
    this.#sums.close();
  }
}
