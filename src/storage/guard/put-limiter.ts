/**
 * Limits the puts of a process: how many are on their way at once, which `AdaptiveLimit` decides, and how
 * many bytes of their bodies are in memory. First come, first served.
 *
 * Invariants:
 * 1. At most `limit` puts are on their way. When the limit falls, those on their way end undisturbed.
 * 2. The bytes in memory stay within the budget, except that one put always passes.
 * 3. A place is released exactly once, however the put ends.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import type { PutFacts, PutLimit, PutReservation } from "../contract/put-limit.ts";
import { answerStatusOf } from "../contract/request-errors.ts";
import { IS_STALLED } from "../network/stall-timeout.ts";
import type { AdaptiveLimit, PutOutcome } from "./adaptive-limit.ts";
import { WaitingLine } from "./waiting-line.ts";

/** Bytes of bodies in memory at once. */
const MEMORY_BYTES_MAX = 16 << 20;
/** The most memory one body takes: a larger body is read from its file while it is sent. */
const BODY_MEMORY_MAX = 512 << 10;

/** The state of the limiter, for reports. */
export interface LimiterFacts {
  readonly limit: number;
  readonly ceiling: number;
  readonly inFlight: number;
  readonly waiting: number;
  readonly reason: AdaptiveLimit["reason"];
}

/** A limit on puts that adapts to the store and the line. */
export class PutLimiter implements PutLimit {
  readonly #limit: AdaptiveLimit;
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #places = new WaitingLine();
  readonly #memory = new WaitingLine();
  #inFlight = 0;
  #memoryBytes = 0;

  constructor(limit: AdaptiveLimit, env: Pick<Env, "monotonicMs">) {
    this.#limit = limit;
    this.#env = env;
  }

  get isContended(): boolean {
    return this.#places.length > 0;
  }

  get facts(): LimiterFacts {
    const { limit, ceiling, reason } = this.#limit;
    return { limit, ceiling, reason, inFlight: this.#inFlight, waiting: this.#places.length };
  }

  /** Waits for a place, and reserves it for one put. A reservation that no put uses has to be ended. */
  async reserve(signal?: AbortSignal): Promise<PutReservation> {
    await this.acquire(signal);
    return new Reservation(this);
  }

  async run<T>(work: () => Promise<T>, signal?: AbortSignal, facts?: PutFacts): Promise<T> {
    const isReserved = facts?.reservation?.use(this) === true;
    if (!isReserved) await this.acquire(signal);
    try {
      const bytes = Math.min(facts?.sizeBytes ?? 0, BODY_MEMORY_MAX);
      await this.#take(bytes, signal);
      try {
        return await this.#measured(work, facts?.sizeBytes ?? null);
      } finally {
        this.#memoryBytes -= bytes;
        this.#serveMemory();
      }
    } finally {
      this.release();
    }
  }

  async measure<T>(work: () => Promise<T>): Promise<T> {
    return await this.#measured(work, null);
  }

  async acquire(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#places.length === 0 && this.#inFlight < this.#limit.limit) {
      this.#inFlight++;
      return;
    }
    await this.#places.wait(0, signal);
  }

  release(): void {
    this.#inFlight--;
    this.#servePlaces();
  }

  #servePlaces(): void {
    while (this.#inFlight < this.#limit.limit && this.#places.length > 0) {
      this.#inFlight++;
      this.#places.serve();
    }
  }

  async #take(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#memory.length === 0 && this.#fits(bytes)) this.#memoryBytes += bytes;
    else await this.#memory.wait(bytes, signal);
  }

  #fits(bytes: number): boolean {
    return this.#memoryBytes === 0 || this.#memoryBytes + bytes <= MEMORY_BYTES_MAX;
  }

  #serveMemory(): void {
    while (this.#memory.length > 0 && this.#fits(this.#memory.nextBytes)) {
      this.#memoryBytes += this.#memory.nextBytes;
      this.#memory.serve();
    }
  }

  async #measured<T>(work: () => Promise<T>, sizeBytes: number | null): Promise<T> {
    const startedMs = this.#env.monotonicMs();
    try {
      const result = await work();
      this.#ended("stored", startedMs, sizeBytes);
      return result;
    } catch (error) {
      const outcome = outcomeOf(error);
      if (outcome !== null) this.#ended(outcome, startedMs, sizeBytes);
      throw error;
    }
  }

  #ended(outcome: PutOutcome, startedMs: number, sizeBytes: number | null): void {
    const nowMs = this.#env.monotonicMs();
    this.#limit.ended({
      outcome,
      nowMs,
      latencyMs: nowMs - startedMs,
      sizeBytes,
      inFlight: this.#inFlight,
      isContended: this.isContended,
    });
    this.#servePlaces();
  }
}

/** The outcome that a failure is for the limit; null for an abort or a local failure, which is none. */
function outcomeOf(error: unknown): PutOutcome | null {
  if (!(error instanceof WalrustError)) return null;
  if (error.context[IS_STALLED] === true) return "stalled";
  const status = answerStatusOf(error);
  if (status === 429 || status === 503) return "throttled";
  if (hasCode(error, "storage") && error.retryable) return "failed";
  return "answered";
}

/** A place that was taken ahead of its put. */
class Reservation implements PutReservation {
  #limiter: PutLimiter | null;

  constructor(limiter: PutLimiter) {
    this.#limiter = limiter;
  }

  use(limit: PutLimit): boolean {
    if (this.#limiter !== limit) return false;
    this.#limiter = null;
    return true;
  }

  end(): void {
    const limiter = this.#limiter;
    this.#limiter = null;
    limiter?.release();
  }
}
