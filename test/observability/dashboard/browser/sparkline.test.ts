/** The line of an hour's values. */
import { expect, test } from "bun:test";
import { largest, sparkPath } from "../../../../src/observability/dashboard/browser/sparkline.ts";

const SIZE = { width: 40, height: 12, stepCount: 4 };

test("sparkPath draws from the bottom to the top, ending at the right edge", () => {
  expect(sparkPath([0, 5, 10], SIZE, 1)).toBe("M15.0 11.0L15.0 11.0L25.0 6.0L35.0 1.0");
});

test("sparkPath makes no mountain of less than the least", () => {
  expect(sparkPath([0, 1, 0, 0], SIZE, 10)).toBe("M5.0 11.0L5.0 11.0L15.0 10.0L25.0 11.0L35.0 11.0");
});

test("sparkPath bridges short gaps, leaves long ones, and shows a single value as a dot", () => {
  const size = { width: 100, height: 12, stepCount: 10 };
  const path = sparkPath([0, null, null, 0, null, null, null, 0, null, null], size, 1);
  expect(path).toBe("M5.0 11.0L5.0 11.0L35.0 11.0M75.0 11.0L75.0 11.0");
  expect(sparkPath([null, null], size, 1)).toBe("");
  expect(sparkPath([], size, 1)).toBe("");
});

test("largest is null without any value", () => {
  expect([largest([]), largest([null]), largest([null, 0]), largest([3, null, 7, 1])]).toEqual([
    null,
    null,
    0,
    7,
  ]);
});
