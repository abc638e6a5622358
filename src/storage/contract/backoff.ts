/**
 * The one computation of growing waits: between the attempts of a request, between the probes of an outage,
 * between the tries of a job that failed. A wait grows from the first one of a policy by its factor up to the
 * longest one, until a success resets it. Nothing here holds a timer, reads a clock or adds randomness.
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

/** Growth ends here: 2^1024 is Infinity, and 0 times that is no number. */
const EXPONENT_MAX = 1_000;

/** The wait after the failure `index` (from 0) of several in a row, in ms. Pure. */
export function backoffMs({ firstMs, maxMs, factor = 2 }: BackoffPolicy, index: number): number {
  return Math.min(maxMs, firstMs * factor ** Math.min(index, EXPONENT_MAX));
}

/** The waits between the attempts at one thing. */
export class Backoff {
  /** Failures since the last reset. */
  #failures = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(readonly policy: BackoffPolicy = DEFAULT_BACKOFF) {}

  /** The wait that `takeMs` returns next. */
  get nextMs(): number {
    return backoffMs(this.policy, this.#failures);
  }

  /** Whether no wait lasts. @param nowMs the clock that `extend` was given */
  isOver(nowMs: number): boolean {
    return nowMs >= this.#untilMs;
  }

  /** An attempt failed: returns the wait after it, and lets the next one grow. */
  takeMs(): number {
    const waitMs = this.nextMs;
    this.#failures++;
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
    this.#failures = 0;
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }
}
