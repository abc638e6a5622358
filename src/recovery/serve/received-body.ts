/**
 * The body of a request while it is received and judged: a small body in memory, a larger one in a file
 * without a name, which the system frees in any case. So a body never takes memory in proportion to its size,
 * and a killed process leaves nothing.
 */
import { closeSync, readSync, rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { createTemp, writeWhole } from "../../local/own-file.ts";

/** Bodies up to this size stay in memory. */
const IN_MEMORY_SIZE = 64 << 10;
const CHUNK_SIZE = 256 << 10;

/** One body. `write` until it is complete, then `chunks` or `range`; `close` in any case. */
export class ReceivedBody {
  readonly #bytes: Uint8Array | null;
  readonly #fd: number;
  #receivedBytes = 0;
  #isClosed = false;

  /**
   * @param filePath the path beside which a large body is kept
   * @throws WalrustError code "database" when the file cannot be made
   */
  constructor(
    readonly sizeBytes: number,
    filePath: string,
  ) {
    const isSmall = sizeBytes <= IN_MEMORY_SIZE;
    this.#bytes = isSmall ? new Uint8Array(sizeBytes) : null;
    this.#fd = isSmall ? -1 : openNameless(filePath);
  }

  /** How many bytes are missing. */
  get missingBytes(): number {
    return this.sizeBytes - this.#receivedBytes;
  }

  /** Takes the next bytes, at most `missingBytes`. @throws WalrustError code "database", retryable */
  write(bytes: Uint8Array): void {
    if (this.#bytes !== null) this.#bytes.set(bytes, this.#receivedBytes);
    else withDiskError("write", () => writeWhole(this.#fd, bytes, this.#receivedBytes));
    this.#receivedBytes += bytes.length;
  }

  /** The bytes in order; a chunk is valid until the next one. Others have their turn between two chunks. */
  async *chunks(env: Pick<Env, "turn">): AsyncGenerator<Uint8Array> {
    if (this.#bytes !== null) return yield this.#bytes;
    const chunk = new Uint8Array(CHUNK_SIZE);
    for (let offset = 0; offset < this.sizeBytes; offset += CHUNK_SIZE) {
      const length = Math.min(CHUNK_SIZE, this.sizeBytes - offset);
      yield this.#read(chunk.subarray(0, length), offset);
      await env.turn();
    }
  }

  /** Up to `length` bytes from `offset`. */
  range(offset: number, length: number): Uint8Array {
    const end = Math.min(this.sizeBytes, offset + length);
    if (this.#bytes !== null) return this.#bytes.slice(offset, end);
    return this.#read(new Uint8Array(Math.max(0, end - offset)), offset);
  }

  close(): void {
    if (this.#fd >= 0 && !this.#isClosed) closeSync(this.#fd);
    this.#isClosed = true;
  }

  #read(target: Uint8Array, offset: number): Uint8Array {
    const count = withDiskError("read", () => readSync(this.#fd, target, 0, target.length, offset));
    if (count === target.length) return target;
    throw new WalrustError("database", `Cannot read a received object: it ends at byte ${offset + count}`);
  }
}

function openNameless(path: string): number {
  const temp = withDiskError("create", () => createTemp(path));
  rmSync(temp.path, { force: true });
  return temp.fd;
}

function withDiskError<T>(operation: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const code = systemCode(error) ?? String(error);
    throw new WalrustError("database", `Cannot ${operation} the file of a received object: ${code}`, {
      hint: "The folder of the replica must be writable and have room for the object",
      retryable: true,
      cause: error,
    });
  }
}
