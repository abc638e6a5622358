/** Text for terminals: every unsafe character becomes an escape, and no other character changes. */
import { describe, expect, test } from "bun:test";
import { jsonLine, oneLine } from "../../src/observability/terminal-text.ts";

const UNSAFE_RANGES = [
  [0, 0x1f],
  [0x7f, 0x9f],
  [0x61c, 0x61c],
  [0x200e, 0x200f],
  [0x2028, 0x202e],
  [0x2066, 0x2069],
] as const;

/** Whether a code point is unsafe, by the list of ranges. */
const isUnsafe = (code: number): boolean => UNSAFE_RANGES.some(([min, max]) => code >= min && code <= max);

const ALL = Array.from({ length: 0x10000 }, (_, code) => code).filter(
  (code) => code < 0xd800 || code > 0xdfff,
);

describe("oneLine", () => {
  test("oneLine escapes control characters and changes of direction", () => {
    const nasty = "a\nb\r\tc\u001b[31md\u0085e\u2028f\u202eg\u0000h\u009b2J\u061c";
    expect(oneLine(nasty)).toBe(String.raw`a\nb\x0d\x09c\x1b[31md\x85e\u2028f\u202eg\x00h\x9b2J\u061c`);
  });

  test("oneLine does not change any other text", () => {
    const text = "Ünïcødé \u{1f600} 日本 → a\\nb {}[]~";
    expect(oneLine(text)).toBe(text);
  });

  test("oneLine escapes exactly the unsafe characters of the basic plane", () => {
    for (const code of ALL) {
      const character = String.fromCharCode(code);
      if ((oneLine(character) !== character) !== isUnsafe(code)) throw new Error(`U+${code.toString(16)}`);
    }
  });
});

test("jsonLine escapes the unsafe characters, and a parser gets every character back", () => {
  const text = String.fromCharCode(...ALL);
  const value = { [text]: [text, 1, null, { nested: text }] };
  const line = jsonLine(value);
  expect(JSON.parse(line)).toEqual(value);
  for (let index = 0; index < line.length; index++) {
    if (isUnsafe(line.charCodeAt(index)))
      throw new Error(`at ${index}: U+${line.charCodeAt(index).toString(16)}`);
  }
});
