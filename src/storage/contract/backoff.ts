/**
 * Waits that grow: from the first wait of a policy by its factor up to the longest one, until a success
 * resets them. Holds no timer and reads no clock: the owner asks whether the wait is over.
 */

/** How waits grow. */
export interface BackoffPolicy {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Each wait is this many times the one before; 2 if absent. */
  readonly factor?: number;
}

/** The waits between attempts at something that one database does beside others. */
export const DEFAULT_BACKOFF: BackoffPolicy = { firstMs: 250, maxMs: 30_000 };

/** The waits between the attempts at one thing. */
export class Backoff {
  #waitMs: number;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(readonly policy: BackoffPolicy = DEFAULT_BACKOFF) {
    this.#waitMs = policy.firstMs;
  }

  /** The wait that `takeMs` returns next. */
  get nextMs(): number {
    return this.#waitMs;
  }

  /** Whether no wait lasts. @param nowMs the clock that `extend` was given */
  isOver(nowMs: number): boolean {
    return nowMs >= this.#untilMs;
  }

  /** An attempt failed: returns the wait after it, and lets the next one grow. */
  takeMs(): number {
    const waitMs = this.#waitMs;
    this.#waitMs = Math.min(this.policy.maxMs, waitMs * (this.policy.factor ?? 2));
    return waitMs;
  }

  /** An attempt failed: the next wait begins. @param maxMs the longest this wait may be */
  extend(nowMs: number, maxMs = Number.POSITIVE_INFINITY): void {
    this.#untilMs = nowMs + Math.min(maxMs, this.takeMs());
  }

  /**
   * An attempt failed, and the moment is known when the next one makes sense: the waits do not grow by it.
   */
  waitUntil(atMs: number): void {
    this.#untilMs = atMs;
  }

  /** An attempt succeeded, or a person insists: nothing waits, and the next wait is the first again. */
  reset(): void {
    this.#waitMs = this.policy.firstMs;
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }
}
