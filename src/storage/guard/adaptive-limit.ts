/**
 * The limit on uploads at once, decided from how the last ones ended. Pure: the caller hands in clock,
 * latencies and outcomes.
 *
 * The limit starts at 4. It grows up to the ceiling while uploads wait and latency does not rise. Two things
 * bring the limit down:
 * - Requests fail: the limit halves, and stays at the floor or above.
 * - The store refuses (429, 503), or nothing moves any more (a stall): the limit halves, down to one. A store
 *   that allows two uploads at once refused four of five requests at a limit of four. Uploads that share a
 *   slow line take it from each other; a single one gets through.
 *
 * Latency is compared with the latency of earlier uploads of the same size. While latency is higher, growth
 * pauses: more uploads at once might only queue on the way. Latency does not bring the limit down: on a busy
 * machine, or with a store that others load, each upload is slow, however few run at once. So the latency
 * that counts as slow rises while slowness lasts, and growth is tried again.
 */

/** The limit at the start, and its minimum unless uploads are refused or stall. */
export const LIMIT_FLOOR = 4;

/** Latency is slow beyond twice the base and this slack, which a busy machine adds by itself. */
const SLOW_FACTOR = 2;
const SLOW_SLACK_MS = 25;
/** The share of the way that one faster upload moves the base: a single odd upload is no new base. */
const BASE_STEP = 0.25;
/** Growth in one round of answers, as a share of the limit. */
const GROWTH_SHARE = 1 / 8;
/** How fast the base rises while uploads are slow, a second. */
const SLOW_RISE = 0.15;
/**
 * Near a limit that was too high, growth is one step at a time for as long as that limit is remembered. It is
 * slower after a stall, which wasted everything on its way, unless uploads are quick again.
 */
const CAREFUL = {
  throttled: { share: 0.75, memoryMs: 60_000, stepMs: 1_000, latencyMinMs: 0 },
  stalled: { share: 0.5, memoryMs: 600_000, stepMs: 60_000, latencyMinMs: 5_000 },
} as const;
const SIZE_CLASS_FIRST = 16 * 1024;

/** How one request ended. */
export type PutOutcome =
  | "stored"
  /** Answered without storing anything: no evidence about latency. */
  | "answered"
  /** 429 or 503: the store asks for less. */
  | "throttled"
  /** Cut off because nothing moved. */
  | "stalled"
  | "failed";

/** One request that ended. */
export interface PutSample {
  readonly outcome: PutOutcome;
  readonly nowMs: number;
  readonly latencyMs: number;
  /** Bytes of the body; null if they do not determine the latency (the parts of one upload). */
  readonly sizeBytes: number | null;
  /** Requests on their way at its end, itself among them. */
  readonly inFlight: number;
  /** Whether others waited for its place. */
  readonly isContended: boolean;
}

/** Why the limit has its value. */
export type LimitReason = "starting" | "growing" | "ceiling" | "throttled" | "stalled" | "slow" | "failed";

/** Decides the limit. */
export class AdaptiveLimit {
  readonly ceiling: number;
  readonly #floor: number;
  #limit: number;
  #reason: LimitReason = "starting";
  #isStarting = true;
  /** Answers since the last round ended, and those of them that were slow. */
  #answers = 0;
  #slowAnswers = 0;
  /** Latency of a size class while few uploads were on their way, in ms. */
  readonly #bases = new Map<number, number>();
  /** When the limit was last cut: a request that began before is no evidence about the new limit. */
  #cutMs = Number.NEGATIVE_INFINITY;
  /** The last limit that was too high, when, and why. */
  #tooHigh: { limit: number; nowMs: number; why: keyof typeof CAREFUL } | null = null;
  #steppedMs = Number.NEGATIVE_INFINITY;
  #roundMs = Number.NEGATIVE_INFINITY;

  /** @param ceiling the most at once, from 1 */
  constructor(ceiling: number) {
    this.ceiling = ceiling;
    this.#floor = Math.min(LIMIT_FLOOR, ceiling);
    this.#limit = this.#floor;
  }

  /** How many may run at once now. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  get reason(): LimitReason {
    return this.#limit >= this.ceiling ? "ceiling" : this.#reason;
  }

  /** Takes the end of a request into account. @returns the new limit */
  ended(sample: PutSample): number {
    const { outcome } = sample;
    if (outcome === "stored") this.#stored(sample);
    else if (outcome !== "answered") this.#cut(sample, outcome);
    return this.limit;
  }

  #stored(sample: PutSample): void {
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

  #isSlow({ sizeBytes, latencyMs }: PutSample): boolean {
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

  #step({ nowMs, latencyMs }: PutSample): number {
    const tooHigh = this.#tooHigh;
    if (tooHigh !== null) {
      const { share, memoryMs, stepMs, latencyMinMs } = CAREFUL[tooHigh.why];
      const nearFrom = Math.min(tooHigh.limit * share, tooHigh.limit - 1);
      const isNear = nowMs - tooHigh.nowMs < memoryMs && this.#limit >= nearFrom;
      if (isNear && latencyMs >= latencyMinMs) return nowMs - this.#steppedMs >= stepMs ? 1 : 0;
    }
    return Math.max(1, this.#limit * GROWTH_SHARE);
  }

  /** Latency has grown: no growth in this round, and a higher base. */
  #pauseGrowth(roundMs: number): void {
    this.#isStarting = false;
    this.#reason = "slow";
    const rise = 1 + Math.min(1, (SLOW_RISE * roundMs) / 1_000);
    for (const [size, baseMs] of this.#bases) this.#bases.set(size, baseMs * rise);
  }

  #cut(sample: PutSample, outcome: "throttled" | "stalled" | "failed"): void {
    const { nowMs, latencyMs, inFlight } = sample;
    if (nowMs - latencyMs < this.#cutMs) return;
    // A request that was alone shared the line with none.
    if (outcome === "stalled" && inFlight === 1) return;
    this.#isStarting = false;
    this.#cutMs = nowMs;
    this.#beginRound();
    const used = Math.min(this.#limit, inFlight);
    if (outcome !== "failed") this.#tooHigh = { limit: used, nowMs, why: outcome };
    this.#steppedMs = nowMs;
    const least = outcome === "failed" ? Math.min(this.#floor, this.#limit) : 1;
    this.#limit = Math.max(least, used / 2);
    this.#reason = outcome;
  }

  #beginRound(): void {
    this.#answers = 0;
    this.#slowAnswers = 0;
  }
}
