/**
 * PURE: the lag of each database in the last hour, kept in the page. A database that was never behind costs
 * nothing. A step in which the lag was not known is a gap.
 */
import type { Values } from "./sparkline.ts";

const STEP_MS = 30_000;
/** The steps of an hour. */
export const LAG_STEPS = 120;

/** Lag by database and step of 30 s; the most of each step. */
export class LagMemory {
  readonly #rings = new Map<string, Float32Array>();
  #step = -1;
  #firstStep = -1;

  /** Takes the lags of this moment, in seconds. @param nowMs a clock that never jumps */
  add(lags: Iterable<{ readonly name: string; readonly lag: number | null }>, nowMs: number): void {
    const step = Math.floor(nowMs / STEP_MS);
    if (this.#firstStep === -1) this.#firstStep = step;
    const skipped = this.#step === -1 ? 0 : Math.min(LAG_STEPS, step - this.#step);
    for (const ring of this.#rings.values()) {
      // The steps without a request keep NaN; the present one begins at 0.
      for (let back = 0; back < skipped; back++)
        ring[(step - back) % LAG_STEPS] = back === 0 ? 0 : Number.NaN;
    }
    this.#step = step;
    const names = new Set<string>();
    for (const { name, lag } of lags) {
      names.add(name);
      const ring = this.#rings.get(name) ?? (lag === 0 ? null : this.#newRing(name));
      // NaN stays NaN: once the lag was not known, the step has no most.
      if (ring !== null) ring[step % LAG_STEPS] = Math.max(ring[step % LAG_STEPS]!, lag ?? Number.NaN);
    }
    for (const name of this.#rings.keys()) if (!names.has(name)) this.#rings.delete(name);
  }

  /** The lags of one database, oldest first. */
  of(name: string): Values {
    const count = this.#step === -1 ? 0 : Math.min(LAG_STEPS, this.#step - this.#firstStep + 1);
    const ring = this.#rings.get(name);
    return Array.from({ length: count }, (_, index) => {
      const value = ring?.[(this.#step - count + 1 + index) % LAG_STEPS] ?? 0;
      return Number.isNaN(value) ? null : value;
    });
  }

  #newRing(name: string): Float32Array {
    const ring = new Float32Array(LAG_STEPS);
    this.#rings.set(name, ring);
    return ring;
  }
}
