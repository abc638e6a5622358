/**
 * Repeats discovery every 5 s, beside the loop of a watch: never two at once, and the loop never waits.
 *
 * A discovery that fails changes nothing. The failure is logged once, and so is its end.
 */
import type { Env } from "../env.ts";
import { Trouble } from "../storage/contract/trouble.ts";
import type { Discover, Discovered } from "./discovered.ts";

/** Time from the start of one discovery to the start of the next. */
export const DISCOVERY_INTERVAL_MS = 5_000;

/** The discoveries of one watch: call `poll` at every tick. */
export class RepeatedDiscovery<Target> {
  #dueMs: number;
  #isRunning = false;
  #finished: Discovered<Target> | null = null;
  /** Counts the restarts: the result of a discovery that began before one is dropped. */
  #generation = 0;
  readonly #trouble: Trouble;

  constructor(
    readonly discover: Discover<Target>,
    readonly env: Pick<Env, "log" | "monotonicMs">,
  ) {
    this.#dueMs = env.monotonicMs() + DISCOVERY_INTERVAL_MS;
    const end = "databases can be discovered again";
    this.#trouble = new Trouble(env, { what: "cannot discover databases", end });
  }

  /**
   * Starts a discovery if one is due and none is running.
   * @param nowMs the monotonic clock
   * @returns the discovery that has finished since the last call, once, or null
   */
  poll(nowMs: number): Discovered<Target> | null {
    const finished = this.#finished;
    this.#finished = null;
    if (!this.#isRunning && nowMs >= this.#dueMs) {
      this.#isRunning = true;
      this.#dueMs = nowMs + DISCOVERY_INTERVAL_MS;
      void this.#run(nowMs);
    }
    return finished;
  }

  /** Other databases are to be found from here on: drops the result of a discovery that is running. */
  restart(): void {
    this.#generation++;
    this.#finished = null;
  }

  async #run(startedMs: number): Promise<void> {
    const generation = this.#generation;
    try {
      const discovered = await this.discover();
      if (generation === this.#generation) this.#finished = discovered;
      this.#trouble.recovered();
    } catch (error) {
      this.#trouble.failed(error);
    } finally {
      // A slow discovery is followed by a pause as long as itself.
      const nowMs = this.env.monotonicMs();
      this.#dueMs = Math.max(this.#dueMs, nowMs + Math.min(DISCOVERY_INTERVAL_MS, nowMs - startedMs));
      this.#isRunning = false;
    }
  }
}
