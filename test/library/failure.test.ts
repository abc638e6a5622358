/** Errors of a child as errors of the application. */
import { expect, test } from "bun:test";
import { isErrorDocument, printedError, unprintedError } from "../../src/library/failure.ts";

const printed = {
  error: { code: "not-wal", exit: 3, message: "m", hint: "h", context: { path: "app.db" } },
};

test("isErrorDocument tells an error from a result", () => {
  expect(isErrorDocument(printed)).toBe(true);
  for (const other of [null, 1, "error", [], {}, { error: null }, { error: "text" }, { errors: [] }]) {
    expect(isErrorDocument(other)).toBe(false);
  }
});

test("printedError keeps code, message, hint, context and exit code", () => {
  const error = printedError(printed);
  expect(error).toMatchObject({ code: "not-wal", message: "m", hint: "h", context: { path: "app.db" } });
  expect(error.exitCode).toBe(3);
});

test("printedError takes the class of an unknown code from its exit code", () => {
  const later = { error: { ...printed.error, code: "new-in-a-later-version", exit: 4, hint: null } };
  expect(printedError(later)).toMatchObject({ code: "storage", hint: undefined });
  expect(printedError({ error: { ...later.error, code: "toString", exit: 99 } }).code).toBe("internal");
});

test("unprintedError names the end and the last line of the log", () => {
  const killed = unprintedError("watch", { exitCode: null, signal: "SIGSEGV", lastLog: ["one", "two"] });
  expect(killed.message).toBe("walrust watch was ended by SIGSEGV; the log ends with: two");
  expect(killed).toMatchObject({ code: "internal", context: { log: "one\ntwo" } });
  const ended = unprintedError("watch", { exitCode: 4, signal: null, lastLog: [] });
  expect(ended).toMatchObject({ code: "storage", message: "walrust watch ended with exit code 4" });
});
