/** Wrapping comments: every word stays, in order. Code, short lines, list items and tables do not move. */
import { describe, expect, test } from "bun:test";
import { MAX_COLUMNS, wrapComments } from "../../scripts/tidy/wrap-comments.ts";

const LONG = "word ".repeat(24).trim();

describe("wrapComments", () => {
  test("moves words beyond the limit to the next line of the paragraph", () => {
    const wrapped = wrapComments(`/**\n * ${LONG}\n * next\n */`);
    const tail = LONG.slice(LONG.lastIndexOf(" ", MAX_COLUMNS - 3) + 1);
    expect(wrapped).toBe(`/**\n * ${LONG.slice(0, -tail.length - 1)}\n * ${tail} next\n */`);
  });

  test("cascades until every line fits, and keeps every word", () => {
    const text = `// ${`${LONG} `.repeat(5).trim()}\n// end`;
    const wrapped = wrapComments(text);
    for (const line of wrapped.split("\n")) expect(line.length).toBeLessThanOrEqual(MAX_COLUMNS);
    expect(wrapped.replaceAll("\n// ", " ")).toBe(text.replaceAll("\n// ", " "));
  });

  test("begins a new line before a list item, a table row, an empty line or code", () => {
    for (const next of [" * - item", " *  0  4  magic", " * @throws Error", " *", " */"]) {
      const lines = wrapComments(`/**\n * ${LONG}\n${next}`).split("\n");
      expect(lines.length).toBe(4);
      expect(lines[3]).toBe(next);
    }
  });

  test("indents the lines of a list item below its first line", () => {
    const lines = wrapComments(`/**\n * - ${LONG}\n */`).split("\n");
    expect(lines[2]).toStartWith(" *   word");
  });

  test("opens up a docstring of one line", () => {
    const lines = wrapComments(`  /** ${LONG} */\n  a: 1;`).split("\n");
    expect(lines[0]).toBe("  /**");
    expect(lines.at(-2)).toBe("   */");
    expect(lines.at(-1)).toBe("  a: 1;");
  });

  test("does not change code, strings, short lines, or a word that cannot be split", () => {
    for (const text of [`const a = "${LONG}";`, "// short", ` * ${"x".repeat(200)}`]) {
      expect(wrapComments(text)).toBe(text);
    }
  });

  test("changes nothing the second time", () => {
    const once = wrapComments(`/**\n * ${`${LONG} `.repeat(3)}\n * - ${LONG}\n */`);
    expect(wrapComments(once)).toBe(once);
  });
});
