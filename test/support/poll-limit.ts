/**
 * The limit of a wait that polls. A machine that stands still for seconds, as a shared one does, stops the
 * awaited work too. So each poll counts for a short time at most, and a wait ends only after many polls.
 */

/** The longest that one poll counts, with the pause after it. */
const POLL_MAX_MS = 10;

/** The time that a wait has left: ask once per poll. */
export class PollLimit {
  #leftMs: number;
  #polledMs = performance.now();

  /** @param pollMaxMs the longest that one poll counts */
  constructor(
    limitMs: number,
    readonly pollMaxMs = POLL_MAX_MS,
  ) {
    this.#leftMs = limitMs;
  }

  /** Counts the time since the last poll. @returns whether the limit is reached */
  isOver(): boolean {
    const nowMs = performance.now();
    this.#leftMs -= Math.min(this.pollMaxMs, nowMs - this.#polledMs);
    this.#polledMs = nowMs;
    return this.#leftMs < 0;
  }
}
