/**
 * Trying again: full jitter, so that many databases that failed together do not come back together.
 *
 * Only a WalrustError that calls itself retryable is tried again. Everything else, an abort above all, is
 * thrown at once. After the last attempt the last error is thrown as it is.
 *
 * A store that says when to come back (Retry-After) is not asked before, but for the longest delay: it does
 * not decide how long we wait.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";

/** How often and how long to wait. */
export interface RetryPolicy {
  /** Attempts after the first one. */
  readonly retryCountMax: number;
  readonly baseMs: number;
  readonly delayMaxMs: number;
  /** For verbs that somebody waits for; without it only the number of attempts is limited. */
  readonly patience?: Patience;
}

/** How long a store that answers nothing is waited for, over all attempts of a call. */
export interface Patience {
  readonly giveUpMs: number;
  /** An attempt in which nothing moves is cut off after this long. */
  readonly stallMs: number;
}

/** A stall is never longer than this, whatever the patience. */
const STALL_MAX_MS = 30_000;
/** An attempt that took so many stalls has moved something: waiting begins anew. */
const MOVING_STALLS = 1.5;

/** Divides a wait into attempts, so that the last one ends with it. */
export function patienceOf(giveUpMs: number): Patience {
  return { giveUpMs, stallMs: giveUpMs / Math.max(1, Math.ceil(giveUpMs / STALL_MAX_MS)) };
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
  const { patience } = policy;
  let waitedMs = 0;
  for (let index = 0; ; index++) {
    const beganMs = patience === undefined ? 0 : env.monotonicMs();
    try {
      signal?.throwIfAborted();
      return await attempt(index);
    } catch (error) {
      if (!(error instanceof WalrustError) || !error.retryable || index >= policy.retryCountMax) throw error;
      const delayMs = delayAfter(error, policy, index, env.random());
      if (patience !== undefined) {
        const tookMs = env.monotonicMs() - beganMs;
        waitedMs = tookMs > patience.stallMs * MOVING_STALLS ? 0 : waitedMs + tookMs;
        if (waitedMs + delayMs >= patience.giveUpMs) throw givenUp(error, patience.giveUpMs);
        waitedMs += delayMs;
      }
      context.onRetry?.(error, index, delayMs);
      await env.sleep(delayMs, signal);
    }
  }
}

function givenUp(error: WalrustError, giveUpMs: number): WalrustError {
  const { code, message, hint, context, cause, retryable } = error;
  return new WalrustError(code, `${message}; given up after ${giveUpMs / 1000} s (see --timeout)`, {
    ...(hint === undefined ? {} : { hint }),
    context,
    cause,
    retryable,
  });
}
