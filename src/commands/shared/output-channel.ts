/**
 * Stdout and stderr as they are written to here: in order, never waiting for whoever reads them, and never
 * the end of the work when they cannot be written to. A reader that went away, or a disk that is full, fails
 * single writes; replication goes on, and later writes are tried anew.
 *
 * Invariant: what was taken is written before the process ends, if somebody awaits `flushed`. A pipe holds
 * 64 KB; the rest waits in memory.
 */
import { errorMessage, systemCode } from "../../errors.ts";

/** A standard stream. */
export class OutputChannel {
  #waitingBytes = 0;
  #waiters: (() => void)[] = [];
  #isListening = false;

  constructor(readonly name: "stdout" | "stderr") {}

  /**
   * Writes a text.
   * @param waitingBytesMax leave it out when more than this waits for the reader already
   * @param onFailed told why it could not be written, as the system calls it: "ENOSPC"
   * @returns false when it is left out
   */
  write(
    text: string,
    waitingBytesMax = Number.POSITIVE_INFINITY,
    onFailed: (reason: string) => void = () => {},
  ): boolean {
    if (this.#waitingBytes > waitingBytesMax) return false;
    const stream = process[this.name];
    // Each write learns of its own failure; the stream's event would end the process.
    if (!this.#isListening) stream.on("error", () => {});
    this.#isListening = true;
    const sizeBytes = Buffer.byteLength(text);
    this.#waitingBytes += sizeBytes;
    stream.write(text, (error) => {
      this.#waitingBytes -= sizeBytes;
      if (error) onFailed(systemCode(error) ?? errorMessage(error));
      if (this.#waitingBytes === 0) for (const wake of this.#waiters.splice(0)) wake();
    });
    return true;
  }

  /** Resolves when nothing waits any more. */
  flushed(): Promise<void> {
    if (this.#waitingBytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }
}
