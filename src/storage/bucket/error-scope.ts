/**
 * Decides whether an error concerns one database or all: a verb over all databases reports an error of one
 * and goes on. An error that the next database would meet too ends the verb: a store that does not answer, a
 * missing bucket, a full disk, a fault of our own.
 */
import { WalrustError } from "../../errors.ts";

const CONFINED_CODES: ReadonlySet<string> = new Set(["corrupt", "integrity", "not-found", "restore", "auth"]);

/**
 * Whether an error with the keys or objects of one database concerns only that database. "auth" does, once
 * the destination itself could be read: a policy may refuse a single prefix.
 */
export function concernsOneDatabase(error: unknown): error is WalrustError {
  if (!(error instanceof WalrustError)) return false;
  return CONFINED_CODES.has(error.code) || (error.code === "storage" && !error.retryable);
}
