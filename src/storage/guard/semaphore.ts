/**
 * Semaphore: a limit on how many things of a kind run at once over all databases (requests that put,
 * anchors). First come, first served; nothing is held per waiter but its place in the line.
 */
import type { Env } from "../../env.ts";
import type { PutLimit } from "./put-limiter.ts";

/** As many works of `runInTurns` are paused at most. */
const PAUSED_MAX = 8;

/** A counting semaphore. */
export class Semaphore {
  #free: number;
  #pausedCount = 0;
  /** In the order they came. */
  readonly #waiting = new Set<() => void>();

  constructor(readonly count: number) {
    this.#free = count;
  }

  /** Whether somebody waits for a slot. */
  get isContended(): boolean {
    return this.#waiting.size > 0;
  }

  /** Runs `work` as soon as a slot is free. @throws the signal's reason when it aborts before that */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (!this.#take(signal)) await this.#turn(signal);
    try {
      return await work();
    } finally {
      this.release();
    }
  }

  /**
   * Runs `work` as `run`, but holds the slot for `patienceMs` at most: what takes longer, such as a store
   * that hangs, goes on without one, so that it delays nobody for good.
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
   * Runs `work` as `run`, but gives the slot to those who wait whenever it was held for `turnMs`: `work`
   * calls `between` at every place where it may pause, and goes on there when it has a slot again. Each turn
   * is twice as long as the one before, so that long works do not change places all the time; and what is
   * paused holds its database and its half written files, so that only a few are.
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

  /** Waits for a slot, which has to be released. @throws as `run` */
  async acquire(signal?: AbortSignal): Promise<void> {
    if (!this.#take(signal)) await this.#turn(signal);
  }

  #take(signal: AbortSignal | undefined): boolean {
    signal?.throwIfAborted();
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(onTurn);
        reject(signal?.reason);
      };
      const onTurn = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#waiting.add(onTurn);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Gives a slot back: it passes to the first in the line. */
  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

/**
 * One slot for the requests of one upload, however many of them are on their way: taken by the first, given
 * back after the last, and so not held while all of them pause. When others wait for a slot no further
 * request joins; the slot goes round after those on their way.
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

  /** Those who wait look again. */
  #changed(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers<void>();
    resolve();
  }
}
