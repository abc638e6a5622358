/**
 * Probes whether the store of a watch enforces create-only writes: at the start, and again while the answer
 * is no or missing. A portal may answer in the store's place at the start, and a gateway may be exchanged
 * under a watch that runs for months.
 *
 * The store keeps the answer, writes accordingly and raises the condition. This file decides only the times.
 */
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { Backoff, type BackoffPolicy } from "../../storage/contract/backoff.ts";
import { probeKey } from "../../storage/contract/create-only-check.ts";
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
  /** Whether a probe has shown that the store enforces create-only writes. */
  #isEnforced = false;

  constructor(store: ObjectStore, env: Env) {
    this.#store = store;
    this.#env = env;
    // A folder always enforces them, and a probe would write into it.
    this.#isEnforced = store.layout === "file";
  }

  /** Starts a probe if one is due. Never throws: uploads report a store that fails. */
  startDue(nowMs: number): void {
    if (this.#isEnforced || this.#isRunning || nowMs < this.#dueMs) return;
    this.#isRunning = true;
    this.#lastMs = nowMs;
    void this.#probe().finally(() => {
      this.#isRunning = false;
    });
  }

  /** The store works again after a failure: another server may answer now. */
  recovered(nowMs: number): void {
    this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, this.#lastMs + RECOVERED_INTERVAL_MS));
  }

  async #probe(): Promise<void> {
    const { log } = this.#env;
    try {
      const capabilities = await this.#store.probe(probeKey(this.#env));
      this.#isEnforced = capabilities.conditionalPut === "yes" && !isWeak(capabilities);
      this.#dueMs = this.#env.monotonicMs() + this.#weak.takeMs();
    } catch (error) {
      log.debug(`the store could not be probed: ${errorMessage(error)}`);
      this.#dueMs = this.#env.monotonicMs() + this.#retry.takeMs();
    }
  }
}
