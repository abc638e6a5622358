/**
 * The circuit of one database as the rest of walrust knows it: whether its requests to the store pass, when
 * the next one passes, and the error of a request that did not. `guard/circuit-breaker.ts` decides.
 */
import type { RetryConfig } from "../../config/config.ts";
import { WalrustError } from "../../errors.ts";

/** When the requests of a database are suspended, and for how long. */
export type BreakerConfig = Pick<
  RetryConfig,
  "circuitBreakerEnabled" | "circuitBreakerThreshold" | "circuitBreakerCooldownMs"
>;

/** Closed: requests pass. Open: none passes. Half-open: one at a time passes, as a trial. */
export type CircuitState = "closed" | "open" | "half-open";

/** A change of state that is worth a report. */
export type CircuitChange =
  | {
      readonly kind: "opened";
      /** True for the first time in an outage, false when a failed trial opens the circuit again. */
      readonly isFirst: boolean;
      /** Calls in a row that failed. */
      readonly failures: number;
      /** When the next trial is made, on the wall clock. */
      readonly untilMs: number;
      /** The message of the last failure. */
      readonly message: string;
    }
  | { readonly kind: "closed" };

/** The state of a circuit, and the two ways to shorten a suspension. */
export interface Circuit {
  readonly state: CircuitState;
  /** Whether a call would pass now. */
  readonly isPassable: boolean;
  /**
   * When the next call passes, on the monotonic clock. Null while the circuit is closed, and while a trial is
   * on its way: nobody knows then.
   */
  readonly retryAtMs: number | null;
  /** How often the suspension was lifted: a caller that pauses after a failure goes on when this changes. */
  readonly liftCount: number;
  /** How many attempts of puts followed a failed one. */
  readonly retryCount: number;
  /** The store seems to be back: ends the cooldown, and the pauses of callers that read `liftCount`. */
  lift(): void;
  /** Ends the cooldown, so that the next call is the trial. For a caller that has no time left to wait. */
  endCooldown(): void;
}

/** The name, in an error's context, of the circuit's state. */
const CIRCUIT = "circuit";

/** The remedy where the last failure has none of its own. */
const SUSPENSION_HINT =
  "Nothing is lost, captured changes wait on disk; check the network, the endpoint and the store";

/** The error of a request that was not sent. @param facts `hint`: the remedy of the last failure */
export function suspensionError(
  message: string,
  facts: { readonly state: CircuitState; readonly failures: number; readonly hint: string | undefined },
): WalrustError {
  return new WalrustError("storage", message, {
    hint: facts.hint ?? SUSPENSION_HINT,
    context: { [CIRCUIT]: facts.state, failures: facts.failures },
    retryable: true,
  });
}

/** Whether an error comes from an open circuit: the request was not sent. */
export function isSuspension(error: unknown): boolean {
  return error instanceof WalrustError && error.context[CIRCUIT] !== undefined;
}
