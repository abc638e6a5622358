/**
 * How far the loop is from looking at every database in time, and how much of its time checkpoints may take.
 *
 * With hundreds of busy databases, checkpoints take half of the time of the loop: each waits for two syncs of
 * the disk. A longer WAL costs little more, as SQLite copies a page once that many commits have changed. So
 * while the loop is slow, a WAL gets longer before walrust checkpoints it. Checkpoints also have a share of
 * the time: databases that began together would otherwise be checkpointed together, and nothing would be
 * captured for many seconds.
 *
 * One slow pass over all databases changes nothing: the disk may have stalled, or the process was stopped.
 */

/** Passes of this time make no difference: each database is still captured in time. */
const CALM_PASS_MS = 500;
/**
 * Two slow passes within this time make the loop a slow one, for this time after the last of them: the pass
 * after a slow one finds few databases that are due.
 */
const SLOW_MS = 10_000;
/** The share lasts longer by this time, so that the WALs that have waited are not checkpointed together. */
const AFTERWARDS_MS = 10_000;
/** The length of a WAL at its checkpoint while the loop is slow, as a multiple of the usual length. */
const STRETCH_MAX = 3;
/** The share of the time that checkpoints may take then. */
const SHARE = 0.3;
/** The most that is saved up. */
const SAVED_MS_MAX = 100;
/** The most that is owed, so that a stopped process does not owe hours. */
const OWED_MS_MAX = 1_000;

/** The load of the loop that all databases share. All times are on the monotonic clock, in ms. */
export class LoopLoad {
  /** Whether there are several databases: the checkpoints of a single one keep nobody waiting. */
  isShared = true;
  #stretch = 1;
  #lastSlowMs = Number.NEGATIVE_INFINITY;
  /** The last pass that made the loop a slow one. */
  #slowMs = Number.NEGATIVE_INFINITY;
  #savedMs = SAVED_MS_MAX;
  #countedMs = Number.NEGATIVE_INFINITY;

  /** By how much a WAL may be longer than usual before it is checkpointed: from 1 to 3. */
  get walStretch(): number {
    return this.isShared ? this.#stretch : 1;
  }

  /** The loop has passed over all databases. */
  passed(durationMs: number, nowMs: number): void {
    if (durationMs > CALM_PASS_MS) {
      if (nowMs - this.#lastSlowMs < SLOW_MS) {
        this.#slowMs = nowMs;
        this.#stretch = Math.max(this.#stretch, Math.min(STRETCH_MAX, durationMs / CALM_PASS_MS));
      }
      this.#lastSlowMs = nowMs;
    }
    if (nowMs - this.#slowMs >= SLOW_MS) this.#stretch = 1;
  }

  /** When the next checkpoint may begin, if it can wait; in the past: now. */
  freeAtMs(nowMs: number): number {
    if (!this.isShared || nowMs - this.#slowMs >= SLOW_MS + AFTERWARDS_MS) return Number.NEGATIVE_INFINITY;
    const passedMs = Math.max(0, nowMs - this.#countedMs);
    this.#countedMs = Math.max(this.#countedMs, nowMs);
    this.#savedMs = Math.min(SAVED_MS_MAX, this.#savedMs + passedMs * SHARE);
    return nowMs - this.#savedMs / SHARE;
  }

  /** A checkpoint has taken this time. */
  checkpointed(durationMs: number): void {
    this.#savedMs = Math.max(-OWED_MS_MAX, this.#savedMs - durationMs);
  }
}
