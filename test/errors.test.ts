/** Errors and exit codes: the error classes of the user's contract, and the fields of an error. */
import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import {
  type ErrorCode,
  EXIT_CODES,
  errorMessage,
  hasCode,
  systemCode,
  WalrustError,
} from "../src/errors.ts";

/** The contract: 1 other, 2 configuration or usage, 3 database, 4 storage, 5 integrity, 6 restore. */
const CONTRACT: readonly (readonly [exitCode: number, codes: readonly ErrorCode[]])[] = [
  [1, ["internal", "verify-warnings"]],
  [2, ["config", "usage"]],
  [3, ["database", "database-busy", "not-wal", "foreign-wal", "locked"]],
  [4, ["storage", "not-found", "precondition", "missing-bucket", "auth", "foreign-writer"]],
  [5, ["integrity", "corrupt"]],
  [6, ["restore"]],
];

describe("EXIT_CODES", () => {
  test.each(CONTRACT)("%d is for %j", (exitCode, codes) => {
    for (const code of codes) expect(new WalrustError(code, "x").exitCode).toBe(exitCode);
  });

  test("has no code outside the contract", () => {
    const placed = CONTRACT.flatMap(([, codes]) => [...codes]).sort();
    expect(Object.keys(EXIT_CODES).sort()).toEqual(placed);
  });

  test("never maps a failure to 0 or to the exit codes of signals", () => {
    for (const exitCode of Object.values(EXIT_CODES)) {
      expect(exitCode).toBeGreaterThan(0);
      expect(exitCode).toBeLessThan(128);
    }
  });
});

describe("WalrustError", () => {
  test("carries code, message, hint, context, retryable and cause", () => {
    const cause = new Error("ECONNRESET");
    const error = new WalrustError("storage", "Cannot put a/b", {
      hint: "Look at the endpoint.",
      context: { key: "a/b", status: 503, final: false },
      retryable: true,
      cause,
    });
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe("WalrustError");
    expect([error.code, error.message, error.hint]).toEqual([
      "storage",
      "Cannot put a/b",
      "Look at the endpoint.",
    ]);
    expect(error.context).toEqual({ key: "a/b", status: 503, final: false });
    expect(error.retryable).toBe(true);
    expect(error.cause).toBe(cause);
  });

  test("by default is not retryable and has no hint, context or cause", () => {
    const error = new WalrustError("restore", "Nothing to restore");
    expect([error.hint, error.context, error.retryable]).toEqual([undefined, {}, false]);
    expect("cause" in error).toBe(false);
  });
});

describe("errorMessage", () => {
  test("is the message of an error, and the text of any other value", () => {
    expect(errorMessage(new WalrustError("usage", "no such flag"))).toBe("no such flag");
    expect(errorMessage(new TypeError("bad"))).toBe("bad");
    expect(errorMessage("plain")).toBe("plain");
    expect(errorMessage(undefined)).toBe("undefined");
    expect(errorMessage(null)).toBe("null");
  });
});

describe("hasCode", () => {
  test("is true only for a WalrustError of that code", () => {
    const error = new WalrustError("not-found", "x");
    expect(hasCode(error, "not-found")).toBe(true);
    expect(hasCode(error, "storage")).toBe(false);
    expect(hasCode({ code: "not-found" }, "not-found")).toBe(false);
    expect(hasCode(null, "not-found")).toBe(false);
  });
});

describe("systemCode", () => {
  test("is the code of a failed file operation", () => {
    let caught: unknown;
    try {
      statSync("/nowhere/at/all");
    } catch (error) {
      caught = error;
    }
    expect(systemCode(caught)).toBe("ENOENT");
  });

  test("is undefined for any other error", () => {
    for (const thrown of [null, undefined, "ENOENT", new Error("x"), { code: 2 }]) {
      expect(systemCode(thrown)).toBeUndefined();
    }
  });
});
