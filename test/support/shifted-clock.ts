/**
 * The system's clocks with an offset that a test moves: hours pass in no time, and the wall clock jumps
 * without the monotonic one. Sleeps stay real.
 */
import type { Env } from "../../src/env.ts";

/** Parts of an Env whose clocks can be moved. */
export class ShiftedClock {
  #wallOffsetMs = 0;
  #monotonicOffsetMs = 0;

  /** What replaces the clocks of an Env. */
  readonly overrides: Pick<Env, "nowMs" | "monotonicMs"> = {
    nowMs: () => Date.now() + this.#wallOffsetMs,
    monotonicMs: () => performance.now() + this.#monotonicOffsetMs,
  };

  /** Time passes, on both clocks. */
  pass(durationMs: number): void {
    this.#wallOffsetMs += durationMs;
    this.#monotonicOffsetMs += durationMs;
  }

  /** The wall clock is set anew; no time passes. */
  jump(offsetMs: number): void {
    this.#wallOffsetMs += offsetMs;
  }
}

/** A day. */
export const DAY_MS = 86_400_000;
/** An hour. */
export const HOUR_MS = 3_600_000;
