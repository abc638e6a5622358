/**
 * The circuit breaker of one database: suspends its requests to the store after calls have failed in a row.
 *
 *     closed --- `threshold` calls in a row fail ---> open
 *     open --- the cooldown ends ---> half-open
 *     half-open --- the trial succeeds ---> closed; it fails ---> open, for another cooldown
 *     half-open --- the store answers a HEAD before a big put ---> closed on probation: the next failure
 *                   opens it again
 *
 * A call counts once, after all its retries. It is a failure if the store could not be reached or did not do
 * its work (5xx, 408, 429, a timeout, a lost connection: every retryable error of class storage). It is a
 * success if it succeeded, or if the store refused it for good (401, 403, 404, 412): a store that refuses
 * works. An abort, a bug or a local failure shows nothing about the store and does not count. Of calls that
 * overlap only the first failure counts: five listings that fail side by side are one fault.
 *
 * Invariants:
 * 1. The circuit opens only after `threshold` failures in a row. An outage lasts until a call succeeds: a
 *    circuit that opens again before that reports no second outage.
 * 2. No call passes while the circuit is open; one at a time passes while it is half-open.
 * 3. A call counts only if it was admitted after the last change of state.
 *
 * The breaker holds no timer: it compares the clock at each call.
 */
import type { Env } from "../../env.ts";
import { EXIT_CODES, errorMessage, WalrustError } from "../../errors.ts";
import {
  type BreakerConfig,
  type Circuit,
  type CircuitChange,
  type CircuitState,
  suspensionError,
} from "../contract/circuit.ts";
import { answerStatusOf } from "../contract/request-errors.ts";

/** Learns how the calls of each circuit end. */
export interface CallListener {
  failed(circuit: Circuit): void;
  succeeded(circuit: Circuit): void;
}

/** Learns how the state of one circuit changes. */
export interface CircuitReport {
  changed(change: CircuitChange): void;
}

/** A call that the breaker let pass; its end has to be settled. */
export interface AdmittedCall {
  /** Whether the state of the circuit depends on this call. */
  readonly isTrial: boolean;
  /** How many changes of state came before it. */
  readonly era: number;
  /** How many failures had been counted when it began. */
  readonly counted: number;
  isSettled: boolean;
}

/**
 * The end of a call, as evidence about the store. "answered" is for a trial that only asks whether the store
 * answers, and is not the work that has to succeed in the end.
 */
export type CallOutcome = "succeeded" | "answered" | "failed" | "no-evidence";

const DEFINITE_CODES: ReadonlySet<string> = new Set(["not-found", "precondition", "missing-bucket"]);

/** The outcome of a call that ended with an error. "auth" without a status means that no keys were found. */
export function outcomeOfError(error: unknown): CallOutcome {
  if (!(error instanceof WalrustError)) return "no-evidence";
  if (error.retryable) return error.exitCode === EXIT_CODES.storage ? "failed" : "no-evidence";
  return DEFINITE_CODES.has(error.code) || answerStatusOf(error) !== 0 ? "succeeded" : "no-evidence";
}

/** Decides call by call whether a request passes. */
export class CircuitBreaker implements Circuit {
  readonly #config: BreakerConfig;
  readonly #env: Pick<Env, "monotonicMs" | "nowMs">;
  readonly #report: CircuitReport;
  readonly #listener: CallListener | undefined;
  /** Failures in a row. */
  #failures = 0;
  /** All failures that were ever counted. */
  #counted = 0;
  #reason = "";
  #hint: string | undefined;
  /** When a trial may be made; null while closed. */
  #openUntilMs: number | null = null;
  #trial: AdmittedCall | null = null;
  /** From the first opening to the first success. */
  #isOutage = false;
  #era = 0;
  #liftCount = 0;
  #retryCount = 0;

