/**
 * PURE: makes any text safe to show on a terminal. Other people choose the names of files, the names in a
 * bucket, and the answers of servers.
 *
 * A character is unsafe if and only if it is
 * 1. a C0 control (U+0000 to U+001F) or DEL (U+007F): it moves the cursor or begins an escape sequence;
 * 2. a C1 control (U+0080 to U+009F): terminals take U+009B as the begin of an escape sequence, too;
 * 3. a line or paragraph separator (U+2028, U+2029);
 * 4. a control of the direction of reading (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069).
 *
 * Source: ECMA-48, section 8; Unicode Standard Annex 9, section 2.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
const UNSAFE = /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text that stays one line and moves no cursor: unsafe characters are shown as `\n`, `\x1b`, `\u202e`. */
export function oneLine(text: string): string {
  return text.replace(UNSAFE, (character) => {
    if (character === "\n") return "\\n";
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : jsonEscape(character);
  });
}

/** A value as one line of JSON, in which unsafe characters stand as `\u` escapes: a reader gets them back. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, jsonEscape);
}

function jsonEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
