/**
 * Answers questions about the TXID ranges of a listing, each in log n: which object covers a range, whether
 * one lies within it, and how far increments lead. A bucket may hold tens of thousands of objects, and one
 * loop serves all databases.
 */
import type { LtxObject } from "../../storage/bucket/catalog.ts";

type Range = Pick<LtxObject, "minTxid" | "maxTxid">;

/** Objects by ascending min TXID, with the greatest max TXID up to each of them. */
export class TxidRanges<T extends Range> {
  readonly #objects: readonly T[];
  readonly #maxUpTo: number[] = [];
  /** The least max TXID from each object on. */
  readonly #minFrom: number[];
  /** The end of the contiguous run that holds each object. */
  readonly #runEnd: number[];

  constructor(objects: readonly T[]) {
    this.#objects = [...objects].sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
    let max = 0;
    for (const { maxTxid } of this.#objects) {
      max = Math.max(max, maxTxid);
      this.#maxUpTo.push(max);
    }
    const count = this.#objects.length;
    this.#minFrom = new Array(count);
    this.#runEnd = new Array(count);
    let least = Number.POSITIVE_INFINITY;
    for (let index = count - 1; index >= 0; index--) {
      least = Math.min(least, this.#objects[index]!.maxTxid);
      this.#minFrom[index] = least;
      const next = this.#objects[index + 1];
      const goesOn = next !== undefined && next.minTxid <= this.#maxUpTo[index]! + 1;
      this.#runEnd[index] = goesOn ? this.#runEnd[index + 1]! : this.#maxUpTo[index]!;
    }
  }

  /** The object with the least min TXID that holds all TXIDs of a range, or null. */
  firstCoverOrNull({ minTxid, maxTxid }: Range): T | null {
    const index = firstIndex(this.#maxUpTo.length, (at) => this.#maxUpTo[at]! >= maxTxid);
    const found = this.#objects[index];
    return found !== undefined && found.minTxid <= minTxid ? found : null;
  }

  /** Whether all TXIDs of some object lie in a range. */
  hasWithin({ minTxid, maxTxid }: Range): boolean {
    const index = firstIndex(this.#objects.length, (at) => this.#objects[at]!.minTxid >= minTxid);
    return (this.#minFrom[index] ?? Number.POSITIVE_INFINITY) <= maxTxid;
  }

  /** Whether any object leads on from a state at `txid`. */
  leadsOn(txid: number): boolean {
    const last = this.#lastFrom(txid);
    return last >= 0 && this.#maxUpTo[last]! > txid;
  }

  /** The TXID that objects lead to from a state at `txid` without a hole. */
  reachFrom(txid: number): number {
    const last = this.#lastFrom(txid);
    return last >= 0 && this.#maxUpTo[last]! >= txid ? this.#runEnd[last]! : txid;
  }

  /** The last object that begins at or before what follows `txid`, or -1. */
  #lastFrom(txid: number): number {
    return firstIndex(this.#objects.length, (at) => this.#objects[at]!.minTxid > txid + 1) - 1;
  }
}

/** The first index below `length` from which on a condition holds, or `length`. */
function firstIndex(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
