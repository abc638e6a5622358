/** judgeAttachFailure: which failures of a first attach are retried, set the database aside, or stop it. */
import { expect, test } from "bun:test";
import { judgeAttachFailure } from "../../src/discovery/admission.ts";
import { WalrustError } from "../../src/errors.ts";

const retryable = { retryable: true };

test.each([
  ["a bug", new TypeError("x is undefined"), "retry", "retry"],
  ["a store that is away", new WalrustError("storage", "no answer", retryable), "retry", "retry"],
  ["a database that is busy", new WalrustError("database-busy", "locked", retryable), "retry", "retry"],
  ["no WAL mode", new WalrustError("not-wal", "journal_mode is delete"), "set-aside", "set-aside"],
  ["no database", new WalrustError("database", "is a folder"), "set-aside", "set-aside"],
  ["wrong keys", new WalrustError("auth", "403"), "retry", "set-aside"],
  ["no such bucket", new WalrustError("missing-bucket", "404"), "retry", "set-aside"],
  ["another writer", new WalrustError("foreign-writer", "not ours"), "retry", "stop"],
  ["a damaged bucket", new WalrustError("integrity", "checksum"), "retry", "stop"],
] as const)("judgeAttachFailure: %s", (_, error, discovered, named) => {
  expect([judgeAttachFailure(error, true), judgeAttachFailure(error, false)]).toEqual([discovered, named]);
});
