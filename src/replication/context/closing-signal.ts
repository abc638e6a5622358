/**
 * Breaks off the work of one database when its watcher closes. The abort signal is made when work needs one,
 * and released when none is under way: hundreds of databases are idle, and a signal is their largest part.
 *
 * Invariants:
 * 1. All work that runs at one time has the same signal: `release` is called only while no work runs.
 * 2. A signal that is asked for after the close is aborted.
 */

/** The end of one watcher, for the work that it breaks off. */
export class ClosingSignal {
  #controller: AbortController | null = null;
  #isClosed = false;

  /** Whether the watcher closes or is closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Aborts when the watcher closes. Hold it no longer than the work that it ends. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  /** Breaks off all work, now and from here on. */
  close(): void {
    this.#isClosed = true;
    this.#controller ??= new AbortController();
    this.#controller.abort();
  }

  /** No work is under way: the next work makes a new signal. */
  release(): void {
    if (!this.#isClosed) this.#controller = null;
  }
}
