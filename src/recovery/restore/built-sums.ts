/**
 * The page sums of a database under construction: two 32-bit words for each page, 0 where no page was
 * written.
 *
 * Memory is at most 4 MB, whatever the size of the database: the sums of 2 GB with pages of 4 KB. Of a larger
 * database, the windows used longest ago go to a file beside the database. That file has no name, so a crash
 * leaves nothing of it.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";

const WINDOW_PAGES = 8192;
const WINDOW_BYTES = WINDOW_PAGES * 8;
const WINDOWS_HELD_MAX = 64;

interface Window {
  readonly index: number;
  readonly words: Uint32Array;
  isChanged: boolean;
}

/** Page sums by page number. */
export class BuiltSums {
  readonly #path: string;
  #fd: number | null = null;
  /** The windows in memory, the one used longest ago first. */
  readonly #held = new Map<number, Window>();
  #current: Window | null = null;
  low = 0;
  high = 0;

  /** @param path where the file is made, if it is needed; nothing may have this name */
  constructor(path: string) {
    this.#path = path;
  }

  /** Reads the sum of a page into `low` and `high`. */
  read(pgno: number): void {
    const { words } = this.#windowOf(pgno);
    const at = ((pgno - 1) % WINDOW_PAGES) * 2;
    this.low = words[at]!;
    this.high = words[at + 1]!;
  }

  set(pgno: number, low: number, high: number): void {
    const window = this.#windowOf(pgno);
    const at = ((pgno - 1) % WINDOW_PAGES) * 2;
    window.words[at] = low;
    window.words[at + 1] = high;
    window.isChanged = true;
  }

  /** Sets all sums to 0. */
  clear(): void {
    this.#held.clear();
    this.#current = null;
    if (this.#fd !== null) ftruncateSync(this.#fd, 0);
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #windowOf(pgno: number): Window {
    const index = Math.floor((pgno - 1) / WINDOW_PAGES);
    if (this.#current?.index === index) return this.#current;
    let window = this.#held.get(index);
    if (window === undefined) {
      if (this.#held.size >= WINDOWS_HELD_MAX) this.#evict();
      window = { index, words: this.#load(index), isChanged: false };
    }
    this.#held.delete(index);
    this.#held.set(index, window);
    this.#current = window;
    return window;
  }

  #evict(): void {
    const [oldest] = this.#held.values();
    if (oldest === undefined) return;
    this.#held.delete(oldest.index);
    if (!oldest.isChanged) return;
    this.#fd ??= createNameless(this.#path);
    const bytes = new Uint8Array(oldest.words.buffer);
    const start = oldest.index * WINDOW_BYTES;
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#fd, bytes, written, bytes.length - written, start + written);
    }
  }

  /** A window that was never written is past the end of the file, or a hole in it. */
  #load(index: number): Uint32Array {
    const words = new Uint32Array(WINDOW_PAGES * 2);
    if (this.#fd === null) return words;
    readSync(this.#fd, new Uint8Array(words.buffer), 0, WINDOW_BYTES, index * WINDOW_BYTES);
    return words;
  }
}

function createNameless(path: string): number {
  const fd = openSync(path, "wx+", 0o600);
  rmSync(path, { force: true });
  return fd;
}
