/**
 * Notices a store that does not answer, once for the host, whatever the number of databases, requests and
 * tries: a warning after ten seconds, an error after thirty, and the end.
 *
 * A method (PUT, GET, …) is in trouble from the moment one of its requests stands still or fails until one is
 * answered well: a store that answers HEAD and takes no PUT is in trouble, too. It counts per method and not
 * per request, because a store that hangs is tried again and again.
 *
 * Invariants:
 * 1. The warning and the error come at most once between two answers.
 * 2. No timer runs while no request is on its way.
 */
import type { Env } from "../../env.ts";
import type { ConditionSink } from "../../errors.ts";

/** So long nothing may move before that is said. */
const QUIET_MS = 10_000;
/** So long a store may fail, or not answer, before that is an error. */
const SILENT_MS = 30_000;
/** How often requests are looked at while something is wrong. */
const LOOK_MS = 1_000;
/** Trouble of which nothing was heard for this long is over as soon as another method is answered. */
const FORGOTTEN_MS = 60_000;

/** The condition of a store that does not answer. */
export const STORE_SILENT = "store-silent";

/** A request that is on its way. */
export interface AwaitedRequest {
  readonly method: string;
  /** As in "put k to s3://bucket". */
  readonly action: string;
  /** How long nothing has moved. */
  readonly stillMs: () => number;
}

interface Trouble {
  /** Since when nothing was answered well, on the monotonic clock. */
  readonly sinceMs: number;
  /** When it was seen last. */
  seenMs: number;
}

/** Watches the requests to one store. */
export class ReachabilityMonitor {
  readonly #env: Pick<Env, "log" | "monotonicMs" | "sleep">;
  readonly #sink: ConditionSink;
  readonly #isLasting: boolean;
  readonly #awaited = new Set<AwaitedRequest>();
  readonly #troubles = new Map<string, Trouble>();
  /** When a request of each method was answered last. */
  readonly #answeredMs = new Map<string, number>();
  #host = "the store";
  #isLooking = false;
  #isRaised = false;
  #isErrorLogged = false;

  /**
   * @param sink told of the warning and the end
   * @param isLasting whether a failure may last, so that it becomes an error; a verb ends with one of its own
   */
  constructor(env: Pick<Env, "log" | "monotonicMs" | "sleep">, sink: ConditionSink, isLasting = false) {
    this.#env = env;
    this.#sink = sink;
    this.#isLasting = isLasting;
  }

  /** Says where the store is: scheme, host and port. */
  named(origin: string): void {
    this.#host = origin;
  }

  /** A request is sent. It has to be `ended`. */
  began(request: AwaitedRequest): void {
    this.#awaited.add(request);
    if (!this.#isLooking) void this.#look();
  }

  /** A request is over, however. Twice does no harm. */
  ended(request: AwaitedRequest): void {
    this.#awaited.delete(request);
  }

  /** A request was answered as it should be. */
  answered(method: string): void {
    const nowMs = this.#env.monotonicMs();
    this.#answeredMs.set(method, nowMs);
    if (this.#troubles.size === 0) return;
    this.#troubles.delete(method);
    for (const [other, { seenMs }] of this.#troubles) {
      if (nowMs - seenMs >= FORGOTTEN_MS) this.#troubles.delete(other);
    }
    if (this.#troubles.size > 0) return;
    if (this.#isRaised) this.#sink.clear(STORE_SILENT);
    this.#isRaised = false;
    this.#isErrorLogged = false;
  }

  /**
   * A try failed for a reason that may pass.
   * @param message what the try failed with
   * @param waitMs how long the store asks to wait before the next try
   */
  failed({ method }: Pick<AwaitedRequest, "method">, message: string, waitMs = 0): void {
    const nowMs = this.#env.monotonicMs();
    this.#seen(method, nowMs);
    this.#judge(method, nowMs, waitMs, message);
  }

  /** Looks at the requests on their way, until there are none. */
  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#awaited.size > 0) {
      let stillMaxMs = 0;
      for (const { method, action, stillMs } of this.#awaited) {
        // Beside others that are answered one request may take its time.
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
        );
      }
      await this.#env.sleep(Math.max(LOOK_MS, QUIET_MS - stillMaxMs));
    }
    this.#isLooking = false;
  }

  #seen(method: string, sinceMs: number): void {
    const trouble = this.#troubles.get(method);
    const seenMs = this.#env.monotonicMs();
    if (trouble === undefined) this.#troubles.set(method, { sinceMs, seenMs });
    else trouble.seenMs = seenMs;
  }

  #judge(method: string, nowMs: number, waitMs: number, reason: string): void {
    const lastsMs = nowMs - (this.#troubles.get(method)?.sinceMs ?? nowMs);
    if (lastsMs + waitMs >= QUIET_MS && !this.#isRaised) {
      this.#isRaised = true;
      const message = `waiting for ${this.#host}: ${reason}`;
      const hint = "Captured changes wait on disk; check the network, the endpoint and the store";
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
