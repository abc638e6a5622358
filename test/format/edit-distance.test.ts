/** The edit distance, by examples and by the rules of a distance. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance } from "../../src/format/edit-distance.ts";
import { cases } from "../support/property-cases.ts";

test.each([
  ["", "", 0],
  ["", "abc", 3],
  ["app", "app", 0],
  ["app", "ap", 1],
  ["app", "aqp", 1],
  ["kitten", "sitting", 3],
])("editDistance of %p and %p is %d", (a, b, distance) => {
  expect([editDistance(a, b), editDistance(b, a)]).toEqual([distance, distance]);
});

test("editDistance is 0 only for equal texts, and no longer than the longer one", () => {
  const text = fc.string({ maxLength: 12 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const distance = editDistance(a, b);
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
      expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }),
    cases(300),
  );
});
