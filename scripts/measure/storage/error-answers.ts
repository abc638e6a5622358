/**
 * The answers that the line gives instead of the storage, as bytes of HTTP/1.1. PURE.
 */

/** An answer by its status, and by its S3 code where one status has several. */
export type AnswerName = "500" | "503" | "429" | "503 SlowDown" | "403 RequestTimeTooSkewed";

const ANSWERS: Readonly<Record<AnswerName, { reason: string; code: string; headers: readonly string[] }>> = {
  "500": { reason: "Internal Server Error", code: "InternalError", headers: [] },
  "503": { reason: "Service Unavailable", code: "SlowDown", headers: [] },
  "429": { reason: "Too Many Requests", code: "TooManyRequests", headers: ["Retry-After: 1"] },
  "503 SlowDown": { reason: "Slow Down", code: "SlowDown", headers: ["Retry-After: 1"] },
  "403 RequestTimeTooSkewed": { reason: "Forbidden", code: "RequestTimeTooSkewed", headers: [] },
};

/** The whole answer, after which the connection ends. @param dateMs time in the header Date */
export function errorAnswer(name: AnswerName, dateMs: number): string {
  const { reason, code, headers } = ANSWERS[name];
  const body = `<Error><Code>${code}</Code><Message>${reason}</Message></Error>`;
  return [
    `HTTP/1.1 ${name.slice(0, 3)} ${reason}`,
    "Content-Type: application/xml",
    `Content-Length: ${body.length}`,
    `Date: ${new Date(dateMs).toUTCString()}`,
    ...headers,
    "Connection: close",
    "",
    body,
  ].join("\r\n");
}
