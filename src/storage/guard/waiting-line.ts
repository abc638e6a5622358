/**
 * A line of callers that wait for a place or for memory: first come, first served. A caller whose signal
 * aborts leaves the line. Nothing is held for a caller except its entry here.
 */

/** Callers that wait, in the order in which they came. */
export class WaitingLine {
  readonly #waiting = new Map<() => void, number>();

  /** How many callers wait. */
  get length(): number {
    return this.#waiting.size;
  }

  /** The bytes that the first caller needs. */
  get nextBytes(): number {
    for (const bytes of this.#waiting.values()) return bytes;
    return 0;
  }

  /**
   * Waits until served. The caller of `serve` has taken the place or the bytes by then.
   * @throws the signal's reason when it aborts before that
   */
  wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = (): void => {
        this.#waiting.delete(onServed);
        reject(signal?.reason);
      };
      const onServed = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#waiting.set(onServed, bytes);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Serves the first caller. */
  serve(): void {
    for (const onServed of this.#waiting.keys()) {
      this.#waiting.delete(onServed);
      return onServed();
    }
  }
}
