/** The remedies: one for each failure that a watch can meet. */
import { expect, test } from "bun:test";
import { EXIT_CODES } from "../../../src/errors.ts";
import { adviceFor } from "../../../src/observability/dashboard/advice.ts";

/** Failures of other verbs, and those whose messages always bring a hint. */
const NEVER_WATCHED = ["verify-warnings", "config", "usage", "restore", "precondition", "foreign-wal"];

test("adviceFor has a remedy of its own for each code that a watch can meet", () => {
  const general = adviceFor("no such code");
  expect(general).not.toBe("");
  const codes = Object.keys(EXIT_CODES).filter((code) => !NEVER_WATCHED.includes(code));
  for (const code of [...codes, "lag", "starting", "paused", "circuit-open", "store"]) {
    expect([code, adviceFor(code)]).not.toEqual([code, general]);
  }
});

test.each(["__proto__", "constructor", "toString", ""])("adviceFor(%j) is the general remedy", (code) => {
  expect(adviceFor(code)).toBe(adviceFor("no such code"));
});
