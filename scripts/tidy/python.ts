/**
 * Rules for the Python package and its tests: length of files and lines, a docstring that says what the file
 * is, no open work. PURE, and without a parser: the rules look at lines.
 */
import { MAX_FILE_LINES } from "./shape.ts";
import type { Texts } from "./syntax.ts";
import type { Violation } from "./violations.ts";
import { MAX_COLUMNS } from "./wrap-comments.ts";

/** Python files that are too long or too wide, have no docstring, or hold open work. */
export function pythonViolations(texts: Texts): Violation[] {
  const files = Object.entries(texts).filter(([path]) => path.endsWith(".py"));
  return files.flatMap(([path, text]) => [...ofFile(path, text), ...ofLines(path, text)]);
}

function ofFile(path: string, text: string): Violation[] {
  const violations: Violation[] = [];
  const lineCount = text.replace(/\n$/, "").split("\n").length;
  // A list that a script makes is one idea, however long.
  if (lineCount > MAX_FILE_LINES && !/^Made by scripts\//m.test(text)) {
    const message = `${lineCount} lines, at most ${MAX_FILE_LINES}: split it where two ideas meet`;
    violations.push({ path, line: 1, rule: "file-size", message });
  }
  if (!/^(#![^\n]*\n)?"""[^"\n]/.test(text)) {
    const message = "has no docstring at its head: say what the file is and guarantees";
    violations.push({ path, line: 1, rule: "header", message });
  }
  return violations;
}

function ofLines(path: string, text: string): Violation[] {
  return text.split("\n").flatMap((content, index) => {
    const line = index + 1;
    const violations: Violation[] = [];
    if (content.length > MAX_COLUMNS) {
      const message = `${content.length} columns, at most ${MAX_COLUMNS}`;
      violations.push({ path, line, rule: "line-length", message });
    }
    const word = /#.*\b(TODO|FIXME|XXX)\b/.exec(content)?.[1];
    if (word === undefined) return violations;
    return [...violations, { path, line, rule: "to-do", message: `${word}: do it, or open an issue` }];
  });
}
