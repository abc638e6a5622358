/**
 * The system's clocks with an offset that a test moves: hours pass at once, and the wall clock can jump
 * without the monotonic one. Sleeps stay real.
 */
import type { Env } from "../../src/env.ts";

/** Clock functions of an Env, with offsets. */
export class ShiftedClock {
  #wallOffsetMs = 0;
  #monotonicOffsetMs = 0;

  /** The clock functions to override in an Env. */
  readonly overrides: Pick<Env, "nowMs" | "monotonicMs"> = {
    nowMs: () => Date.now() + this.#wallOffsetMs,
    monotonicMs: () => performance.now() + this.#monotonicOffsetMs,
  };

  /** Advances both clocks. */
  pass(durationMs: number): void {
    this.#wallOffsetMs += durationMs;
    this.#monotonicOffsetMs += durationMs;
  }

  /** Sets the wall clock; the monotonic clock does not move. */
  jump(offsetMs: number): void {
    this.#wallOffsetMs += offsetMs;
  }
}

/** Milliseconds of a day. */
export const DAY_MS = 86_400_000;
/** Milliseconds of an hour. */
export const HOUR_MS = 3_600_000;
