/**
 * A set of folders in 8 to 16 bytes each. It holds hashes of 32 bits, so it may take a folder for another
 * one, once in millions. A `Set` of strings keeps some 200 bytes for each folder, and hundreds of databases
 * have some folders each.
 */

const SLOTS_MIN = 64;
/** Marks a slot that holds nothing. */
const EMPTY = 0;

/** A set of folders. */
export class FolderMemory {
  /** Hashes, each in the first free slot from its remainder on. At most half of the slots are taken. */
  #slots = new Int32Array(SLOTS_MIN);
  #count = 0;

  /** Whether the set holds a folder. */
  has(folder: string): boolean {
    return this.#slots[this.#slotOf(hashOf(folder))] !== EMPTY;
  }

  /** Adds a folder. */
  add(folder: string): void {
    this.#insert(hashOf(folder));
  }

  /** Removes a folder, in time proportional to the size of the set. */
  delete(folder: string): void {
    const removed = hashOf(folder);
    const hashes = this.#slots.filter((hash) => hash !== EMPTY && hash !== removed);
    this.#refill(hashes, this.#slots.length);
  }

  #insert(hash: number): void {
    const slot = this.#slotOf(hash);
    if (this.#slots[slot] === hash) return;
    this.#slots[slot] = hash;
    this.#count++;
    if (this.#count * 2 <= this.#slots.length) return;
    this.#refill(
      this.#slots.filter((one) => one !== EMPTY),
      this.#slots.length * 2,
    );
  }

  #refill(hashes: Int32Array, slotCount: number): void {
    this.#slots = new Int32Array(slotCount);
    this.#count = 0;
    for (const hash of hashes) this.#insert(hash);
  }

  /** The slot that holds a hash, or the free one where it belongs. */
  #slotOf(hash: number): number {
    const last = this.#slots.length - 1;
    let slot = hash & last;
    while (this.#slots[slot] !== EMPTY && this.#slots[slot] !== hash) slot = (slot + 1) & last;
    return slot;
  }
}

function hashOf(folder: string): number {
  return Bun.hash.crc32(folder) | 0 || 1;
}
