/**
 * Asks the store of a watch whether it enforces create-only writes: at the start, and again for as long as
 * the answer is no or missing. Something else than the store may answer at the start, and a gateway
 * may be exchanged under a watch that runs for months.
 *
 * The store itself keeps what it learned, writes accordingly, and raises the condition; nothing is decided
 * here but when it is asked.
 */
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { Backoff, type BackoffPolicy } from "../../storage/contract/backoff.ts";
import { isWeak, type ObjectStore } from "../../storage/contract/store.ts";

/** After a probe that the store did not answer. */
const RETRY: BackoffPolicy = { firstMs: 5_000, maxMs: 600_000 };
/** After a probe that found the store without create-only writes. */
const WEAK: BackoffPolicy = { firstMs: 3_600_000, maxMs: 24 * 3_600_000 };
/** The least time between two probes, however often the store comes back. */
const RECOVERED_INTERVAL_MS = 60_000;

/** The probes of one store: `startDue` at every look. */
export class CreateOnlyProbe {
  readonly #store: ObjectStore;
  readonly #env: Env;
  #dueMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  readonly #retry = new Backoff(RETRY);
  readonly #weak = new Backoff(WEAK);
  #isRunning = false;
  /** Whether the store has said that it enforces them. */
  #isEnforced = false;

  constructor(store: ObjectStore, env: Env) {
    this.#store = store;
    this.#env = env;
    // A folder always does, and nothing is written into it for asking.
    this.#isEnforced = store.layout === "file";
  }

  /** Starts a probe if one is due. Never throws: what is wrong with the store, uploads say. */
  startDue(nowMs: number): void {
    if (this.#isEnforced || this.#isRunning || nowMs < this.#dueMs) return;
    this.#isRunning = true;
    this.#lastMs = nowMs;
    void this.#probe().finally(() => {
      this.#isRunning = false;
    });
  }

  /** The store works again after a failure: it may be another one. */
  recovered(nowMs: number): void {
    this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, this.#lastMs + RECOVERED_INTERVAL_MS));
  }

  async #probe(): Promise<void> {
    const { log } = this.#env;
    try {
      // A key of its own each time, or two that try at once would see each other's object.
      const capabilities = await this.#store.probe(`.walrust-probe-${hex(this.#env.randomBytes(8))}`);
      this.#isEnforced = capabilities.conditionalPut === "yes" && !isWeak(capabilities);
      this.#dueMs = this.#env.monotonicMs() + this.#weak.takeMs();
    } catch (error) {
      log.debug(`the store could not be tried: ${errorMessage(error)}`);
      this.#dueMs = this.#env.monotonicMs() + this.#retry.takeMs();
    }
  }
}
