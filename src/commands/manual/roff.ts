/**
 * PURE: text as source of a manual page in the format of man(7), which groff and mandoc read.
 *
 * A line of source is a request if and only if it begins with "." or "'". A backslash begins an escape. The
 * characters - ' \` ^ ~ stand for typographic ones, so each is written as an escape: a reader can copy a
 * command from the page. Everything outside of ASCII is written by its code point, as in \\[u00E9].
 *
 * Source: groff_man(7), groff_char(7), man(7) of mandoc.
 */

/** Width of the source: mandoc warns about longer lines. */
const WIDTH_MAX = 78;

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
  '"': "\\(dq",
};

/** A text whose characters stand for themselves, within a line. */
export function roffText(text: string): string {
  return text
    .replace(/[\\\-'`^~"]/g, (character) => ESCAPES[character]!)
    .replace(/[^\0-\x7f]/gu, (character) => {
      const code = character.codePointAt(0)!.toString(16).toUpperCase();
      return `\\[u${code.padStart(4, "0")}]`;
    });
}

/** A text in bold. */
export function bold(text: string): string {
  return `\\fB${roffText(text)}\\fR`;
}

/** A text in italics, for a placeholder. */
export function italic(text: string): string {
  return `\\fI${roffText(text)}\\fR`;
}

/** A sentence of the table, in which backticks hold code. */
export function roffSentence(text: string): string {
  return text
    .split("`")
    .map((part, index) => (index % 2 === 1 ? bold(part) : roffText(part)))
    .join("");
}

/** Words as lines of source, none of which is a request. */
export function filled(source: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of source.split(" ")) {
    const isFull = line !== "" && line.length + 1 + word.length > WIDTH_MAX;
    if (isFull) lines.push(line);
    line = line === "" || isFull ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => (/^[.']/.test(one) ? `\\&${one}` : one));
}

/** A request with its arguments, each in quotes. */
export function request(name: string, ...words: readonly string[]): string {
  return [`.${name}`, ...words.map((word) => `"${word}"`)].join(" ");
}

/** A paragraph of sentences of the table. */
export function paragraph(text: string): string[] {
  return [".PP", ...filled(roffSentence(text))];
}

/** An entry of a list: a tag in source, and its meaning. */
export function entry(tag: string, meaning: string): string[] {
  return [".TP", tag, ...filled(roffSentence(meaning))];
}

/** Lines that are shown as they are. */
export function example(lines: readonly string[]): string[] {
  const shown = lines.map((line) => roffText(line)).map((line) => (/^[.']/.test(line) ? `\\&${line}` : line));
  return [".PP", ".EX", ...shown, ".EE"];
}
