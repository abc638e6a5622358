/**
 * Hints for failures without a hint of their own, by error code. They follow only an error that ends a verb:
 * in the log of a watch, which retries, they would be noise.
 */
import type { ErrorCode } from "../../errors.ts";

const BY_CODE: Readonly<Partial<Record<ErrorCode, string>>> = {
  internal: "This is a bug in walrust; run with WALRUST_TRACE=1 to print the stack trace",
  database: "Check the path, and that this user may read and write the file and its folder",
  "database-busy": "Another process was using the database: run the command again",
  locked: "Stop the other walrust, or leave the work to it",
  storage: "Check the endpoint, the network and the store, then run the command again",
  "not-found": "`walrust verify NAME` lists the missing objects",
  "missing-bucket": "Check the name of the bucket and the endpoint; walrust does not create buckets",
  auth: "Check the credentials and their permissions in the store",
  integrity: "`walrust verify NAME --read-data` lists all damage; another point in time may be sound",
  corrupt: "`walrust verify NAME --read-data` lists all damage; another point in time may be sound",
  restore: "`walrust list` shows the restorable points",
};

/** The hint for an error code, or undefined where the message is enough. */
export function defaultHint(code: ErrorCode): string | undefined {
  return BY_CODE[code];
}
