/**
 * The verdict on a database whose first attach failed, by failure and by the way it was found.
 */
import { describe, expect, test } from "bun:test";
import { type AttachVerdict, judgeAttachFailure } from "../../src/discovery/admission.ts";
import { type ErrorCode, EXIT_CODES, WalrustError } from "../../src/errors.ts";

/** The verdicts on an error of each code: for a named database, and for a match of a glob. */
const VERDICTS: Readonly<Record<ErrorCode, readonly [named: AttachVerdict, discovered: AttachVerdict]>> = {
  internal: ["stop", "retry"],
  "verify-warnings": ["stop", "retry"],
  config: ["stop", "retry"],
  usage: ["stop", "retry"],
  database: ["set-aside", "set-aside"],
  "database-busy": ["set-aside", "set-aside"],
  "not-wal": ["set-aside", "set-aside"],
  "foreign-wal": ["set-aside", "set-aside"],
  locked: ["set-aside", "set-aside"],
  storage: ["set-aside", "retry"],
  "not-found": ["set-aside", "retry"],
  precondition: ["set-aside", "retry"],
  "missing-bucket": ["set-aside", "retry"],
  auth: ["set-aside", "retry"],
  "foreign-writer": ["stop", "retry"],
  integrity: ["stop", "retry"],
  corrupt: ["stop", "retry"],
  restore: ["stop", "retry"],
};

describe("judgeAttachFailure", () => {
  test.each(Object.keys(EXIT_CODES) as ErrorCode[])("of code %s", (code) => {
    const error = new WalrustError(code, "refused");
    const verdicts = [judgeAttachFailure(error, false), judgeAttachFailure(error, true)];
    expect(verdicts).toEqual([...VERDICTS[code]]);
  });

  test("retries an error that may pass by itself, and one of ours", () => {
    const busy = new WalrustError("database-busy", "in use", { retryable: true });
    for (const error of [busy, new TypeError("x is undefined"), "text"]) {
      expect([judgeAttachFailure(error, false), judgeAttachFailure(error, true)]).toEqual(["retry", "retry"]);
    }
  });
});
