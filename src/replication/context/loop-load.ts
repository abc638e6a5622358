/**
 * How far the loop is from looking at every database in time, and how much of its time checkpoints may take.
 *
 * With hundreds of busy databases, checkpoints take half of the time of the loop: each waits for two syncs of
 * the disk. A checkpoint costs the same whether the WAL is short or long, because SQLite copies each changed
 * page once. So while the loop is slow, a WAL gets longer before walrust checkpoints it, and checkpoints have
 * a share of the time: databases that began together would otherwise be checkpointed together, and nothing
 * would be captured for many seconds.
 */

/** Passes over all databases of this time make no difference: each database is still captured in time. */
const CALM_PASS_MS = 500;
/** A slow pass counts for this time: the pass after it finds few databases that are due. */
const SLOW_HOLD_MS = 10_000;
/** The length of a WAL that is checkpointed if the share is not spent, as a multiple of the usual length. */
const STRETCH_MAX = 3;
/** The length from which on a WAL is checkpointed in any case. */
const LENGTH_MAX = 6;
/** The share of the time that checkpoints of shorter WALs may take while the loop is slow. */
const SHARE = 0.3;
/** The most that is saved up, or owed. */
const SAVED_MS_MAX = 100;

/** The load of the loop that all databases share. */
export class LoopLoad {
  #stretch = 1;
  #slowMs = Number.NEGATIVE_INFINITY;
  #savedMs = SAVED_MS_MAX;
  #countedMs = Number.NEGATIVE_INFINITY;

  /** By how much a WAL may be longer than usual before it is checkpointed: from 1 to 3. */
  get walStretch(): number {
    return this.#stretch;
  }

  /** The loop has passed over all databases. @param nowMs the monotonic clock */
  passed(durationMs: number, nowMs: number): void {
    const stretch = Math.min(STRETCH_MAX, Math.max(1, durationMs / CALM_PASS_MS));
    if (stretch < this.#stretch && nowMs - this.#slowMs < SLOW_HOLD_MS) return;
    this.#stretch = stretch;
    this.#slowMs = nowMs;
  }

  /**
   * Whether a checkpoint may begin now.
   * @param length length of the WAL as a multiple of the usual length
   * @param nowMs the monotonic clock
   */
  mayCheckpoint(length: number, nowMs: number): boolean {
    const passedMs = Math.max(0, nowMs - this.#countedMs);
    this.#countedMs = nowMs;
    this.#savedMs = Math.min(SAVED_MS_MAX, this.#savedMs + passedMs * SHARE);
    return this.#stretch === 1 || length >= LENGTH_MAX || this.#savedMs > 0;
  }

  /** A checkpoint has taken this time. */
  checkpointed(durationMs: number): void {
    this.#savedMs = Math.max(-SAVED_MS_MAX, this.#savedMs - durationMs);
  }
}
