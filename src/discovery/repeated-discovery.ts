/**
 * Asking again and again which databases there are, beside the loop: never two at once, and never waited for.
 * A discovery that fails changes nothing; it is said once, and its end once.
 */
import type { Env } from "../env.ts";
import { errorMessage } from "../errors.ts";
import type { Found } from "../replication/watch/unwatchable-status.ts";

/** From the start of one to the start of the next. */
const INTERVAL_MS = 5_000;

/** What finds databases: all that are present now, and what had to be left out. */
export type Discover = () => Promise<Found>;

/** The discoveries of one watch: `startDue` at every tick. */
export class Discovery {
  #dueMs: number;
  #isAsking = false;
  #saidMessage: string | null = null;

  constructor(
    readonly discover: Discover,
    readonly env: Env,
    readonly stopping: AbortSignal,
    readonly accept: (found: Found) => void,
  ) {
    this.#dueMs = env.monotonicMs() + INTERVAL_MS;
  }

  /** Starts one if it is time and none is under way. @param nowMs the monotonic clock */
  startDue(nowMs: number): void {
    if (this.#isAsking || nowMs < this.#dueMs) return;
    this.#isAsking = true;
    this.#dueMs = nowMs + INTERVAL_MS;
    void this.#ask(nowMs);
  }

  async #ask(startedMs: number): Promise<void> {
    try {
      const found = await this.discover();
      if (!this.stopping.aborted) this.accept(found);
      if (this.#saidMessage !== null) this.env.log.info("databases can be looked for again");
      this.#saidMessage = null;
    } catch (error) {
      const message = errorMessage(error);
      if (message !== this.#saidMessage) this.env.log.warn(`databases cannot be looked for: ${message}`);
      this.#saidMessage = message;
    } finally {
      // A slow one is not asked for without a pause.
      const nowMs = this.env.monotonicMs();
      this.#dueMs = Math.max(this.#dueMs, nowMs + Math.min(INTERVAL_MS, nowMs - startedMs));
      this.#isAsking = false;
    }
  }
}
