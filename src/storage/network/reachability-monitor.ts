/**
 * Reports a store that does not answer, once for the host however many databases, requests and attempts meet
 * it: logs a warning after ten seconds, an error after thirty, and the end when the store answers again.
 *
 * A method (PUT, GET, …) counts as failing from the moment when one of its requests stalls or fails, until
 * one of them gets a good answer: a store that answers HEAD and takes no PUT counts as failing. Failures
 * count per method and not per request, because requests to a store that hangs are retried again and again.
 *
 * Invariants:
 * 1. The warning and the error come at most once between two answers.
 * 2. No timer runs while no request is on its way.
 */
import type { Env } from "../../env.ts";
import type { ConditionSink } from "../../errors.ts";

/** A warning follows when nothing has moved for this long. */
const QUIET_MS = 10_000;
/** An error follows when the store has failed, or not answered, for this long. */
const SILENT_MS = 30_000;
/** Between two polls of the requests on their way while one stands still. */
const POLL_MS = 1_000;
/** A failure that was not seen for this long ends as soon as another method is answered. */
const FORGOTTEN_MS = 60_000;

/** The remedy where a failure has none of its own. */
const SILENCE_HINT = "Captured changes wait on disk; check the network, the endpoint and the store";

/** The code of the condition that a store does not answer. */
export const STORE_SILENT = "store-silent";

/** A request that is on its way. */
export interface AwaitedRequest {
  readonly method: string;
  /** As in "put k to s3://bucket". */
  readonly action: string;
  /** How long nothing has moved. */
  readonly stillMs: () => number;
}

interface FailingMethod {
  /** Since when nothing was answered well, on the monotonic clock. */
  readonly sinceMs: number;
  /** When a failure was last seen. */
  seenMs: number;
}

/** Observes the requests to one store. */
export class ReachabilityMonitor {
  readonly #env: Pick<Env, "log" | "monotonicMs" | "sleep">;
  readonly #sink: ConditionSink;
  readonly #isLasting: boolean;
  readonly #awaited = new Set<AwaitedRequest>();
  readonly #failing = new Map<string, FailingMethod>();
  /** When a request of each method was last answered. */
  readonly #answeredMs = new Map<string, number>();
  #host = "the store";
  #isPolling = false;
  #isRaised = false;
  #isErrorLogged = false;

  /**
   * @param sink receives the warning and its end
   * @param isLasting whether to log an error too: for a process that goes on; a verb ends with its own error
   */
  constructor(env: Pick<Env, "log" | "monotonicMs" | "sleep">, sink: ConditionSink, isLasting = false) {
    this.#env = env;
    this.#sink = sink;
    this.#isLasting = isLasting;
  }

  /** Sets the origin of the store (scheme, host and port) for messages. */
  setOrigin(origin: string): void {
    this.#host = origin;
  }

  /** A request is sent; its end has to be reported by `ended`. */
  began(request: AwaitedRequest): void {
    this.#awaited.add(request);
    if (!this.#isPolling) void this.#poll();
  }

  /** A request is over, answered or not. A second call has no effect. */
  ended(request: AwaitedRequest): void {
    this.#awaited.delete(request);
  }

  /** A request was answered well. */
  answered(method: string): void {
    const nowMs = this.#env.monotonicMs();
    this.#answeredMs.set(method, nowMs);
    if (this.#failing.size === 0) return;
    this.#failing.delete(method);
    for (const [other, { seenMs }] of this.#failing) {
      if (nowMs - seenMs >= FORGOTTEN_MS) this.#failing.delete(other);
    }
    if (this.#failing.size > 0) return;
    if (this.#isRaised) this.#sink.clear(STORE_SILENT);
    this.#isRaised = false;
    this.#isErrorLogged = false;
  }

  /**
   * An attempt failed for a reason that may pass.
   * @param failure its message, and its remedy if there is one
   * @param waitMs the wait before the next attempt that the store asks for
   */
  failed(
    { method }: Pick<AwaitedRequest, "method">,
    { message, hint = SILENCE_HINT }: { readonly message: string; readonly hint?: string | undefined },
    waitMs = 0,
  ): void {
    const nowMs = this.#env.monotonicMs();
    this.#seen(method, nowMs);
    this.#judge(method, nowMs, waitMs, message, hint);
  }

  /** How long the store has answered no request well that was sent to it; 0 while it does, or has none. */
  get silentMs(): number {
    const nowMs = this.#env.monotonicMs();
    let longestMs = 0;
    for (const { sinceMs } of this.#failing.values()) longestMs = Math.max(longestMs, nowMs - sinceMs);
    for (const { method, stillMs } of this.#awaited) {
      const answeredMs = this.#answeredMs.get(method) ?? Number.NEGATIVE_INFINITY;
      longestMs = Math.max(longestMs, Math.min(stillMs(), nowMs - answeredMs));
    }
    return longestMs;
  }

  /** Polls the requests on their way, until there are none. */
  async #poll(): Promise<void> {
    this.#isPolling = true;
    while (this.#awaited.size > 0) {
      let stillMaxMs = 0;
      for (const { method, action, stillMs } of this.#awaited) {
        // One request may stand still while others of its method are answered.
        const answeredMs = this.#answeredMs.get(method) ?? Number.NEGATIVE_INFINITY;
        const forMs = Math.min(stillMs(), this.#env.monotonicMs() - answeredMs);
        stillMaxMs = Math.max(stillMaxMs, forMs);
        if (forMs < QUIET_MS) continue;
        const nowMs = this.#env.monotonicMs();
        this.#seen(method, nowMs - forMs);
        this.#judge(
          method,
          nowMs,
          0,
          `cannot ${action} yet: nothing moved for ${Math.round(forMs / 1000)} s`,
          SILENCE_HINT,
        );
      }
      await this.#env.sleep(Math.max(POLL_MS, QUIET_MS - stillMaxMs));
    }
    this.#isPolling = false;
  }

  #seen(method: string, sinceMs: number): void {
    const failing = this.#failing.get(method);
    const seenMs = this.#env.monotonicMs();
    if (failing === undefined) this.#failing.set(method, { sinceMs, seenMs });
    else failing.seenMs = seenMs;
  }

  #judge(method: string, nowMs: number, waitMs: number, reason: string, hint: string): void {
    const lastsMs = nowMs - (this.#failing.get(method)?.sinceMs ?? nowMs);
    if (lastsMs + waitMs >= QUIET_MS && !this.#isRaised) {
      this.#isRaised = true;
      const message = `waiting for ${this.#host}: ${reason}`;
      this.#sink.raise({ code: STORE_SILENT, health: "degraded", message, hint });
    }
    if (lastsMs < SILENT_MS || this.#isErrorLogged || !this.#isLasting) return;
    this.#isErrorLogged = true;
    const seconds = Math.round(lastsMs / 1000);
    this.#env.log.error(
      `${this.#host} has not answered for ${seconds} s, and nothing is uploaded: ${reason}`,
    );
  }
}
