/**
 * Decides what becomes of a database that cannot be attached: a pure function of the failure and of the way
 * the database was found.
 */
import { EXIT_CODES, WalrustError } from "../errors.ts";

/**
 * `retry`: try again soon, as anything that is watched. `set-aside`: try again with the next discovery, or
 * every few seconds if it is named. `stop`: give the database up for good.
 */
export type AttachVerdict = "retry" | "set-aside" | "stop";

/**
 * Decides what becomes of a database whose first attach failed.
 * @param isDiscovered a glob found the database; false for a database that is named
 */
export function judgeAttachFailure(error: unknown, isDiscovered: boolean): AttachVerdict {
  if (!(error instanceof WalrustError) || error.retryable) return "retry";
  const isDatabase = error.exitCode === EXIT_CODES.database;
  // A glob's find waits for the store as anything that is watched does.
  if (isDiscovered) return isDatabase ? "set-aside" : "retry";
  const isStorage = error.exitCode === EXIT_CODES.storage && error.code !== "foreign-writer";
  return isDatabase || isStorage ? "set-aside" : "stop";
}
