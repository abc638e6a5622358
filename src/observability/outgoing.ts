/**
 * One request to somebody else's server: a webhook or a heartbeat.
 *
 * - Redirects are not followed, the answer's body is not read, no connection is kept for the next one.
 * - Bounded: cut off after ten seconds, and when the caller gives up.
 * - The URL is a secret (its path or query often carries a token): no error made here holds more of it than
 *   scheme and host, and never the message of fetch, which quotes it whole.
 */
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { connectionProblem } from "../storage/network/connection-errors.ts";
import { proxyOrNull, throughProxy } from "../storage/network/proxy.ts";
import { StallTimeout } from "../storage/network/stall-timeout.ts";
import { DEFAULT_TLS_TRUST } from "../storage/network/tls-trust.ts";

/** How long one request may take. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** What is sent. */
export interface OutgoingRequest {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * The URL of a webhook or heartbeat.
 * @param what its name in the configuration, for the error
 * @throws WalrustError with code "config" when it is no http or https URL; the text is not quoted
 */
export function parseOutgoingUrl(text: string, what: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new WalrustError("config", `${what} is no URL that begins with http:// or https://`);
}

/** What may be shown of a URL: scheme, host and port. */
export function describeUrl(url: URL): string {
  return `${url.protocol}//${url.host}`;
}

/**
 * Sends a request; an answer of 2xx is success.
 * @throws WalrustError with code "internal", retryable for network errors, timeouts, 408, 429 and 5xx; the
 * reason of `signal` when that aborts
 */
export async function sendRequest(request: OutgoingRequest, env: Env, signal: AbortSignal): Promise<void> {
  const watch = new StallTimeout(env, REQUEST_TIMEOUT_MS, signal);
  try {
    signal.throwIfAborted();
    const response = await fetch(request.url, {
      method: request.method,
      headers: request.headers,
      redirect: "manual",
      keepalive: false,
      tls: DEFAULT_TLS_TRUST,
      signal: watch.signal,
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    await response.body?.cancel();
    if (!response.ok) throw refused(request.url, response.status);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    signal.throwIfAborted();
    throw unreachable(request.url, error, watch.signal.aborted);
  } finally {
    watch.stop();
  }
}

function refused(url: URL, status: number): WalrustError {
  const isRedirect = status >= 300 && status < 400;
  return new WalrustError("internal", `${describeUrl(url)} answered ${status}`, {
    ...(isRedirect ? { hint: "Redirects are not followed: give the URL that it leads to." } : {}),
    retryable: status === 408 || status === 429 || status >= 500,
  });
}

function unreachable(url: URL, error: unknown, isTimeout: boolean): WalrustError {
  const code = systemCode(error) ?? "";
  const known = /^[A-Za-z0-9_]{1,60}$/.test(code) ? code : "no connection";
  const { hint, retryable } = connectionProblem(error, url, process.env);
  const proxy = proxyOrNull(url, process.env);
  const through = proxy === null ? "" : ` ${throughProxy(proxy)}`;
  const reason = isTimeout ? `no answer within ${REQUEST_TIMEOUT_MS / 1000} s` : known;
  const details = retryable ? { retryable } : { hint };
  // Without the cause: its message has the whole URL.
  return new WalrustError("internal", `${describeUrl(url)} cannot be reached: ${reason}${through}`, details);
}
