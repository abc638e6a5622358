/**
 * What a user can do about a failure that has no hint of its own, by its class. Only for what ends a verb: in
 * the log of a watch, where everything is tried again, such a line would be noise.
 */
import type { ErrorCode } from "../../errors.ts";

const BY_CODE: Readonly<Partial<Record<ErrorCode, string>>> = {
  internal: "This is a fault of walrust. WALRUST_TRACE=1 in the environment shows where it happened",
  database: "Check the path, and that this user may read and write the file and its folder",
  "database-busy": "Something else was busy with it just now: run it again",
  locked: "Stop the other one, or leave the work to it",
  storage: "Check the endpoint, the network and the store, then run it again",
  "not-found": "`walrust verify NAME` shows what the backup lacks",
  "missing-bucket": "Check the bucket's name and the endpoint; walrust does not create buckets",
  auth: "Check the keys, and what the store lets them do",
  integrity:
    "`walrust verify NAME --read-data` shows all that is damaged; another point in time may be whole",
  corrupt: "`walrust verify NAME --read-data` shows all that is damaged; another point in time may be whole",
  restore: "`walrust list` shows what can be restored",
};

/** The hint for a class of failure, or undefined where the message says it all. */
export function defaultHint(code: ErrorCode): string | undefined {
  return BY_CODE[code];
}
