/**
 * The failure of a child as an error of the application.
 */
import type { ErrorDocument } from "../commands/shared/documents.ts";
import { type ErrorCode, EXIT_CODES, WalrustError } from "../errors.ts";
import type { ChildEnd } from "./walrust-process.ts";

/** The code of an error by its exit code, for a child that printed no error. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  2: "usage",
  3: "database",
  4: "storage",
  5: "integrity",
  6: "restore",
};

/** Whether a document is the error that ended a verb. */
export function isErrorDocument(document: unknown): document is ErrorDocument {
  const error = (document as Partial<ErrorDocument> | null)?.error;
  return typeof error?.code === "string" && typeof error.message === "string";
}

/** The printed error of a child. */
export function printedError({ error }: ErrorDocument): WalrustError {
  const { code, message, hint, context } = error;
  // A later walrust may have codes that this one does not know.
  const known = Object.hasOwn(EXIT_CODES, code) ? (code as ErrorCode) : (CODES[error.exit] ?? "internal");
  return new WalrustError(known, message, { ...(hint === null ? {} : { hint }), context });
}

/** The error for a child that ended with a failure and printed none. */
export function unprintedError(verb: string, { exitCode, signal, lastLog }: ChildEnd): WalrustError {
  const how = signal === null ? `ended with exit code ${exitCode}` : `was ended by ${signal}`;
  const last = lastLog.at(-1);
  return new WalrustError(
    CODES[exitCode ?? 1] ?? "internal",
    `walrust ${verb} ${how}${last === undefined ? "" : `; the log ends with: ${last}`}`,
    { hint: "The option onLog receives the log of walrust", context: { log: lastLog.join("\n") } },
  );
}
