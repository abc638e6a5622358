/**
 * Writes to stdout or stderr in order, without waiting for the reader. A failed write never ends the work: a
 * reader that went away, or a full disk, fails single writes, and later writes are tried anew.
 *
 * Invariant: accepted text is written before the process ends, if `flushed` is awaited. A pipe holds 64 KB;
 * the rest waits in memory.
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
   * @param waitingBytesMax drop the text when more than this already waits for the reader
   * @param onFailed receives the system's code of a failed write, such as "ENOSPC"
   * @returns false when the text was dropped
   */
  write(
    text: string,
    waitingBytesMax = Number.POSITIVE_INFINITY,
    onFailed: (reason: string) => void = () => {},
  ): boolean {
    if (this.#waitingBytes > waitingBytesMax) return false;
    const stream = process[this.name];
    // Each write reports its own failure; an unheard error event would end the process.
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

  /** Resolves when no text waits any more. */
  flushed(): Promise<void> {
    if (this.#waitingBytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }
}
