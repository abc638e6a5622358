/** One test that fails, for the test of the program that runs tests; its name keeps it out of every run. */
import { test } from "bun:test";

test("a failing test", () => {
  throw new Error("expected to fail");
});
