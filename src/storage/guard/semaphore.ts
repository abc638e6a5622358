/**
 * Limits how many jobs of one kind run at once over all databases: requests that put, anchors, attaches.
 * First come, first served.
 */
import type { Env } from "../../env.ts";
import type { PutLimit } from "../contract/put-limit.ts";
import { WaitingLine } from "./waiting-line.ts";

/** At most this many works of `runInTurns` are paused. */
const PAUSED_MAX = 8;

/** A counting semaphore; its places are called slots. */
export class Semaphore implements PutLimit {
  #free: number;
  #pausedCount = 0;
  readonly #waiting = new WaitingLine();

  constructor(readonly count: number) {
    this.#free = count;
  }

  get isContended(): boolean {
    return this.#waiting.length > 0;
  }

  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (!this.#take(signal)) await this.#waiting.wait(0, signal);
    try {
      return await work();
    } finally {
      this.release();
    }
  }

  /**
   * Runs `work` as `run` does, but holds the slot for `patienceMs` at most. A work that takes longer, because
   * its store hangs for example, goes on without a slot, so that it delays nobody for good.
   */
  async runPatiently<T>(
    work: () => Promise<T>,
    patienceMs: number,
    env: Pick<Env, "sleep">,
    signal?: AbortSignal,
  ): Promise<T> {
    let running: Promise<T> | undefined;
    await this.run(async () => {
      const timeout = new AbortController();
      running = work();
      const settled = running.then(
        () => timeout.abort(),
        () => timeout.abort(),
      );
      await Promise.race([settled, env.sleep(patienceMs, timeout.signal)]);
    }, signal);
    return running as Promise<T>;
  }

  /**
   * Runs `work` as `run` does, but passes the slot on whenever a caller waits and the slot was held for
   * `turnMs`. `work` calls `between` wherever it may pause, and goes on there when it has a slot again. Each
   * turn is twice as long as the one before, so that long works do not change places all the time. A paused
   * work holds its database and its half written files, so only a few are paused at once.
   */
  async runInTurns<T>(
    work: (between: () => Promise<void>) => Promise<T>,
    turnMs: number,
    env: Pick<Env, "turn" | "monotonicMs">,
    signal?: AbortSignal,
  ): Promise<T> {
    await this.acquire(signal);
    let isHeld = true;
    let leftMs = turnMs;
    let sinceMs = env.monotonicMs();
    const between = async (): Promise<void> => {
      await env.turn();
      signal?.throwIfAborted();
      if (!this.isContended || env.monotonicMs() - sinceMs < leftMs) return;
      if (this.#pausedCount >= PAUSED_MAX) return;
      isHeld = false;
      this.#pausedCount++;
      this.release();
      await this.acquire(signal).finally(() => this.#pausedCount--);
      isHeld = true;
      leftMs *= 2;
      sinceMs = env.monotonicMs();
    };
    try {
      return await work(between);
    } finally {
      if (isHeld) this.release();
    }
  }

  async acquire(signal?: AbortSignal): Promise<void> {
    if (!this.#take(signal)) await this.#waiting.wait(0, signal);
  }

  /** Takes a slot if one is free: a work then begins at once. */
  #take(signal: AbortSignal | undefined): boolean {
    signal?.throwIfAborted();
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  /** Releases a slot: the first caller in the line gets it. */
  release(): void {
    if (this.#waiting.length === 0) this.#free++;
    else this.#waiting.serve();
  }
}

/**
 * One slot for all requests of one upload: the first request takes it, the last one releases it, and nothing
 * is held while all of them pause. When other callers wait for a slot, no further request joins: the slot is
 * released after the requests on their way.
 */
export class SharedPermit {
  #users = 0;
  #isAcquiring = false;
  #change = Promise.withResolvers<void>();

  constructor(readonly slots: PutLimit) {}

  /**
   * Runs `work` in the shared slot. All works of one upload have to end when the signal aborts.
   * @throws the signal's reason when it aborts before there is a slot
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      return await (this.slots.measure === undefined ? work() : this.slots.measure(work));
    } finally {
      this.#users--;
      if (this.#users === 0) this.slots.release();
      this.#changed();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    while (true) {
      signal?.throwIfAborted();
      if (this.#users > 0 && !this.slots.isContended) break;
      if (this.#users === 0 && !this.#isAcquiring) return await this.#acquire(signal);
      await this.#change.promise;
    }
    this.#users++;
  }

  async #acquire(signal: AbortSignal | undefined): Promise<void> {
    this.#isAcquiring = true;
    try {
      await this.slots.acquire(signal);
      this.#users++;
    } finally {
      this.#isAcquiring = false;
      this.#changed();
    }
  }

  /** Wakes the works that wait for a change. */
  #changed(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers<void>();
    resolve();
  }
}
