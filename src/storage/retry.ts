/**
 * Trying again: full jitter, so that many databases that failed together do not come back together.
 *
 * Only a WalrustError that calls itself retryable is tried again. Everything else, an abort above all, is
 * thrown at once. After the last attempt the last error is thrown as it is.
 *
 * A store that says when to come back (Retry-After) is not asked before, but for the longest delay: it does
 * not decide how long we wait.
 */
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";

/** How often and how long to wait. */
export interface RetryPolicy {
  /** Attempts after the first one. */
  readonly retryCountMax: number;
  readonly baseMs: number;
  readonly delayMaxMs: number;
}

/** Five retries, from 100 ms doubling to 30 s. */
export const DEFAULT_RETRY: RetryPolicy = { retryCountMax: 5, baseMs: 100, delayMaxMs: 30_000 };

/** Each attempt once. */
export const NO_RETRY: RetryPolicy = { retryCountMax: 0, baseMs: 0, delayMaxMs: 0 };

/** What surrounds the attempts. */
export interface RetryContext {
  readonly env: Env;
  readonly policy: RetryPolicy;
  readonly signal?: AbortSignal | undefined;
  /** Told of each failure that is tried again. */
  readonly onRetry?: (error: WalrustError, retryIndex: number, delayMs: number) => void;
}

/** Doubling ends here: 2^1024 is Infinity, and a base of 0 times that is no number. */
const DOUBLINGS_MAX = 50;

/** The name in an error's context of the wait that the store asks for, in ms. */
export const RETRY_AFTER = "retryAfterMs";

/** The wait before retry `retryIndex` (from 0): uniform between 0 and min(max, base · 2^index), in ms. */
export function retryDelayMs(policy: RetryPolicy, retryIndex: number, random: number): number {
  return random * Math.min(policy.delayMaxMs, policy.baseMs * 2 ** Math.min(retryIndex, DOUBLINGS_MAX));
}

/** The wait after an error: what the store asks for comes first, and all of it stays below the maximum. */
function delayAfter(error: WalrustError, policy: RetryPolicy, retryIndex: number, random: number): number {
  const asked = error.context[RETRY_AFTER];
  const leastMs = typeof asked === "number" ? asked : 0;
  return Math.min(policy.delayMaxMs, leastMs + retryDelayMs(policy, retryIndex, random));
}

/**
 * Runs `attempt` (which gets its index, from 0) until it succeeds, fails for good, or the retries are used
 * up.
 */
export async function withRetry<T>(
  context: RetryContext,
  attempt: (attemptIndex: number) => Promise<T>,
): Promise<T> {
  const { env, policy, signal } = context;
  for (let index = 0; ; index++) {
    try {
      signal?.throwIfAborted();
      return await attempt(index);
    } catch (error) {
      if (!(error instanceof WalrustError) || !error.retryable || index >= policy.retryCountMax) throw error;
      const delayMs = delayAfter(error, policy, index, env.random());
      context.onRetry?.(error, index, delayMs);
      await env.sleep(delayMs, signal);
    }
  }
}
