/**
 * Finds the end of an outage for all databases at once. Each database has a circuit breaker and pauses of its
 * own, up to a minute; without this probe a backlog would wait for all of them after the store is back.
 *
 *     a call fails ---> its database counts as failing; a cheap request probes the store every few seconds
 *     the store answers the probe ---> one database is lifted: its next call passes at once
 *     a call of a failing or lifted database succeeds ---> all failing databases are lifted
 *
 * A success of a database that never failed lifts nobody: the others may fail for a reason of their own. A
 * store that answers a probe may still refuse every put. So one database tries first, and when that one fails
 * too, the wait before the next one is lifted doubles.
 *
 * Invariants:
 * 1. At most one probe is on its way, and no timer runs while no database fails.
 * 2. A lifted database counts as failing only when it fails again.
 */
import type { Env } from "../../env.ts";
import { Backoff, type BackoffPolicy } from "../contract/backoff.ts";
import { outcomeOfError } from "./circuit-breaker.ts";

/** The waits between probes that the store does not answer. */
const PROBE_WAITS: BackoffPolicy = { firstMs: 2_000, maxMs: 10_000, factor: 1.25 };
/** The waits between databases that are lifted and fail again. */
const LIFT_WAITS: BackoffPolicy = { firstMs: 2_000, maxMs: 60_000 };
/** A probe without an answer fails after this long. */
const PROBE_TIMEOUT_MS = 5_000;

/** A caller that waits for the end of an outage: the circuit of a database. */
export interface Liftable {
  /** Ends the wait: the next call passes now. */
  lift(): void;
}

/** Probes one store while databases fail. */
export class OutageProbe {
  readonly #env: Pick<Env, "sleep">;
  readonly #request: (signal: AbortSignal) => Promise<unknown>;
  readonly #stopping: AbortSignal;
  /** In the order in which they failed. */
  readonly #failing = new Set<Liftable>();
  /** The database that the last answered probe lifted. */
  #first: Liftable | null = null;
  readonly #probeWaits = new Backoff(PROBE_WAITS);
  readonly #liftWaits = new Backoff(LIFT_WAITS);
  #isRunning = false;

  /**
   * @param request a cheap request to the store, one attempt; any answer of the store is enough
   * @param stopping ends the probes
   */
  constructor(
    env: Pick<Env, "sleep">,
    request: (signal: AbortSignal) => Promise<unknown>,
    stopping: AbortSignal,
  ) {
    this.#env = env;
    this.#request = request;
    this.#stopping = stopping;
  }

  /** A call of this database failed. */
  failed(database: Liftable): void {
    this.#failing.add(database);
    if (!this.#isRunning && !this.#stopping.aborted) void this.#run();
  }

  /** A call of this database succeeded. If the database had failed, the outage is over for all. */
  succeeded(database: Liftable): void {
    if (!this.#failing.delete(database) && this.#first !== database) return;
    this.#first = null;
    this.#probeWaits.reset();
    this.#liftWaits.reset();
    const others = [...this.#failing];
    this.#failing.clear();
    for (const other of others) other.lift();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#failing.size > 0) {
      const waitMs = Math.max(this.#probeWaits.nextMs, this.#liftWaits.nextMs);
      await this.#env.sleep(waitMs, this.#stopping);
      if (this.#stopping.aborted) break;
      if (this.#failing.size > 0) await this.#probe();
    }
    this.#isRunning = false;
  }

  async #probe(): Promise<void> {
    if (!(await this.#isAnswered())) {
      this.#probeWaits.takeMs();
      return;
    }
    this.#probeWaits.reset();
    const [first] = this.#failing;
    if (first === undefined) return;
    this.#failing.delete(first);
    this.#first = first;
    this.#liftWaits.takeMs();
    first.lift();
  }

  async #isAnswered(): Promise<boolean> {
    const limit = new AbortController();
    const stop = (): void => limit.abort();
    this.#stopping.addEventListener("abort", stop, { once: true });
    const answered = this.#request(limit.signal).then(
      () => true,
      (error) => outcomeOfError(error) === "succeeded",
    );
    const timedOut = this.#env.sleep(PROBE_TIMEOUT_MS, limit.signal).then(() => false);
    try {
      return await Promise.race([answered, timedOut]);
    } finally {
      limit.abort();
      this.#stopping.removeEventListener("abort", stop);
    }
  }
}
