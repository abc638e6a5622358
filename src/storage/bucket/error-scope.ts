/**
 * Tells the errors of one database alone: a verb over all databases reports such an error and goes on.
 *
 * Only an error that the next database would meet too ends the verb: a store that does not answer, a missing
 * bucket, a full disk, a fault of our own.
 */
import { WalrustError } from "../../errors.ts";

const CONFINED_CODES: ReadonlySet<string> = new Set(["corrupt", "integrity", "not-found", "restore", "auth"]);

/**
 * Whether an error that one database's keys or objects led to is of that database alone. "auth" is, once the
 * destination itself could be read: a policy may refuse a single prefix.
 */
export function concernsOneDatabase(error: unknown): error is WalrustError {
  if (!(error instanceof WalrustError)) return false;
  return CONFINED_CODES.has(error.code) || (error.code === "storage" && !error.retryable);
}
