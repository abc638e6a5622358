/**
 * Buffers for synchronous file work, shared by the whole process. walrust captures synchronously and one
 * database at a time, so one set of buffers serves hundreds of databases. No buffer belongs to a database,
 * and the content of a buffer is lost at the next await.
 */

/** A buffer that grows to the largest requested size. A larger one than `keepSizeBytes` is not kept. */
class Scratch {
  #bytes = new Uint8Array(0);
  #takeCount = 0;

  constructor(readonly keepSizeBytes: number) {}

  /** Grows with each `take`: a user whose number is still the newest finds the content unchanged. */
  get takeCount(): number {
    return this.#takeCount;
  }

  /** The buffer that was taken last, if it was small enough to be kept. */
  peek(): Uint8Array {
    return this.#bytes;
  }

  /** At least `sizeBytes` bytes with arbitrary content. */
  take(sizeBytes: number): Uint8Array {
    this.#takeCount++;
    if (this.#bytes.length < sizeBytes) {
      const bytes = new Uint8Array(sizeBytes);
      if (sizeBytes <= this.keepSizeBytes) this.#bytes = bytes;
      return bytes;
    }
    return this.#bytes;
  }
}

/** For chunks of a WAL. */
export const walScratch = new Scratch(1 << 20);

/** For chunks of a database file. */
export const imageScratch = new Scratch(1 << 20);

/** For windows of a page-sum file. */
export const sumScratch = new Scratch(1 << 16);

/** A growable list of unsigned 32-bit numbers: 4 bytes an entry. */
export class Uint32List {
  #items = new Uint32Array(256);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const items = new Uint32Array(this.length * 2);
      items.set(this.#items);
      this.#items = items;
    }
    this.#items[this.length++] = value;
  }

  at(index: number): number {
    return this.#items[index]!;
  }

  /** A view of the items, valid until the next push. */
  view(): Uint32Array {
    return this.#items.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
    if (this.#items.length > 1 << 16) this.#items = new Uint32Array(256);
  }
}
