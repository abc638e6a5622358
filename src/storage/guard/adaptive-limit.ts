/**
 * The pace of the uploads: how many may run at once, decided from how the last ones went. Pure: the caller
 * brings the clock, the latencies and the outcomes.
 *
 * The limit starts at 4 and grows while uploads wait for it and latency holds, up to the ceiling. Two things
 * bring it down:
 * - The store refuses (429, 503), or requests fail: half, and no lower than the floor.
 * - Nothing moves any more (a stall): half, and as low as one. Uploads that share a slow line take it from
 *   each other; a single one gets through.
 *
 * Latency is compared with what the same size of upload took before. While it is longer, growth pauses: more
 * at once might only queue on the way. It does not bring the limit down, for a busy machine or a store that
 * others load makes each upload slow without being faster for fewer. So what counts as slow rises by and by
 * while it lasts, and growth is tried again.
 */

/** The limit at the start, and the least one unless uploads stall. */
export const PACE_FLOOR = 4;

/** Latency is slow beyond twice the base and this: what a busy machine adds on its own is no sign. */
const SLOW_FACTOR = 2;
const SLOW_SLACK_MS = 25;
/** How far one faster upload takes the base with it: a single odd one is no new base. */
const BASE_STEP = 0.25;
/** Growth in one round of answers, as a share of the limit. */
const GROWTH_SHARE = 1 / 8;
/** How fast that rises while uploads are slow, a second. */
const SLOW_RISE = 0.15;
/**
 * Near a limit that was too high growth is one step at a time, for as long as that is remembered. After a
 * stall, which sent everything on its way for nothing, it is slower, unless uploads are quick again.
 */
const CAREFUL = {
  throttled: { share: 0.75, memoryMs: 60_000, stepMs: 1_000, latencyMinMs: 0 },
  stalled: { share: 0.5, memoryMs: 600_000, stepMs: 60_000, latencyMinMs: 5_000 },
} as const;
const SIZE_CLASS_FIRST = 16 * 1024;

/** How one request ended. */
export type PutOutcome =
  | "stored"
  /** Answered, but not by storing: says nothing about latency. */
  | "answered"
  /** 429 or 503: the store asks for less. */
  | "throttled"
  /** Cut off because nothing moved. */
  | "stalled"
  | "failed";

/** One request that ended. */
export interface UploadSample {
  readonly outcome: PutOutcome;
  readonly nowMs: number;
  readonly latencyMs: number;
  /** Bytes of the body; null when they do not tell how long it takes (the parts of one upload). */
  readonly sizeBytes: number | null;
  /** Requests on their way while this one was, itself among them. */
  readonly inFlight: number;
  /** Whether others waited for it to end. */
  readonly isContended: boolean;
}

/** Why the limit is where it is. */
export type PaceReason = "starting" | "growing" | "ceiling" | "throttled" | "stalled" | "slow" | "failed";

/** Decides the limit. */
export class AdaptiveLimit {
  readonly ceiling: number;
  readonly #floor: number;
  #limit: number;
  #reason: PaceReason = "starting";
  #isStarting = true;
  /** Answers since the last round ended, and those of them that were slow. */
  #answers = 0;
  #slowAnswers = 0;
  /** Latency of a size class while few uploads were on their way, in ms. */
  readonly #bases = new Map<number, number>();
  /** When the limit was last cut: what began before says nothing about the limit of now. */
  #cutMs = Number.NEGATIVE_INFINITY;
  /** The limit that was too high, and when and why it was. */
  #tooHigh: { limit: number; nowMs: number; why: keyof typeof CAREFUL } | null = null;
  #steppedMs = Number.NEGATIVE_INFINITY;
  #roundMs = Number.NEGATIVE_INFINITY;

  /** @param ceiling the most at once, from 1 */
  constructor(ceiling: number) {
    this.ceiling = ceiling;
    this.#floor = Math.min(PACE_FLOOR, ceiling);
    this.#limit = this.#floor;
  }

