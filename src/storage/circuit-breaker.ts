/**
 * The circuit breaker of one database: suspends its requests to the store after calls have failed in a row.
 */

/** When requests are suspended, and for how long. */
export interface BreakerPolicy {
  /** Calls in a row that failed after all their retries. */
  readonly threshold: number;
  readonly cooldownMs: number;
}
