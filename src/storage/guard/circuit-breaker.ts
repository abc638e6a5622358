/**
 * The circuit breaker of one database: suspends its requests to the store after calls have failed in a row.
 *
 *     closed --- `threshold` calls in a row failed ---> open
 *     open --- the cooldown is over ---> half-open
 *     half-open --- the trial succeeds ---> closed; it fails ---> open, for another cooldown
 *     half-open --- the store answers a look ---> closed on probation: the next failure opens it again
 *
 * A call counts once, after all its retries: as a failure if the store could not be reached or did not do its
 * work (5xx, 408, 429, a timeout, a lost connection: every retryable error of class storage); as a success if
 * it succeeded, or if the store answered it with a definite refusal (401, 403, 404, 412), for a store that
 * refuses works. An abort, a bug or a local failure says nothing about the store and does not count. Of calls
 * that overlap only the first failure counts: five listings side by side that fail are one thing gone wrong.
 *
 * Invariants:
 * 1. It opens only after `threshold` failures in a row. The outage lasts until a call succeeds: what opens it
 *    again before that is no other outage.
 * 2. While it is open no call passes; while half-open one at a time.
 * 3. Only calls that passed since the last change count: one that began before it says nothing about now.
 */
import type { Env } from "../../env.ts";
import { EXIT_CODES, errorMessage, WalrustError } from "../../errors.ts";
import { s3StatusOf } from "../contract/request-errors.ts";

/** When requests are suspended, and for how long. */
export interface BreakerPolicy {
  /** Calls one after another that failed after all their retries. */
  readonly threshold: number;
  readonly cooldownMs: number;
}

/** Ten calls in a row, then a minute. */
export const DEFAULT_BREAKER: BreakerPolicy = { threshold: 10, cooldownMs: 60_000 };

/** Whether calls pass. */
export type BreakerState = "closed" | "open" | "half-open";

/** A change that somebody may want to know of. */
export type BreakerChange =
  | {
      readonly kind: "opened";
      /** True for the first time in an outage, false when it opens again after a trial. */
      readonly isFirst: boolean;
      /** Calls in a row that failed. */
      readonly failures: number;
      /** When the next one is tried, on the wall clock. */
      readonly untilMs: number;
      /** What the last one failed with. */
      readonly message: string;
    }
  | { readonly kind: "closed" };

/** Who is told how calls end. */
export interface CallListener {
  failed(breaker: CircuitBreaker): void;
  succeeded(breaker: CircuitBreaker): void;
}

/** A call that was let through; its end has to be told. */
export interface Passage {
  /** Whether the state of the circuit hangs on it. */
  readonly isTrial: boolean;
  /** How many changes of the circuit it came after. */
  readonly era: number;
  /** How many failures had been counted when it began. */
  readonly counted: number;
  isSettled: boolean;
}

/**
 * What the end of a call says about the store. "answers": a trial that is only a look, not what has to
 * succeed in the end.
 */
export type Verdict = "works" | "answers" | "fails" | "unknown";

const DEFINITE_CODES: ReadonlySet<string> = new Set(["not-found", "precondition", "missing-bucket"]);

/**
 * What an error that a call ended with says about the store. Without an answer, "auth" means that no keys
 * were found.
 */
export function verdictOf(error: unknown): Verdict {
  if (!(error instanceof WalrustError)) return "unknown";
  if (error.retryable) return error.exitCode === EXIT_CODES.storage ? "fails" : "unknown";
  return DEFINITE_CODES.has(error.code) || s3StatusOf(error) !== 0 ? "works" : "unknown";
}

/** Whether an error is the circuit breaker's own: nothing was sent. */
export function isSuspension(error: unknown): boolean {
  return error instanceof WalrustError && error.context["circuit"] !== undefined;
}

/** Decides call by call. It holds no timer: time is looked at when somebody asks. */
export class CircuitBreaker {
  readonly #policy: BreakerPolicy | null;
  readonly #env: Pick<Env, "monotonicMs" | "nowMs">;
  readonly #onChange: (change: BreakerChange) => void;
  readonly #outage: CallListener | undefined;
  #failures = 0;
  /** All failures that were ever counted. */
  #counted = 0;
  #reason = "";
  /** When a trial may be made; null while closed. */
  #openUntilMs: number | null = null;
  #trial: Passage | null = null;
  /** From the first opening to the first success. */
  #isOutage = false;
  #era = 0;
  #liftCount = 0;