  /** How many may run at once now. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  get reason(): PaceReason {
    return this.#limit >= this.ceiling ? "ceiling" : this.#reason;
  }

  /** Takes the end of a request into account. @returns the limit from here on */
  ended(sample: UploadSample): number {
    const { outcome } = sample;
    if (outcome === "stored") this.#stored(sample);
    else if (outcome !== "answered") this.#cut(sample, outcome);
    return this.limit;
  }

  #stored(sample: UploadSample): void {
    const isSlow = this.#isSlow(sample);
    this.#answers++;
    if (isSlow) this.#slowAnswers++;
    if (this.#isStarting && !isSlow && sample.isContended) return this.#grow(1, sample.nowMs);
    if (this.#answers < this.#limit) return;
    const isMostlySlow = this.#slowAnswers * 2 > this.#answers;
    this.#beginRound();
    const roundMs = Math.min(sample.nowMs - this.#roundMs, sample.latencyMs);
    this.#roundMs = sample.nowMs;
    if (isMostlySlow) this.#pauseGrowth(roundMs);
    else if (sample.isContended) this.#grow(this.#step(sample), sample.nowMs);
  }

  #isSlow({ sizeBytes, latencyMs }: UploadSample): boolean {
    if (sizeBytes === null) return false;
    const size = Math.ceil(Math.log2(Math.max(1, sizeBytes / SIZE_CLASS_FIRST)) / 2);
    const base = this.#bases.get(size);
    if (base === undefined) {
      this.#bases.set(size, latencyMs);
      return false;
    }
    if (latencyMs < base) this.#bases.set(size, base + (latencyMs - base) * BASE_STEP);
    return latencyMs > base * SLOW_FACTOR + SLOW_SLACK_MS;
  }

  #grow(step: number, nowMs: number): void {
    if (this.#limit >= this.ceiling || step === 0) return;
    this.#steppedMs = nowMs;
    this.#limit = Math.min(this.ceiling, this.#limit + step);
    this.#reason = "growing";
  }

  #step({ nowMs, latencyMs }: UploadSample): number {
    const tooHigh = this.#tooHigh;
    if (tooHigh !== null) {
      const { share, memoryMs, stepMs, latencyMinMs } = CAREFUL[tooHigh.why];
      const isNear = nowMs - tooHigh.nowMs < memoryMs && this.#limit >= tooHigh.limit * share;
      if (isNear && latencyMs >= latencyMinMs) return nowMs - this.#steppedMs >= stepMs ? 1 : 0;
    }
    return Math.max(1, this.#limit * GROWTH_SHARE);
  }

  /** Latency grew. */
  #pauseGrowth(roundMs: number): void {
    this.#isStarting = false;
    this.#reason = "slow";
    const rise = 1 + Math.min(1, (SLOW_RISE * roundMs) / 1_000);
    for (const [size, baseMs] of this.#bases) this.#bases.set(size, baseMs * rise);
  }

  #cut(sample: UploadSample, outcome: "throttled" | "stalled" | "failed"): void {
    const { nowMs, latencyMs, inFlight } = sample;
    if (nowMs - latencyMs < this.#cutMs) return;
    // One that was alone shared the line with nobody.
    if (outcome === "stalled" && inFlight === 1) return;
    this.#isStarting = false;
    this.#cutMs = nowMs;
    this.#beginRound();
    const used = Math.min(this.#limit, inFlight);
    if (outcome !== "failed") this.#tooHigh = { limit: used, nowMs, why: outcome };
    this.#steppedMs = nowMs;
    const least = outcome === "stalled" ? 1 : Math.min(this.#floor, this.#limit);
    this.#limit = Math.max(least, used / 2);
    this.#reason = outcome;
  }

  #beginRound(): void {
    this.#answers = 0;
    this.#slowAnswers = 0;
  }
}
