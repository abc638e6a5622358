/**
 * Writes to stdout or stderr in order, without waiting for the reader. A failed write never ends the work: a
 * reader that went away, or a full disk, fails single writes, and later writes are tried anew.
 *
 * Invariant: accepted text is written before the process ends, if `flushed` is awaited. A pipe holds 64 KB;
 * the rest waits in memory. A bar stays the last line of a terminal: other text goes above it.
 */
import { errorMessage, systemCode } from "../../errors.ts";

/** Returns to the begin of the line and clears it. */
const CLEAR_LINE = "\r\x1b[K";

/** A standard stream. */
export class OutputChannel {
  #waitingBytes = 0;
  #waiters: (() => void)[] = [];
  #isListening = false;
  #bar: string | null = null;

  constructor(readonly name: "stdout" | "stderr") {}

  /**
   * Shows a text as the last line of a terminal, or removes it.
   * @param waitingBytesMax as for `write`
   */
  showBar(text: string | null, waitingBytesMax?: number): void {
    if (text === this.#bar) return;
    const before = this.#bar;
    const cleared = before === null ? "" : CLEAR_LINE;
    this.#bar = null;
    const isWritten = this.write(`${cleared}${text ?? ""}`, text === null ? undefined : waitingBytesMax);
    this.#bar = isWritten ? text : before;
  }

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
    const shown = this.#bar === null ? text : `${CLEAR_LINE}${text}${this.#bar}`;
    const sizeBytes = Buffer.byteLength(shown);
    this.#waitingBytes += sizeBytes;
    stream.write(shown, (error) => {
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