  /**
   * @param listener learns of every failure and success, so that the end of one outage ends all
   */
  constructor(
    config: BreakerConfig,
    env: Pick<Env, "monotonicMs" | "nowMs">,
    report: CircuitReport,
    listener?: CallListener,
  ) {
    this.#listener = listener;
    this.#config = config;
    this.#env = env;
    this.#report = report;
  }

  get state(): CircuitState {
    if (this.#openUntilMs === null) return "closed";
    return this.#env.monotonicMs() >= this.#openUntilMs ? "half-open" : "open";
  }

  get retryAtMs(): number | null {
    return this.#trial === null ? this.#openUntilMs : null;
  }

  get isPassable(): boolean {
    return this.state === "closed" || (this.state === "half-open" && this.#trial === null);
  }

  get liftCount(): number {
    return this.#liftCount;
  }

  get retryCount(): number {
    return this.#retryCount;
  }

  /** A put is tried again. */
  retried(): void {
    this.#retryCount++;
  }

  lift(): void {
    this.#liftCount++;
    this.endCooldown();
  }

  endCooldown(): void {
    if (this.#openUntilMs === null) return;
    this.#openUntilMs = Math.min(this.#openUntilMs, this.#env.monotonicMs());
  }

  /**
   * Lets a call pass; the caller has to `settle` it.
   * @throws WalrustError "storage", retryable, while requests are suspended (`isSuspension`)
   */
  admit(): AdmittedCall {
    if (!this.isPassable) throw this.#suspension();
    const isTrial = this.#openUntilMs !== null;
    const call: AdmittedCall = { isTrial, era: this.#era, counted: this.#counted, isSettled: false };
    if (isTrial) this.#trial = call;
    return call;
  }

  /** Takes the end of a call into account. Only the first outcome of a call counts. */
  settle(call: AdmittedCall, outcome: CallOutcome, error?: unknown): void {
    if (call.isSettled) return;
    call.isSettled = true;
    if (outcome === "failed") this.#listener?.failed(this);
    else if (outcome === "succeeded") this.#listener?.succeeded(this);
    if (call.era !== this.#era) return;
    if (call.isTrial) this.#trial = null;
    if (outcome === "succeeded") this.#succeeded();
    else if (outcome === "failed") this.#failed(call, error);
    else if (outcome === "answered" && call.isTrial) this.#close();
  }

  #succeeded(): void {
    this.#failures = 0;
    if (!this.#isOutage) return;
    this.#isOutage = false;
    this.#close();
    this.#report.changed({ kind: "closed" });
  }

  #close(): void {
    this.#openUntilMs = null;
    this.#era++;
  }

  #failed({ isTrial, counted }: AdmittedCall, error: unknown): void {
    const message = errorMessage(error);
    this.#reason = message;
    this.#hint = error instanceof WalrustError ? error.hint : undefined;
    if (counted !== this.#counted) return;
    this.#counted++;
    this.#failures++;
    const { circuitBreakerEnabled, circuitBreakerThreshold, circuitBreakerCooldownMs } = this.#config;
    if (!circuitBreakerEnabled || (!isTrial && this.#failures < circuitBreakerThreshold)) return;
    this.#openUntilMs = this.#env.monotonicMs() + circuitBreakerCooldownMs;
    this.#era++;
    const isFirst = !this.#isOutage;
    this.#isOutage = true;
    const untilMs = this.#env.nowMs() + circuitBreakerCooldownMs;
    this.#report.changed({ kind: "opened", isFirst, failures: this.#failures, untilMs, message });
  }

  #suspension(): WalrustError {
    const leftMs = (this.#openUntilMs ?? 0) - this.#env.monotonicMs();
    const next = leftMs > 0 ? `the next is tried in ${Math.ceil(leftMs / 1000)} s` : "one is being tried now";
    const what = `Requests are suspended after ${this.#failures} failures in a row, and ${next}`;
    const facts = { state: this.state, failures: this.#failures, hint: this.#hint };
    return suspensionError(`${what}. The last one: ${this.#reason}`, facts);
  }
}
