/**
 * The limit on waiting of one request: it is cut off when nothing has moved for a while, however long it
 * takes in all, and when its caller gives up. One timer a request, whatever the number of chunks.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { ConnectionProblem } from "./connection-errors.ts";
import type { UploadOnLine } from "./uplink.ts";

/** Set in the context of an upload's error: it was cut off, and nothing moved on the whole line. */
export const IS_STALLED = "stalled";

/** An upload that stands still is looked at this often within the limit: what moves is seen by then. */
const LOOKS_AT_UPLOAD = 3;

/** A body of this size is carried at once: while it waits, it waits for the answer. */
const SEEN_SIZE_MAX = 64 * 1024;

/** Watches one request; `stop` has to be called in the end. */
export class StallTimeout {
  /** Aborts when the request stalls or the caller's signal aborts. */
  readonly signal: AbortSignal;
  /** Called by `stop`, which may come twice. */
  onStop: (() => void) | null = null;
  readonly #controller = new AbortController();
  readonly #env: Env;
  readonly #stallMs: number;
  readonly #callerSignal: AbortSignal | undefined;
  /** The body that is on its way, until it is answered. */
  #upload: UploadOnLine | null;
  #movedMs: number;
  #isPaused = false;
  #pausedMs = 0;
  #isStalled = false;
  /** When it was cut off. */
  #cutMs = 0;

  /** @param upload the body it sends, if any: the line it shares says how long that may stand still */
  constructor(
    env: Env,
    stallMs: number,
    callerSignal: AbortSignal | undefined,
    upload: UploadOnLine | null = null,
  ) {
    this.#upload = upload;
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
    this.#upload?.moved();
  }

  /** The answer has begun: the body was carried. */
  answered(): void {
    this.#upload?.answered();
    this.#upload = null;
    this.touch();
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
    if (this.#isPaused) return 0;
    const stillMs = this.#env.monotonicMs() - this.#movedMs;
    if (this.#upload === null || this.#upload.sizeBytes <= SEEN_SIZE_MAX) return stillMs;
    // The kernel takes megabytes at once and carries them for long.
    return Math.min(stillMs, this.#upload.uplink.lookStillMs());
  }

  /** The request is over, or is cut off if it is not: nobody reads its answer any more. */
  stop(): void {
    this.onStop?.();
    this.#callerSignal?.removeEventListener("abort", this.#onCallerAbort);
    this.#upload?.ended();
    this.#controller.abort();
  }

  /**
   * The error that a failure of the request means. A caller's abort is thrown as it is.
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
    const seconds = Math.round((this.#cutMs - this.#movedMs) / 100) / 10;
    const stall = this.#isStalled ? new Error(`${moved} moved for ${seconds} s`) : null;
    const { reason, hint, retryable } = judge(stall ?? cause);
    const context = this.#upload?.isLineStill === true ? { [IS_STALLED]: true } : {};
    return new WalrustError("storage", `Cannot ${action}: ${reason}`, { hint, context, retryable, cause });
  }

  readonly #onCallerAbort = (): void => {
    this.#controller.abort(this.#callerSignal?.reason);
  };

  async #run(): Promise<void> {
    const waitMaxMs = this.#upload === null ? this.#stallMs : this.#stallMs / LOOKS_AT_UPLOAD;
    for (let waitMs = waitMaxMs; waitMs > 0; ) {
      await this.#env.sleep(waitMs, this.signal);
      if (this.signal.aborted) return;
      waitMs = Math.min(waitMaxMs, this.#leftMs());
    }
    this.#isStalled = true;
    this.#cutMs = this.#env.monotonicMs();
    this.#controller.abort();
  }

  /** How long nothing may go on moving; 0 or less: it is cut off. */
  #leftMs(): number {
    if (this.#isPaused) return this.#stallMs;
    const stillMs = this.#env.monotonicMs() - this.#movedMs;
    if (this.#upload !== null) return this.#upload.patienceMs(stillMs, this.#stallMs);
    return this.#stallMs - stillMs;
  }
}
