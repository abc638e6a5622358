/**
 * Retries of one call: how often, after which waits, and until when.
 *
 * - Only a WalrustError that calls itself retryable is retried. Every other error, an abort above all, is
 *   thrown at once. After the last attempt its error is thrown unchanged.
 * - Waits have full jitter over `backoffMs`, so that databases that failed together do not return together.
 * - A wait is at least the store's Retry-After and at most the policy's longest wait: a store does not decide
 *   how long walrust waits.
 * - A call inside another one may give up first (a part of a multipart upload): the outer call then gives up
 *   too, so that `giveUpMs` holds for both together.
 */
import type { RetryConfig } from "../../config/config.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { backoffMs } from "./backoff.ts";

/** The settings of retries, and the patience of a verb that a person waits for. */
export type RetryPolicy = Pick<RetryConfig, "maxRetries" | "baseDelayMs" | "maxDelayMs"> & {
  /** Absent: only the number of attempts is limited. */
  readonly patience?: Patience;
};

/** The limit on standstill over all attempts of a call. */
export interface Patience {
  readonly giveUpMs: number;
  /** An attempt in which nothing moves is cut off after this long. */
  readonly stallMs: number;
}

/** A request is cut off when nothing has moved for this long; patience makes it shorter only. */
export const STALL_MAX_MS = 30_000;
/** An attempt that took this many stalls has moved something: the patience begins anew. */
const MOVING_STALLS = 1.5;

/** Divides a wait into stalls, so that the last attempt ends with the wait. */
export function patienceOf(giveUpMs: number): Patience {
  return { giveUpMs, stallMs: giveUpMs / Math.max(1, Math.ceil(giveUpMs / STALL_MAX_MS)) };
}

/** A single attempt. */
export const NO_RETRY: RetryPolicy = { maxRetries: 0, baseDelayMs: 0, maxDelayMs: 0 };

/** The surroundings of the attempts. */
export interface RetryContext {
  readonly env: Env;
  readonly policy: RetryPolicy;
  readonly signal?: AbortSignal | undefined;
  /** Called before each wait. */
  readonly onRetry?: (error: WalrustError, retryIndex: number, delayMs: number) => void;
}

/** The name, in an error's context, of the wait that the store asks for, in ms. */
export const RETRY_AFTER = "retryAfterMs";

/** The name, in an error's context, of the patience that ran out, in ms. */
const GIVEN_UP = "givenUpAfterMs";

/** The wait before retry `retryIndex` (from 0): uniform between 0 and min(max, base · 2^index), in ms. */
export function retryDelayMs(policy: RetryPolicy, retryIndex: number, random: number): number {
  return random * backoffMs({ firstMs: policy.baseDelayMs, maxMs: policy.maxDelayMs }, retryIndex);
}

/** The wait after an error: at least what the store asks for, at most the policy's maximum. */
function delayAfter(error: WalrustError, policy: RetryPolicy, retryIndex: number, random: number): number {
  const asked = error.context[RETRY_AFTER];
  const leastMs = typeof asked === "number" ? asked : 0;
  return Math.min(policy.maxDelayMs, leastMs + retryDelayMs(policy, retryIndex, random));
}

/**
 * Runs `attempt`, which gets its index from 0, until it succeeds, fails for good, or no retry is left.
 * @throws the error of the last attempt; with a policy that has patience, an error that names `--timeout`
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
      if (!canRetry(error) || index >= policy.maxRetries) throw error;
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

function canRetry(error: unknown): error is WalrustError {
  return error instanceof WalrustError && error.retryable && error.context[GIVEN_UP] === undefined;
}

function givenUp(error: WalrustError, giveUpMs: number): WalrustError {
  const { code, message, hint, cause, retryable } = error;
  return new WalrustError(code, `${message}; given up after ${giveUpMs / 1000} s (see --timeout)`, {
    ...(hint === undefined ? {} : { hint }),
    context: { ...error.context, [GIVEN_UP]: giveUpMs },
    cause,
    retryable,
  });
}
