/**
 * Sends one request to another server, for a webhook or the heartbeat.
 *
 * - It follows no redirects, reads no body, and keeps no connection open.
 * - It ends after ten seconds, or when the caller aborts.
 * - The URL is a secret, because its path or query often carries a token. Errors show only its scheme and
 *   host, and never the message of fetch, which quotes the whole URL.
 */
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { connectionProblem } from "../storage/network/connection-errors.ts";
import { proxyOrNull, throughProxy } from "../storage/network/proxy.ts";
import { StallTimeout } from "../storage/network/stall-timeout.ts";
import { DEFAULT_TLS_TRUST } from "../storage/network/tls-trust.ts";

/** The time limit of one request. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** A request to send. */
export interface OutgoingRequest {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * Parses the URL of a webhook or heartbeat.
 * @param what the name of the setting, for the error
 * @throws WalrustError code "config" when it is no http or https URL; the error does not quote the text
 */
export function parseOutgoingUrl(text: string, what: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new WalrustError("config", `${what} is no URL that begins with http:// or https://`);
}

/** The part of a URL that may be shown: scheme, host and port. */
export function describeUrl(url: URL): string {
  return `${url.protocol}//${url.host}`;
}

/**
 * Sends a request; an answer of 2xx is success.
 * @throws WalrustError code "internal", retryable for network errors, timeouts, 408, 429 and 5xx; the
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
    ...(isRedirect ? { hint: "Set the URL that the redirect leads to: redirects are not followed" } : {}),
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
  // The cause is left out: its message holds the whole URL.
  return new WalrustError("internal", `${describeUrl(url)} cannot be reached: ${reason}${through}`, details);
}
