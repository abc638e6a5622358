/** Pieces of Python source that the generated modules share. */

/** The most columns of a line. */
const COLUMNS_MAX = 100;

/** Comment lines before an attribute: `#: text`, wrapped. */
export function commentLines(text: string, indent: string): string {
  return wrapped(text, COLUMNS_MAX - indent.length - 3)
    .map((line) => `${indent}#: ${line}\n`)
    .join("");
}

/** A docstring: on one line if it fits, otherwise wrapped. */
export function docstring(text: string, indent: string): string {
  const lines = wrapped(text, COLUMNS_MAX - indent.length - 6);
  if (lines.length === 1) return `${indent}"""${lines[0]}"""\n`;
  return `${indent}"""${lines.join(`\n${indent}`)}\n${indent}"""\n`;
}

/** A type of some texts: `Literal["a", "b"]`. */
export function literalText(values: readonly string[]): string {
  return `Literal[${values.map((value) => JSON.stringify(value)).join(", ")}]`;
}

/** `head` and `tail` around a type; a type that does not fit on the line has a line for each of its parts. */
export function typedLine(head: string, type: string, tail: string, indent: string): string {
  const line = `${indent}${head}${type}${tail}`;
  const parts = /^((?:Optional\[)?(?:Literal|Union)\[)(.*?)(\]+)$/.exec(type);
  if (line.length <= COLUMNS_MAX || parts === null) return `${line}\n`;
  const [, open = "", inner = "", close = ""] = parts;
  const rows = inner.split(", ").map((part) => `${indent}    ${part},\n`);
  return `${indent}${head}${open}\n${rows.join("")}${indent}${close}${tail}\n`;
}

function wrapped(text: string, columns: number): string[] {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
