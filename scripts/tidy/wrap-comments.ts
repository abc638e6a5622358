/**
 * Wraps comment lines that exceed the line length, which Biome does not. Moves the excess words to the front
 * of the next line of the same paragraph, or to a line of their own. Changes only comments.
 */

/** Maximum length of a line, in columns. */
export const MAX_COLUMNS = 110;

const COMMENT_START = /^(\s*)(\*|\/\/)( +)/;
const ONE_LINE_DOC = /^(\s*)\/\*\* (.*) \*\/$/;
/** Start of a list item or of a table row; such a line is never joined to the line before. */
const OWN_LINE = /^([-*@|]|\d+[.)]|\(\d+\)|\S+ {2,})/;

/** Wraps every comment line of a text that exceeds the line length. */
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
