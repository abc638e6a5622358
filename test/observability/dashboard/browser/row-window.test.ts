/** The rows that the page draws. */
import { expect, test } from "bun:test";
import { windowOf } from "../../../../src/observability/dashboard/browser/row-window.ts";

test("windowOf draws all of a few rows", () => {
  expect(windowOf(150, 40, 3_000, 800)).toEqual({ first: 0, end: 150 });
  expect(windowOf(0, 40, 0, 800)).toEqual({ first: 0, end: 0 });
});

test("windowOf draws the visible rows of many, with a margin", () => {
  expect(windowOf(1_000, 40, 4_000, 800)).toEqual({ first: 88, end: 132 });
  expect(windowOf(1_000, 40, 4_010, 800)).toEqual({ first: 88, end: 133 });
});

test.each([
  ["above the window", -5_000],
  ["at its top", 0],
  ["at its end", 39_200],
  ["far below it", 1_000_000],
])("windowOf stays within the rows, and draws some, when the table is %s", (_where, aboveHeight) => {
  const { first, end } = windowOf(1_000, 40, aboveHeight, 800);
  expect(first).toBeGreaterThanOrEqual(0);
  expect(end).toBeLessThanOrEqual(1_000);
  expect(end - first).toBeGreaterThanOrEqual(24);
});
