/**
 * PURE: turns events of a watch into notices for webhooks, and notices into bodies with signatures.
 */
import type { WatchEvent } from "../replication/context/watch-events.ts";

const ERROR_LENGTH_MAX = 2_000;
const FINDINGS_MAX = 5;

/** The failures that a webhook can receive. */
export type FailureName = "sync_failed" | "auth_failure" | "corruption_detected" | "circuit_breaker_open";

/** A failure that an event reports. */
export interface Failure {
  readonly name: FailureName;
  readonly error: string;
  /** Failed calls in a row, each with all its retries. */
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
  /** The writer id of the database, if known. */
  readonly writer: string | null;
  /** The failures that a "recovered" ends; empty for a failure. */
  readonly closes: readonly Notice[];
}

/** The failure that an event reports, or null. */
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

/** A failure without a name of its own is a failed sync. */
function failureName(code: string): FailureName {
  if (code === "auth") return "auth_failure";
  return code === "integrity" || code === "corrupt" ? "corruption_detected" : "sync_failed";
}

/**
 * The body of a notice, as JSON.
 * @param closes the failures that a "recovered" ends, as far as this webhook received them
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

/** The value of X-Walrust-Signature: the HMAC-SHA256 of the body. */
export function noticeSignature(body: string, secret: string): string {
  return `sha256=${new Bun.CryptoHasher("sha256", secret).update(body).digest("hex")}`;
}
