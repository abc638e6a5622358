/**
 * Finds the end of an outage for all databases at once. Each has a circuit breaker and pauses of its own, up
 * to a minute; without this a backlog would wait for all of them after the store is back.
 *
 *     a call fails ---> its database is among those that fail; a cheap request looks every few seconds
 *     the look is answered ---> one database is lifted: its next call passes at once
 *     a call of one that failed succeeds ---> all that fail are lifted
 *
 * A database that never failed shows nothing by a success: the others may fail for a reason of their own.
 * A look is only a look: a store that answers it may still refuse every put. So one database tries first, and
 * when that fails too the next one has to wait twice as long.
 *
 * Invariants:
 * 1. At most one look is on its way, and no timer runs while no database fails.
 * 2. A lifted database is forgotten: it is among those that fail again only when it failed again.
 */
import type { Env } from "../../env.ts";
import { verdictOf } from "./circuit-breaker.ts";

/** The wait before the first look; it grows with every look in vain. */
const LOOK_FIRST_MS = 2_000;
const LOOK_MAX_MS = 10_000;
const LOOK_GROWTH = 1.25;
/** A look that is not answered for so long was in vain. */
const LOOK_LIMIT_MS = 5_000;
/** The longest wait after databases that were lifted in vain. */
const LIFT_MAX_MS = 60_000;

/** What waits for the end of an outage: the circuit breaker of a database. */
export interface Waiting {
  /** Ends the waiting: the next call passes now. */
  lift(): void;
}

/** The outage of one store, if there is one. */
export class OutageProbe {
  readonly #env: Pick<Env, "sleep">;
  readonly #look: (signal: AbortSignal) => Promise<unknown>;
  readonly #stopping: AbortSignal;
  /** In the order in which they failed. */
  readonly #failing = new Set<Waiting>();
  /** The one that was lifted last, by a look. */
  #first: Waiting | null = null;
  #lookWaitMs = LOOK_FIRST_MS;
  #liftWaitMs = LOOK_FIRST_MS;
  #isLooking = false;

  /**
   * @param look a cheap request to the store, once, without retries; any answer of the store will do
   * @param stopping ends the looking
   */
  constructor(
    env: Pick<Env, "sleep">,
    look: (signal: AbortSignal) => Promise<unknown>,
    stopping: AbortSignal,
  ) {
    this.#env = env;
    this.#look = look;
    this.#stopping = stopping;
  }

  /** A call failed. */
  failed(waiting: Waiting): void {
    this.#failing.add(waiting);
    if (!this.#isLooking && !this.#stopping.aborted) void this.#run();
  }

  /** A call succeeded. If its database had failed, what kept the others back is over, too. */
  succeeded(waiting: Waiting): void {
    if (!this.#failing.delete(waiting) && this.#first !== waiting) return;
    this.#first = null;
    this.#lookWaitMs = LOOK_FIRST_MS;
    this.#liftWaitMs = LOOK_FIRST_MS;
    const others = [...this.#failing];
    this.#failing.clear();
    for (const other of others) other.lift();
  }

  async #run(): Promise<void> {
    this.#isLooking = true;
    while (this.#failing.size > 0) {
      await this.#env.sleep(Math.max(this.#lookWaitMs, this.#liftWaitMs), this.#stopping);
      if (this.#stopping.aborted) break;
      if (this.#failing.size > 0) await this.#lookOnce();
    }
    this.#isLooking = false;
  }

  async #lookOnce(): Promise<void> {
    if (!(await this.#isAnswered())) {
      this.#lookWaitMs = Math.min(LOOK_MAX_MS, this.#lookWaitMs * LOOK_GROWTH);
      return;
    }
    this.#lookWaitMs = LOOK_FIRST_MS;
    const [first] = this.#failing;
    if (first === undefined) return;
    this.#failing.delete(first);
    this.#first = first;
    this.#liftWaitMs = Math.min(LIFT_MAX_MS, this.#liftWaitMs * 2);
    first.lift();
  }

  async #isAnswered(): Promise<boolean> {
    const limit = new AbortController();
    const stop = (): void => limit.abort();
    this.#stopping.addEventListener("abort", stop, { once: true });
    const answered = this.#look(limit.signal).then(
      () => true,
      (error) => verdictOf(error) === "works",
    );
    const inVain = this.#env.sleep(LOOK_LIMIT_MS, limit.signal).then(() => false);
    try {
      return await Promise.race([answered, inVain]);
    } finally {
      limit.abort();
      this.#stopping.removeEventListener("abort", stop);
    }
  }
}
