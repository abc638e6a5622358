/**
 * Wraps comment lines that are too wide, which Biome leaves alone: the words that do not fit go to the front
 * of the next line of the same paragraph, or to a line of their own. Nothing but comments is touched.
 */

/** The widest line the project allows, in columns. */
export const MAX_COLUMNS = 110;

const COMMENT_START = /^(\s*)(\*|\/\/)( +)/;
const ONE_LINE_DOC = /^(\s*)\/\*\* (.*) \*\/$/;
/** What begins a list item or the row of a table, and is therefore never joined to the line before. */
const OWN_LINE = /^([-*@|]|\d+[.)]|\(\d+\)|\S+ {2,})/;

/** The text with every over-long comment line wrapped. */
export function wrapComments(text: string): string {
  const lines = text.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    if (line.length <= MAX_COLUMNS) continue;
    const doc = line.match(ONE_LINE_DOC);
    if (doc !== null) {
      lines.splice(index, 1, `${doc[1]}/**`, `${doc[1]} * ${doc[2]}`, `${doc[1]} */`);
      continue;
    }
    wrapLine(lines, index);
  }
  return lines.join("\n");
}

function wrapLine(lines: string[], index: number): void {
  const line = lines[index]!;
  const start = line.match(COMMENT_START)?.[0];
  if (start === undefined) return;
  const cut = line.lastIndexOf(" ", MAX_COLUMNS);
  if (cut <= start.length) return;
  const itemMark = line.slice(start.length).match(/^([-*]|\d+[.)]) /)?.[0] ?? "";
  const indent = start + " ".repeat(itemMark.length);
  const rest = line.slice(cut + 1);
  lines[index] = line.slice(0, cut).trimEnd();
  const next = lines[index + 1] ?? "";
  const nextText = next.slice(indent.length);
  if (next.match(COMMENT_START)?.[0] === indent && nextText !== "" && !OWN_LINE.test(nextText)) {
    lines[index + 1] = `${indent}${rest} ${nextText}`;
  } else {
    lines.splice(index + 1, 0, indent + rest);
  }
}
