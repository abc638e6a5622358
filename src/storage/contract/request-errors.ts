/**
 * Reads from an error the status and the code of the store's answer, the same for every kind of store. An
 * error without an answer (no connection, a timeout) has neither status nor code.
 */
import { WalrustError } from "../../errors.ts";

/** The name, in an error's context, of the HTTP status of the answer. */
export const ANSWER_STATUS = "status";
/** The name, in an error's context, of the store's own code. */
export const ANSWER_CODE = "s3Code";

/** Codes of a store that wants fewer requests. */
const THROTTLING_CODES: ReadonlySet<string> = new Set([
  "SlowDown",
  "SlowDownRead",
  "SlowDownWrite",
  "Throttling",
  "ThrottlingException",
  "RequestLimitExceeded",
  "TooManyRequests",
]);

/** Whether a store asks for fewer requests: it works, and refuses some of them for a while. */
export function isThrottling(error: unknown): boolean {
  return answerStatusOf(error) === 429 || THROTTLING_CODES.has(answerCodeOf(error));
}

/** The HTTP status of the answer that an error stands for, or 0 without an answer. */
export function answerStatusOf(error: unknown): number {
  const status = error instanceof WalrustError ? error.context[ANSWER_STATUS] : undefined;
  return typeof status === "number" ? status : 0;
}

/** The store's own code in the answer that an error stands for, such as "SlowDown", or "". */
export function answerCodeOf(error: unknown): string {
  const code = error instanceof WalrustError ? error.context[ANSWER_CODE] : undefined;
  return typeof code === "string" ? code : "";
}
