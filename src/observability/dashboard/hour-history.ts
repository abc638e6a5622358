/**
 * The sums of the last hour, for the sparklines of the page. Made when the page is first opened, and fed by
 * its requests alone: no timer runs for it, and a time without an open page is a gap.
 *
 * Invariant: 5 KB, whatever the number of databases and requests.
 */
import type { HourOfSums } from "./dashboard-document.ts";

const STEP_MS = 30_000;
const STEP_COUNT = 120;

/** The sums at one moment. */
export interface Sums {
  /** Null while it is not known. */
  readonly lagSeconds: number | null;
  readonly notHealthy: number;
  readonly pendingBytes: number;
  /** Counted since the start of the process. */
  readonly uploads: number;
  readonly uploadBytes: number;
}

/** The counters when a step began. */
interface Base {
  readonly atMs: number;
  readonly uploads: number;
  readonly uploadBytes: number;
}

/** A ring of steps of 30 s; a step without a value holds NaN. */
export class HourHistory {
  readonly #lag = newRing();
  readonly #notHealthy = newRing();
  readonly #pending = newRing();
  readonly #uploads = newRing();
  readonly #bytes = newRing();
  /** Number of the newest step since the start of the clock; -1 before the first. */
  #step = -1;
  #firstStep = -1;
  #base: Base | null = null;
  #last: Base | null = null;

  /** Takes the sums of this moment. @param nowMs the monotonic clock */
  add(sums: Sums, nowMs: number): void {
    const step = Math.max(this.#step, Math.floor(nowMs / STEP_MS));
    const now = { atMs: nowMs, uploads: sums.uploads, uploadBytes: sums.uploadBytes };
    if (step !== this.#step) this.#begin(step, now);
    const slot = step % STEP_COUNT;
    for (const [ring, value] of [
      [this.#lag, sums.lagSeconds],
      [this.#notHealthy, sums.notHealthy],
      [this.#pending, sums.pendingBytes],
    ] as const) {
      if (value !== null) ring[slot] = Number.isNaN(ring[slot]) ? value : Math.max(ring[slot]!, value);
    }
    const base = this.#base ?? now;
    const seconds = (nowMs - base.atMs) / 1000;
    if (seconds > 0) {
      this.#uploads[slot] = (sums.uploads - base.uploads) / seconds;
      this.#bytes[slot] = (sums.uploadBytes - base.uploadBytes) / seconds;
    }
    this.#last = now;
  }

  /** The steps from the first one of the last hour to the newest. */
  get hour(): HourOfSums {
    const first = Math.max(this.#firstStep, this.#step - STEP_COUNT + 1);
    const steps: number[] = [];
    for (let step = first; step <= this.#step && step >= 0; step++) steps.push(step % STEP_COUNT);
    const valuesOf = (ring: Float64Array): (number | null)[] =>
      steps.map((slot) => numberOrNull(ring[slot]!));
    return {
      step_seconds: STEP_MS / 1000,
      lag_seconds: valuesOf(this.#lag),
      not_healthy: valuesOf(this.#notHealthy),
      pending_bytes: valuesOf(this.#pending),
      uploads_per_second: valuesOf(this.#uploads),
      upload_bytes_per_second: valuesOf(this.#bytes),
    };
  }

  /** Empties the steps that no request has met. */
  #begin(step: number, now: Base): void {
    if (this.#firstStep === -1) this.#firstStep = step;
    const rings = [this.#lag, this.#notHealthy, this.#pending, this.#uploads, this.#bytes];
    const emptied = this.#step === -1 ? 0 : Math.min(STEP_COUNT, step - this.#step);
    for (let back = 0; back < emptied; back++) {
      for (const ring of rings) ring[(step - back) % STEP_COUNT] = Number.NaN;
    }
    this.#step = step;
    this.#base = this.#last ?? now;
  }
}

function newRing(): Float64Array {
  return new Float64Array(STEP_COUNT).fill(Number.NaN);
}

/** Three digits are enough for a line of 30 pixels. */
function numberOrNull(value: number): number | null {
  return Number.isNaN(value) ? null : Math.round(value * 1000) / 1000;
}
