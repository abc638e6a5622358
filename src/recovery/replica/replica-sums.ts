/**
 * Holds the page sums of a replica in memory, 8 bytes a page, and a batch of changes that is kept or dropped
 * as a whole.
 *
 * Invariants: entry i is the LTX page checksum of page i + 1, 0 for the lock page; `checksum` is their XOR
 * with bit 63 set. `batchChecksum` is the checksum with the open batch, which changes nothing else.
 */

import { Uint32List } from "../../database/files/scratch-buffers.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { type Checksum, lockPgno } from "../../format/types.ts";
import { SumXor } from "../../local/page-sums.ts";

const FIRST_PAGES = 256;

/** The sums of all pages, and of the pages that a transaction changes. */
export class ReplicaSums {
  #words = new Uint32Array(2 * FIRST_PAGES);
  #xor = new SumXor();
  #batchXor = new SumXor();
  readonly #pgnos = new Uint32List();
  readonly #low = new Uint32List();
  readonly #high = new Uint32List();
  readonly #sum = new Uint32Array(2);

  commit = 0;

  constructor(readonly pageSizeBytes: number) {}

  /** The database checksum without the batch. */
  get checksum(): Checksum {
    return this.#xor.checksum();
  }

  /** The database checksum with the batch. */
  get batchChecksum(): Checksum {
    return this.#batchXor.checksum();
  }

  /** Whether a page has this sum already. */
  isSame(pgno: number, low: number, high: number): boolean {
    const word = (pgno - 1) * 2;
    return pgno <= this.commit && this.#words[word] === low && this.#words[word + 1] === high;
  }

  /** Drops an open batch and begins one. */
  beginBatch(): void {
    this.#pgnos.clear();
    this.#low.clear();
    this.#high.clear();
    this.#batchXor = new SumXor();
    this.#batchXor.add(this.#xor.low, this.#xor.high);
  }

  /** Adds a page to the batch, each at most once. */
  add(pgno: number, page: Uint8Array): void {
    if (pgno === lockPgno(this.pageSizeBytes)) return;
    pageChecksumInto(pgno, page, this.#sum);
    const [low, high] = this.#sum as unknown as [number, number];
    if (pgno <= this.commit) this.#batchXor.add(this.#words[pgno * 2 - 2]!, this.#words[pgno * 2 - 1]!);
    this.#batchXor.add(low, high);
    this.#pgnos.push(pgno);
    this.#low.push(low);
    this.#high.push(high);
  }

  /** Takes the pages past `newCommit` out of the batch's checksum; none of them may have been added. */
  cut(newCommit: number): void {
    for (let pgno = newCommit + 1; pgno <= this.commit; pgno++) {
      this.#batchXor.add(this.#words[pgno * 2 - 2]!, this.#words[pgno * 2 - 1]!);
    }
  }

  /** Keeps the batch: the database is now `newCommit` pages long. */
  keepBatch(newCommit: number): void {
    this.#grow(newCommit);
    for (let i = 0; i < this.#pgnos.length; i++) {
      const word = (this.#pgnos.at(i) - 1) * 2;
      this.#words[word] = this.#low.at(i);
      this.#words[word + 1] = this.#high.at(i);
    }
    if (newCommit < this.commit) this.#words.fill(0, newCommit * 2, this.commit * 2);
    this.commit = newCommit;
    this.#xor = this.#batchXor;
    this.beginBatch();
  }

  #grow(pageCount: number): void {
    if (this.#words.length >= pageCount * 2) return;
    const words = new Uint32Array(Math.max(pageCount * 2, Math.ceil(this.#words.length * 1.5)));
    words.set(this.#words);
    this.#words = words;
  }
}

/**
 * Calls back for each page from `oldCommit` + 1 to `newCommit` that is not in `pgnos`, except the lock page.
 */
export function eachHole(
  oldCommit: number,
  newCommit: number,
  pgnos: Uint32Array,
  pageSizeBytes: number,
  onHole: (pgno: number) => void,
): void {
  const lock = lockPgno(pageSizeBytes);
  let next = 0;
  while (next < pgnos.length && pgnos[next]! <= oldCommit) next++;
  for (let pgno = oldCommit + 1; pgno <= newCommit; pgno++) {
    if (pgnos[next] === pgno) next++;
    else if (pgno !== lock) onHole(pgno);
  }
}
