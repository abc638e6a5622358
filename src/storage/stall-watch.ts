/**
 * The limit on waiting of one request: it is cut off when nothing has moved for a while, however long it
 * takes in all, and when its caller gives up. One timer a request, whatever the number of chunks.
 */
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import type { ConnectionProblem } from "./connection-errors.ts";

/** Watches one request; `stop` has to be called in the end. */
export class StallWatch {
  /** Aborts when the request stalls or the caller's signal aborts. */
  readonly signal: AbortSignal;
  /** Called by `stop`, which may come twice. */
  onStop: (() => void) | null = null;
  readonly #controller = new AbortController();
  readonly #env: Env;
  readonly #stallMs: number;
  readonly #callerSignal: AbortSignal | undefined;
  #movedMs: number;
  #isPaused = false;
  #pausedMs = 0;
  #isStalled = false;

  constructor(env: Env, stallMs: number, callerSignal: AbortSignal | undefined) {
    this.#env = env;
    this.#stallMs = stallMs;
    this.#callerSignal = callerSignal;
    this.#movedMs = env.monotonicMs();
    this.signal = this.#controller.signal;
    callerSignal?.addEventListener("abort", this.#onCallerAbort, { once: true });
    void this.#run();
  }

  /** Something moved. */
  touch(): void {
    this.#movedMs = this.#env.monotonicMs();
    this.#isPaused = false;
  }

  /** It is not the other side's turn: time does not count until the next `touch`. */
  pause(): void {
    this.#isPaused = true;
    this.#pausedMs = this.#env.monotonicMs();
  }

  /** It is the other side's turn again. The pause does not count, but nothing has moved either. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#movedMs += this.#env.monotonicMs() - this.#pausedMs;
  }

  /** How long the other side has moved nothing while it was its turn, in ms. */
  get stillMs(): number {
    return this.#isPaused ? 0 : this.#env.monotonicMs() - this.#movedMs;
  }

  /** The request is over, or is cut off if it is not: nobody reads its answer any more. */
  stop(): void {
    this.onStop?.();
    this.#callerSignal?.removeEventListener("abort", this.#onCallerAbort);
    this.#controller.abort();
  }

  /**
   * What a failure of the request means. A caller's abort is thrown as it is.
   * @param judge says why there is no answer; a stall is told to it as an error, too
   * @param moved what had moved when it stalled
   */
  errorFor(
    action: string,
    cause: unknown,
    judge: (cause: unknown) => ConnectionProblem,
    moved = "nothing",
  ): unknown {
    if (this.#callerSignal?.aborted) return this.#callerSignal.reason;
    if (cause instanceof WalrustError) return cause;
    const stall = this.#isStalled ? new Error(`${moved} moved for ${this.#stallMs / 1000} s`) : null;
    const { reason, hint, retryable } = judge(stall ?? cause);
    return new WalrustError("storage", `Cannot ${action}: ${reason}`, { hint, retryable, cause });
  }

  readonly #onCallerAbort = (): void => {
    this.#controller.abort(this.#callerSignal?.reason);
  };

  async #run(): Promise<void> {
    let waitMs = this.#stallMs;
    while (true) {
      await this.#env.sleep(waitMs, this.signal);
      if (this.signal.aborted) return;
      const stillMs = this.#env.monotonicMs() - this.#movedMs;
      if (!this.#isPaused && stillMs >= this.#stallMs) break;
      waitMs = this.#isPaused ? this.#stallMs : this.#stallMs - stillMs;
    }
    this.#isStalled = true;
    this.#controller.abort();
  }
}
