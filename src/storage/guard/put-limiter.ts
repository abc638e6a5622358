/**
 * The gate that all uploads of a process pass: how many are on their way at once, which the pace decides, and
 * how many bytes of them are in memory. First come, first served.
 *
 * Invariants:
 * 1. At most `pace.limit` uploads are on their way; when the limit falls, those on their way end as they are.
 * 2. The bytes in memory stay within the budget, but one upload is always let through.
 * 3. A turn is given back exactly once, whatever becomes of the upload.
 */

import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { s3StatusOf } from "../contract/request-errors.ts";
import type { PutReservation } from "../contract/store.ts";
import { IS_STALLED } from "../network/stall-timeout.ts";
import type { AdaptiveLimit, PutOutcome } from "./adaptive-limit.ts";

/** Bytes of bodies in memory at once. */
const MEMORY_BYTES_MAX = 16 << 20;
/** The most memory one body takes: what is larger is read from its file while it is sent. */
const BODY_MEMORY_MAX = 512 << 10;

/** Limits puts. `Semaphore` is one with a fixed number. */
export interface PutLimit {
  /** Whether somebody waits. */
  readonly isContended: boolean;
  /** Runs a request as soon as it may. @throws the signal's reason when it aborts before that */
  run<T>(work: () => Promise<T>, signal?: AbortSignal, put?: PutFacts): Promise<T>;
  /** Waits for a place, which has to be released. @throws as `run` */
  acquire(signal?: AbortSignal): Promise<void>;
  release(): void;
  /** Runs a request of an upload that holds a place, so that its outcome counts. */
  measure?<T>(work: () => Promise<T>): Promise<T>;
}

/** What is known of a put before it is sent. */
export interface PutFacts {
  readonly sizeBytes: number;
  /** The turn it was given before; only the first attempt can use it. */
  readonly turn?: PutReservation | undefined;
}

/** How the gate stands now. */
export interface LimiterFacts {
  readonly limit: number;
  readonly ceiling: number;
  readonly inFlight: number;
  readonly waiting: number;
  readonly reason: AdaptiveLimit["reason"];
}

/** The gate. */
export class PutLimiter implements PutLimit {
  readonly #pace: AdaptiveLimit;
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #turns = new Line();
  readonly #memory = new Line();
  #inFlight = 0;
  #memoryBytes = 0;

  constructor(pace: AdaptiveLimit, env: Pick<Env, "monotonicMs">) {
    this.#pace = pace;
    this.#env = env;
  }

  get isContended(): boolean {
    return this.#turns.length > 0;
  }

  get facts(): LimiterFacts {
    const { limit, ceiling, reason } = this.#pace;
    return { limit, ceiling, reason, inFlight: this.#inFlight, waiting: this.#turns.length };
  }

  /** Waits for a turn. A put that is handed it uses it up; one that is never used has to be ended. */
  async turn(signal?: AbortSignal): Promise<PutReservation> {
    await this.acquire(signal);
    return new Turn(this);
  }

  async run<T>(work: () => Promise<T>, signal?: AbortSignal, put?: PutFacts): Promise<T> {
    const turn = put?.turn;
    const isTaken = turn instanceof Turn && turn.use(this);
    if (!isTaken) await this.acquire(signal);
    try {
      const bytes = Math.min(put?.sizeBytes ?? 0, BODY_MEMORY_MAX);
      await this.#take(bytes, signal);
      try {
        return await this.#measured(work, put?.sizeBytes ?? null);
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
    if (this.#turns.length === 0 && this.#inFlight < this.#pace.limit) {
      this.#inFlight++;
      return;
    }
    await this.#turns.wait(0, signal);
  }

  release(): void {
    this.#inFlight--;
    this.#serveTurns();
  }

  #serveTurns(): void {
    while (this.#inFlight < this.#pace.limit && this.#turns.length > 0) {
      this.#inFlight++;
      this.#turns.serve();
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
    this.#pace.ended({
      outcome,
      nowMs,
      latencyMs: nowMs - startedMs,
      sizeBytes,
      inFlight: this.#inFlight,
      isContended: this.isContended,
    });
    this.#serveTurns();
  }
}

/** What a failure says about the pace; null when it says nothing: an abort, or something local. */
function outcomeOf(error: unknown): PutOutcome | null {
  if (!(error instanceof WalrustError)) return null;
  if (error.context[IS_STALLED] === true) return "stalled";
  const status = s3StatusOf(error);
  if (status === 429 || status === 503) return "throttled";
  if (hasCode(error, "storage") && error.retryable) return "failed";
  return "answered";
}

/** A turn that was taken ahead. */
class Turn implements PutReservation {
  #gate: PutLimiter | null;

  constructor(gate: PutLimiter) {
    this.#gate = gate;
  }

  /** Uses it up. @returns whether it was one of this gate and not used */
  use(gate: PutLimiter): boolean {
    if (this.#gate !== gate) return false;
    this.#gate = null;
    return true;
  }

  end(): void {
    const gate = this.#gate;
    this.#gate = null;
    gate?.release();
  }
}

/** Those who wait, in the order they came. */
class Line {
  readonly #waiting = new Map<() => void, number>();

  get length(): number {
    return this.#waiting.size;
  }

  /** What the first one needs. */
  get nextBytes(): number {
    for (const bytes of this.#waiting.values()) return bytes;
    return 0;
  }

  /** Resolves when served: what is waited for is taken by then. @throws the signal's reason */
  wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = (): void => {
        this.#waiting.delete(onTurn);
        reject(signal?.reason);
      };
      const onTurn = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#waiting.set(onTurn, bytes);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Lets the first one go on. */
  serve(): void {
    for (const onTurn of this.#waiting.keys()) {
      this.#waiting.delete(onTurn);
      return onTurn();
    }
  }
}
