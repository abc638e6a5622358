/**
 * Limits the share of time for which attempts at write locks block the loop, over all databases of a process.
 * Writers that hardly leave the lock would otherwise stop the uploads and captures of every other database:
 * each of them blocks the loop at each look.
 */

/** The share of time that attempts may block while other databases wait. */
const SHARE = 0.25;
/** The most blocked time that is saved up while no database blocks. */
const SAVED_MS_MAX = 1_000;

/** The most that is owed: a process that is stopped within an attempt must not owe hours. */
const OWED_MS_MAX = 1_000;

/** The time that attempts may still block, which grows with the clock. */
export class BlockingBudget {
  /** Whether there are other databases: the attempts of a single one keep nobody waiting. */
  isShared = true;
  #savedMs = SAVED_MS_MAX;
  #countedMs = Number.NEGATIVE_INFINITY;

  /** The time that an attempt may block now. @param nowMs the monotonic clock */
  availableMs(nowMs: number): number {
    const passedMs = Math.max(0, nowMs - this.#countedMs);
    this.#countedMs = nowMs;
    this.#savedMs = Math.min(SAVED_MS_MAX, this.#savedMs + passedMs * (this.isShared ? SHARE : 1));
    return Math.max(0, this.#savedMs);
  }

  /** An attempt has blocked the loop in vain. */
  spent(durationMs: number): void {
    this.#savedMs = Math.max(-OWED_MS_MAX, this.#savedMs - durationMs);
  }
}
