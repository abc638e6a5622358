/**
 * Cuts off one request when nothing has moved for a while, or when its caller gives up. A request that moves
 * may take as long as it needs. Time in which this process itself stood still does not count. Each request
 * has one timer, whatever the number of chunks.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { ConnectionProblem } from "./connection-errors.ts";
import type { UploadInFlight } from "./uplink.ts";

/** Set in the context of an upload's error when nothing moved on the whole line before it was cut off. */
export const IS_STALLED = "stalled";

/**
 * Polls of a transfer within its limit: a movement of an upload shows by the next poll, and a standstill of
 * this process counts for one wait between polls at most.
 */
export const TRANSFER_POLLS = 3;

/** The reason of an abort that ends a request. Without one, each abort would make an error with a stack. */
const ENDED = new Error("the request has ended");

/** The line carries a body of this size at once: a request with it waits for the answer, not for the line. */
const SMALL_BODY_SIZE_MAX = 64 * 1024;

/** The timeout of one request; its owner has to call `stop` in the end. */
export class StallTimeout {
  /** Aborts when the request stalls or the caller's signal aborts. */
  readonly signal: AbortSignal;
  /** Called by `stop`, which may be called twice. */
  onStop: (() => void) | null = null;
  readonly #controller = new AbortController();
  readonly #env: Env;
  readonly #stallMs: number;
  readonly #polls: number;
  readonly #callerSignal: AbortSignal | undefined;
  /** The body on its way, until the answer begins. */
  #upload: UploadInFlight | null;
  #movedMs: number;
  #isPaused = false;
  #pausedMs = 0;
  #isStalled = false;
  /** When the request was cut off. */
  #cutMs = 0;

  /**
   * @param upload the body that the request sends, if any: its line decides how long it may stand still
   * @param polls how often the request is polled within `stallMs`
   */
  constructor(
    env: Env,
    stallMs: number,
    callerSignal: AbortSignal | undefined,
    upload: UploadInFlight | null = null,
    polls = 1,
  ) {
    this.#polls = polls;
    this.#upload = upload;
    this.#env = env;
    this.#stallMs = stallMs;
    this.#callerSignal = callerSignal;
    this.#movedMs = env.monotonicMs();
    this.signal = this.#controller.signal;
    callerSignal?.addEventListener("abort", this.#onCallerAbort, { once: true });
    void this.#run();
  }

  /** Bytes have moved. */
  touch(): void {
    this.#movedMs = this.#env.monotonicMs();
    this.#isPaused = false;
    this.#upload?.moved();
  }

  /** The answer has begun: the line has carried the body. */
  answered(): void {
    this.#upload?.answered();
    this.#upload = null;
    this.touch();
  }

  /** The caller is busy, not the other side: time does not count until `resume` or `touch`. */
  pause(): void {
    this.#isPaused = true;
    this.#pausedMs = this.#env.monotonicMs();
  }

  /** The caller waits for the other side again. The pause does not count, but nothing has moved either. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#movedMs += this.#env.monotonicMs() - this.#pausedMs;
  }

  /** How long the caller has waited for the other side without a movement, in ms. */
  get stillMs(): number {
    if (this.#isPaused) return 0;
    const stillMs = this.#env.monotonicMs() - this.#movedMs;
    if (this.#upload === null || this.#upload.sizeBytes <= SMALL_BODY_SIZE_MAX) return stillMs;
    // The kernel takes megabytes at once, and the line carries them for a long time.
    return Math.min(stillMs, this.#upload.uplink.pollStillMs());
  }

  /** Ends the timeout, and cuts off the request if it is not over: its answer is not read any more. */
  stop(): void {
    this.onStop?.();
    this.#callerSignal?.removeEventListener("abort", this.#onCallerAbort);
    this.#upload?.ended();
    this.#controller.abort(ENDED);
  }

  /**
   * The error to throw for a failure of the request. The abort of a caller stays what it is.
   * @param explain explains why there is no answer; it gets a stall as an error, too
   * @param moved the bytes that had moved before a stall, in words
   */
  errorFor(
    action: string,
    cause: unknown,
    explain: (cause: unknown) => ConnectionProblem,
    moved = "nothing",
  ): unknown {
    if (this.#callerSignal?.aborted) return this.#callerSignal.reason;
    if (cause instanceof WalrustError) return cause;
    const seconds = Math.round((this.#cutMs - this.#movedMs) / 100) / 10;
    const stall = this.#isStalled ? new Error(`${moved} moved for ${seconds} s`) : null;
    const { reason, hint, retryable } = explain(stall ?? cause);
    const context: Record<string, boolean> = this.#upload?.isLineStill === true ? { [IS_STALLED]: true } : {};
    return new WalrustError("storage", `Cannot ${action}: ${reason}`, { hint, context, retryable, cause });
  }

  readonly #onCallerAbort = (): void => {
    this.#controller.abort(this.#callerSignal?.reason);
  };

  async #run(): Promise<void> {
    const waitMaxMs = this.#stallMs / this.#polls;
    for (let waitMs = waitMaxMs; waitMs > 0; ) {
      const beganMs = this.#env.monotonicMs();
      await this.#env.sleep(waitMs, this.signal);
      if (this.signal.aborted) return;
      this.#excuse(this.#env.monotonicMs() - beganMs - waitMs);
      waitMs = Math.min(waitMaxMs, this.#leftMs());
    }
    this.#isStalled = true;
    this.#cutMs = this.#env.monotonicMs();
    this.#controller.abort(ENDED);
  }

  /**
   * A timer that fires late shows that this process stood still: stopped, suspended or busy. That time does
   * not count, because bytes that came meanwhile are still to be read.
   */
  #excuse(lateMs: number): void {
    if (lateMs <= 0 || this.#isPaused) return;
    this.#movedMs = Math.min(this.#env.monotonicMs(), this.#movedMs + lateMs);
  }

  /** How much longer nothing may move; at 0 or less the request is cut off. */
  #leftMs(): number {
    if (this.#isPaused) return this.#stallMs;
    const stillMs = this.#env.monotonicMs() - this.#movedMs;
    if (this.#upload !== null) return this.#upload.graceMs(stillMs, this.#stallMs);
    return this.#stallMs - stillMs;
  }
}
