/** When the page asks for the document. */
import { expect, test } from "bun:test";
import { pollDelayMs, retryDelayMs } from "../../../src/observability/dashboard/poll-plan.ts";

test.each([
  [0, 2_000],
  [249, 2_000],
  [500, 4_000],
  [1_000, 6_000],
  [100_000, 10_000],
])("pollDelayMs of %d databases is %d ms, and a minute while the page is hidden", (count, delayMs) => {
  expect(pollDelayMs(count, false)).toBe(delayMs);
  expect(pollDelayMs(count, true)).toBe(60_000);
});

test("retryDelayMs is 5 s, and a minute while the page is hidden", () => {
  expect(retryDelayMs(false)).toBe(5_000);
  expect(retryDelayMs(true)).toBe(60_000);
});
