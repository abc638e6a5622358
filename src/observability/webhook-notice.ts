/**
 * PURE: what a webhook is told, and how: which event of watching is which notice, the body, its signature.
 */
import type { WatchEvent } from "../replication/context/watch-events.ts";

const ERROR_LENGTH_MAX = 2_000;
const FINDINGS_MAX = 5;

/** What a webhook can ask for. */
export type FailureName = "sync_failed" | "auth_failure" | "corruption_detected" | "circuit_breaker_open";

/** A failure as an event of watching tells it. */
export interface Failure {
  readonly name: FailureName;
  readonly error: string;
  /** Calls in a row that failed, each with all its retries. */
  readonly attempts: number;
}

/** One notice, the same for every webhook. */
export interface Notice {
  readonly event: FailureName | "recovered";
  readonly database: string;
  /** Null for "recovered". */
  readonly error: string | null;
  readonly attempts: number;
  /** Wall clock in ms. */
  readonly timeMs: number;
  /** The id of the writer of this database's objects, if known. */
  readonly writer: string | null;
  /** The failures that a "recovered" ends; empty for a failure. */
  readonly closes: readonly Notice[];
}

/** The failure that an event tells of, or null. */
export function failureOrNull(event: WatchEvent): Failure | null {
  switch (event.event) {
    case "failed":
    case "stopped":
      return { name: failureName(event.code), error: event.message, attempts: 1 };
    case "circuit-open":
      return { name: "circuit_breaker_open", error: event.message, attempts: event.failures };
    case "condition":
      if (event.state === "cleared" || event.health !== "unhealthy") return null;
      return { name: "sync_failed", error: event.message, attempts: 1 };
    case "validated": {
      if (event.status !== "errors") return null;
      const error = event.messages.slice(0, FINDINGS_MAX).join("; ");
      return { name: "corruption_detected", error, attempts: 1 };
    }
    default:
      return null;
  }
}

/** Whatever keeps a database from being replicated is a failed sync, unless there is a better name for it. */
function failureName(code: string): FailureName {
  if (code === "auth") return "auth_failure";
  return code === "integrity" || code === "corrupt" ? "corruption_detected" : "sync_failed";
}

/**
 * The body of a notice, as JSON.
 * @param closes the failures that a "recovered" ends for the webhook it is sent to
 */
export function noticeBody(notice: Notice, hostname: string, closes: readonly Notice[]): string {
  const { event, database, error, attempts, timeMs, writer } = notice;
  return JSON.stringify({
    event,
    database,
    error: error === null ? null : error.slice(0, ERROR_LENGTH_MAX),
    attempts,
    timestamp: new Date(timeMs).toISOString(),
    writer,
    hostname,
    ...(event === "recovered" ? { closes: closes.map((closed) => closed.event) } : {}),
  });
}

/** The value of X-Walrust-Signature: HMAC-SHA256 of the body's bytes. */
export function noticeSignature(body: string, secret: string): string {
  return `sha256=${new Bun.CryptoHasher("sha256", secret).update(body).digest("hex")}`;
}
