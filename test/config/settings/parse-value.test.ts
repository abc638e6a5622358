/**
 * parseText and parseTomlValue: every key with a range accepts both its ends and nothing beyond them, from
 * the file and from a flag. Times and sizes are exact, and a value above zero never becomes zero.
 */
import { describe, expect, test } from "bun:test";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { parseText, parseTomlValue } from "../../../src/config/settings/parse-value.ts";
import { allKeys } from "../../support/readme/setting-samples.ts";

const PLACE = { name: "x", code: "usage" } as const;
const TIMES = ["seconds", "duration", "durations"];
const NUMERIC = allKeys().filter(({ spec }) => !["text", "texts", "switch"].includes(spec.kind));

/** The value of a key in walrust.toml. */
function fileValue(key: string, toml: string): unknown {
  const [section, name] = key.split(".");
  const text = `[${section}]\n${name} = ${toml}\n`;
  return parseConfigFile(text, "/w.toml", "w.toml", {}).values.get(key)?.value;
}

/** A number in the file's unit, converted to the program's unit. */
function inProgram(spec: OptionSpec, value: number): unknown {
  if (spec.kind === "durations") return [value * 1000];
  return TIMES.includes(spec.kind) ? value * 1000 : value;
}

/** The smallest step of a kind. */
function stepOf({ kind }: OptionSpec): number {
  return kind === "seconds" ? 0.001 : 1;
}

describe("the range of", () => {
  test.each(NUMERIC.map(({ key, spec }) => [key, spec] as const))("%s", (key, spec) => {
    const { min = 0, max = Number.MAX_SAFE_INTEGER, kind } = spec;
    const write = (value: number): string => (kind === "durations" ? `[${value}]` : String(value));
    const ends = spec.max === undefined ? [min] : [min, max];
    for (const end of ends) expect(fileValue(key, write(end))).toEqual(inProgram(spec, end));
    const beyond = [min - stepOf(spec), -1, ...(spec.max === undefined ? [] : [max + stepOf(spec)])];
    for (const value of beyond) expect(() => fileValue(key, write(value))).toThrow(`${key} is `);
    if (spec.flag === undefined) return;
    for (const end of ends) expect(parseText(spec, String(end), PLACE)).toEqual(inProgram(spec, end));
    for (const value of beyond) expect(() => parseText(spec, String(value), PLACE)).toThrow("expected");
  });

  test("the tests above cover every kind of number", () => {
    const kinds = new Set(NUMERIC.map(({ spec }) => spec.kind));
    expect([...kinds].sort()).toEqual(["bytes", "count", "duration", "durations", "milliseconds", "seconds"]);
  });
});

const DURATION: OptionSpec = { kind: "duration", meaning: "" };
const SECONDS: OptionSpec = { kind: "seconds", meaning: "" };
const BYTES: OptionSpec = { kind: "bytes", meaning: "" };

describe("parseText", () => {
  test.each([
    [DURATION, "0", 0],
    [DURATION, "1ms", 1],
    [DURATION, "0.5ms", 1],
    [DURATION, "90", 90_000],
    [DURATION, "1.5m", 90_000],
    [DURATION, "24h", 86_400_000],
    [DURATION, "2d", 172_800_000],
    [SECONDS, "0.001", 1],
    [SECONDS, "0.3", 300],
    [SECONDS, "1.1", 1100],
    [BYTES, "1kb", 1024],
    [BYTES, "1.5 MB", 1.5 * 1024 ** 2],
    [BYTES, "5GB", 5 * 1024 ** 3],
    [BYTES, "2TB", 2 * 1024 ** 4],
    [BYTES, "7b", 7],
    [BYTES, "1024", 1024],
  ] as const)("parseText of %p accepts %p", (spec, text, expected) => {
    expect(parseText(spec, text, PLACE)).toBe(expected);
  });

  test.each([
    [DURATION, ""],
    [DURATION, "-1s"],
    [DURATION, "1 h"],
    [DURATION, "1H"],
    [DURATION, "1h30m"],
    [DURATION, "١"],
    [DURATION, "9999999999"],
    [SECONDS, "1s"],
    [SECONDS, "1,5"],
    [SECONDS, "Infinity"],
    [BYTES, "-1"],
    [BYTES, "5GiB"],
    [BYTES, "5G"],
    [BYTES, "9999999999999TB"],
    [BYTES, "1e6"],
  ] as const)("parseText of %p refuses %p", (spec, text) => {
    expect(() => parseText(spec, text, PLACE)).toThrow(`x is ${JSON.stringify(text)}, expected`);
  });

  // Zero disables an interval, so 0.0004 seconds would have meant "never".
  test("a time above zero that rounds to zero is refused", () => {
    const expected = "expected 0, or at least a millisecond";
    expect(() => parseText(SECONDS, "0.0004", PLACE)).toThrow(expected);
    expect(() => parseText(DURATION, "0.4ms", PLACE)).toThrow(expected);
    expect(() => parseTomlValue(SECONDS, 0.000_1, PLACE)).toThrow(expected);
    expect(() => fileValue("sync.snapshot_interval", "0.0004")).toThrow(expected);
    expect(() => fileValue("cache.retention", "1e-9")).toThrow(expected);
    expect(parseTomlValue(SECONDS, 0, PLACE)).toBe(0);
  });

  // In a header these characters would fail at the first request, like a network failure.
  test.each(["\n", "\r", "\t", "\0", "\x1b", "\x7f"])(
    "a text with %j is refused, and the error hides a secret",
    (bad) => {
      const message = "x has a line break or another control character";
      expect(() => parseText({ kind: "text", meaning: "" }, `hunter2${bad}`, PLACE)).toThrow(message);
      const secret: OptionSpec = { kind: "text", meaning: "", isSecret: true };
      expect(() => parseTomlValue(secret, `hunter2${bad}`, PLACE)).toThrow(message);
    },
  );
});
