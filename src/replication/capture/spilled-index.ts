/**
 * The page index of a large LTX file, in a temporary file of the spool folder until the pages are written:
 * some 10 bytes a page, which are 50 MB for a database of 20 GB. The encoder holds the index of a small file
 * itself, and no file is made.
 *
 * The file has no name from its begin on, so a crash leaves nothing.
 */
import { closeSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../errors.ts";
import type { IndexStore } from "../../format/ltx-encoder.ts";
import { createTemp, writeWhole } from "../../local/own-file.ts";

const CHUNK_SIZE = 256 << 10;

/** Holds the index of one file. Close it after the file is finished or given up. */
export class SpilledIndex implements IndexStore {
  readonly #folder: string;
  #fd: number | null = null;
  #sizeBytes = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws WalrustError code "database", retryable, when the disk refuses the bytes */
  append(bytes: Uint8Array): void {
    try {
      this.#fd ??= createNameless(join(this.#folder, "index"));
      writeWhole(this.#fd, bytes);
    } catch (cause) {
      const message = `Cannot write a page index in ${this.#folder}`;
      throw new WalrustError("database", message, { retryable: true, cause });
    }
    this.#sizeBytes += bytes.length;
  }

  *chunks(): Generator<Uint8Array> {
    if (this.#fd === null) return;
    const chunk = new Uint8Array(Math.min(CHUNK_SIZE, this.#sizeBytes));
    for (let offset = 0; offset < this.#sizeBytes; ) {
      const read = readSync(this.#fd, chunk, 0, Math.min(chunk.length, this.#sizeBytes - offset), offset);
      if (read === 0) throw new WalrustError("database", `A page index in ${this.#folder} became shorter`);
      yield chunk.subarray(0, read);
      offset += read;
    }
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

function createNameless(path: string): number {
  const { fd, path: tempPath } = createTemp(path);
  rmSync(tempPath, { force: true });
  return fd;
}