  /**
   * @param policy null: it never opens
   * @param outage told of every call that fails or succeeds, so that the end of one is the end for all
   */
  constructor(
    policy: BreakerPolicy | null,
    env: Pick<Env, "monotonicMs" | "nowMs">,
    onChange: (change: BreakerChange) => void,
    outage?: CallListener,
  ) {
    this.#outage = outage;
    this.#policy = policy;
    this.#env = env;
    this.#onChange = onChange;
  }

  get state(): BreakerState {
    if (this.#openUntilMs === null) return "closed";
    return this.#env.monotonicMs() >= this.#openUntilMs ? "half-open" : "open";
  }

  /**
   * When the next call passes, on the monotonic clock. Null when one passes anyway (closed), and when nobody
   * knows yet (a trial is on its way).
   */
  get retryAtMs(): number | null {
    return this.#trial === null ? this.#openUntilMs : null;
  }

  /** Whether a call would pass now. */
  get isPassable(): boolean {
    return this.state === "closed" || (this.state === "half-open" && this.#trial === null);
  }

  /** How often `lift` was called: whoever pauses after a failure goes on when it has changed. */
  get liftCount(): number {
    return this.#liftCount;
  }

  /** The store seems to be back: ends the cooldown, and the pauses of who looks at `liftCount`. */
  lift(): void {
    this.#liftCount++;
    this.hurry();
  }

  /** Ends the cooldown: the next call is the trial. For when there is no time left to wait. */
  hurry(): void {
    if (this.#openUntilMs === null) return;
    this.#openUntilMs = Math.min(this.#openUntilMs, this.#env.monotonicMs());
  }

  /**
   * Lets a call pass: the caller has to `settle` it.
   * @throws WalrustError "storage", retryable, while requests are suspended (`isSuspension`)
   */
  pass(): Passage {
    if (!this.isPassable) throw this.#suspension();
    const isTrial = this.#openUntilMs !== null;
    const passage: Passage = { isTrial, era: this.#era, counted: this.#counted, isSettled: false };
    if (isTrial) this.#trial = passage;
    return passage;
  }

  /** Tells how a call ended. Only the first time counts. */
  settle(passage: Passage, verdict: Verdict, error?: unknown): void {
    if (passage.isSettled) return;
    passage.isSettled = true;
    if (verdict === "fails") this.#outage?.failed(this);
    else if (verdict === "works") this.#outage?.succeeded(this);
    if (passage.era !== this.#era) return;
    if (passage.isTrial) this.#trial = null;
    if (verdict === "works") this.#succeeded();
    else if (verdict === "fails") this.#failed(passage, errorMessage(error));
    else if (verdict === "answers" && passage.isTrial) this.#close();
  }

  #succeeded(): void {
    this.#failures = 0;
    if (!this.#isOutage) return;
    this.#isOutage = false;
    this.#close();
    this.#onChange({ kind: "closed" });
  }

  #close(): void {
    this.#openUntilMs = null;
    this.#era++;
  }

  #failed({ isTrial, counted }: Passage, message: string): void {
    this.#reason = message;
    if (counted !== this.#counted) return;
    this.#counted++;
    this.#failures++;
    if (this.#policy === null || (!isTrial && this.#failures < this.#policy.threshold)) return;
    const { cooldownMs } = this.#policy;
    this.#openUntilMs = this.#env.monotonicMs() + cooldownMs;
    this.#era++;
    const isFirst = !this.#isOutage;
    this.#isOutage = true;
    const untilMs = this.#env.nowMs() + cooldownMs;
    this.#onChange({ kind: "opened", isFirst, failures: this.#failures, untilMs, message });
  }

  #suspension(): WalrustError {
    const leftMs = (this.#openUntilMs ?? 0) - this.#env.monotonicMs();
    const next = leftMs > 0 ? `the next is tried in ${Math.ceil(leftMs / 1000)} s` : "one is being tried now";
    const what = `Requests are suspended after ${this.#failures} failures in a row, and ${next}`;
    return new WalrustError("storage", `${what}. The last one: ${this.#reason}`, {
      hint: "Nothing is lost, captured changes wait on disk; check the network, the endpoint and the store",
      context: { circuit: this.state, failures: this.#failures },
      retryable: true,
    });
  }
}
