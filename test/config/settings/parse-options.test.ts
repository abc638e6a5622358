/** parseWords and optionValues: the parsed words, and the message of every rejection. */
import { describe, expect, test } from "bun:test";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { nearestName, optionValues, parseWords } from "../../../src/config/settings/parse-options.ts";
import { WalrustError } from "../../../src/errors.ts";

const GROUP = {
  bucket: { flag: "bucket", alias: "b", kind: "text", value: "URL", meaning: "" },
  format: { flag: "log-format", kind: "text", choices: ["text", "json"], default: "text", meaning: "" },
  force: { flag: "force", kind: "switch", default: false, meaning: "" },
  startup: { flag: "on-startup", kind: "switch", value: "true|false", default: true, meaning: "" },
  noCache: { flag: "no-cache", kind: "switch", default: false, meaning: "" },
  interval: { flag: "interval", kind: "seconds", default: 1, min: 0.01, max: 3600, meaning: "" },
  pages: { flag: "pages", kind: "count", default: 1000, min: 1, max: 5000, meaning: "" },
  limit: { flag: "limit", kind: "count", meaning: "" },
  age: { flag: "age", kind: "duration", meaning: "" },
  replicas: { flag: "push-to", kind: "texts", countMax: 3, meaning: "" },
  old: { flag: "independent-tasks", kind: "switch", isHidden: true, meaning: "" },
} as const satisfies Record<string, OptionSpec>;
const SPECS: readonly OptionSpec[] = Object.values(GROUP);

function valuesOf(...words: string[]): Record<string, unknown> {
  return optionValues(parseWords(words, SPECS), GROUP);
}

function refusal(...words: string[]): string {
  try {
    valuesOf(...words);
  } catch (error) {
    if (error instanceof WalrustError && error.code === "usage") {
      return error.hint === undefined ? error.message : `${error.message} | ${error.hint}`;
    }
    throw error;
  }
  return "understood";
}

describe("parseWords", () => {
  test("parseWords returns defaults for missing options; seconds become ms", () => {
    expect(valuesOf()).toEqual({
      bucket: undefined,
      format: "text",
      force: false,
      startup: true,
      noCache: false,
      interval: 1000,
      pages: 1000,
      limit: undefined,
      age: undefined,
      replicas: [],
      old: undefined,
    });
  });

  test.each([
    [["--bucket", "file:///x"], { bucket: "file:///x" }],
    [["--bucket=file:///x?a=b"], { bucket: "file:///x?a=b" }],
    [["-b", "file:///x"], { bucket: "file:///x" }],
    [["-b=file:///x"], { bucket: "file:///x" }],
    [["--push-to", "a"], { replicas: ["a"] }],
    [["--push-to", "b", "--force", "--push-to=a,c", "--push-to", "b"], { replicas: ["b", "a,c"] }],
    [["--force"], { force: true }],
    [["--force=true"], { force: true }],
    [["--force=false"], { force: false }],
    [["--no-force"], { force: false }],
    [["--no-cache"], { noCache: true }],
    [["--no-on-startup"], { startup: false }],
    [["--on-startup", "false"], { startup: false }],
    [["--on-startup", "true"], { startup: true }],
    [["--on-startup=false"], { startup: false }],
    [["--independent-tasks"], { old: true }],
    [["--interval", "0.25"], { interval: 250 }],
    [["--interval", ".5"], { interval: 500 }],
    [["--interval", "0.01"], { interval: 10 }],
    [["--interval", "3600"], { interval: 3_600_000 }],
    [["--pages", "1"], { pages: 1 }],
    [["--pages", "0005"], { pages: 5 }],
    [["--limit", "0"], { limit: 0 }],
    [["--age", "90"], { age: 90_000 }],
    [["--age", "250ms"], { age: 250 }],
    [["--age", "1.5h"], { age: 5_400_000 }],
    [["--age", "7d"], { age: 604_800_000 }],
    [["--log-format", "json"], { format: "json" }],
  ] as const)("parseWords accepts %p", (words, expected) => {
    expect(valuesOf(...words)).toMatchObject(expected);
  });

  test("parseWords returns other words as positionals in order; after -- every word is one", () => {
    const { positionals, given } = parseWords(
      ["a", "--force", "b", "-", "--", "--bucket", "-b", "--"],
      SPECS,
    );
    expect(positionals).toEqual(["a", "b", "-", "--bucket", "-b", "--"]);
    expect([...given]).toEqual([["force", true]]);
  });

  test("parseWords gives a switch no value from the next word", () => {
    const words = parseWords(["--force", "true.db"], SPECS);
    expect(words.positionals).toEqual(["true.db"]);
    expect(parseWords(["--force", "true"], SPECS).positionals).toEqual(["true"]);
  });

  test.each([
    [["--bukcet", "x"], "Unknown option --bukcet | Did you mean --bucket?"],
    [["--forse"], "Unknown option --forse | Did you mean --force?"],
    [["--Force"], "Unknown option --Force | Did you mean --force?"],
    [["--zzzzzzzz"], "Unknown option --zzzzzzzz"],
    [["-x"], "Unknown option -x"],
    [["-force"], "Unknown option -force | Did you mean --force?"],
    [["--b", "x"], "Unknown option --b"],
    [["--no-bucket"], "Unknown option --no-bucket"],
    [["--bucket"], "--bucket needs a value: --bucket URL"],
    [["--bucket", "--force"], "--bucket needs a value: --bucket URL"],
    [["--bucket="], "--bucket is empty"],
    [["--bucket", ""], "--bucket is empty"],
    [["--force", "--no-force"], "--force is given twice"],
    [["-b", "x", "--bucket", "y"], "--bucket is given twice"],
    [["--push-to"], "--push-to needs a value: --push-to VALUE"],
    [["--push-to", "a", "--push-to="], "--push-to is empty"],
    [
      ["--push-to=1", "--push-to=2", "--push-to=3", "--push-to=4"],
      '--push-to is ["1","2","3","4"], expected a list of 1 to 3 entries',
    ],
    [["--force=yes"], '--force is "yes", expected true or false'],
    [["--force="], '--force is "", expected true or false'],
    [["--no-force=true"], '--force is "true", expected true or false'],
    [["--log-format", "xml"], '--log-format is "xml", expected one of text, json'],
    [["--interval", "0"], '--interval is "0", expected seconds from 0.01 to 3600'],
    [["--interval", "3600.1"], '--interval is "3600.1", expected seconds from 0.01 to 3600'],
    [["--interval", "-1"], '--interval is "-1", expected seconds from 0.01 to 3600'],
    [["--interval", "1e3"], '--interval is "1e3", expected seconds from 0.01 to 3600'],
    [["--interval", "1s"], '--interval is "1s", expected seconds from 0.01 to 3600'],
    [["--interval", "1."], '--interval is "1.", expected seconds from 0.01 to 3600'],
    [["--interval", "."], '--interval is ".", expected seconds from 0.01 to 3600'],
    [["--interval", "NaN"], '--interval is "NaN", expected seconds from 0.01 to 3600'],
    [["--interval", " 1"], '--interval is " 1", expected seconds from 0.01 to 3600'],
    [["--pages", "0"], '--pages is "0", expected a whole number from 1 to 5000'],
    [["--pages", "5001"], '--pages is "5001", expected a whole number from 1 to 5000'],
    [["--pages", "1.5"], '--pages is "1.5", expected a whole number from 1 to 5000'],
    [["--pages", "0x10"], '--pages is "0x10", expected a whole number from 1 to 5000'],
    [["--limit", "9999999999999999"], '--limit is "9999999999999999", expected a whole number of at least 0'],
    [["--age", "1w"], '--age is "1w", expected a duration such as 30, "10m" or "24h" of at least 0'],
    [["--age", "h"], '--age is "h", expected a duration such as 30, "10m" or "24h" of at least 0'],
  ] as const)("parseWords refuses %p", (words, message) => {
    const found = refusal(...words);
    if (message.includes("|") || !message.startsWith("Unknown")) expect(found).toBe(message);
    else expect(found.split(" | ")[0]).toBe(message);
  });

  // The value of a mistyped flag may be a key, and errors go to logs and screens.
  test("parseWords does not repeat the value of an unknown option", () => {
    expect(refusal("--secret-access-key=hunter2")).not.toContain("hunter2");
  });
});

describe("nearestName", () => {
  test.each([
    ["bukcet", "bucket"],
    ["interva", "interval"],
    ["xyz", null],
    ["", null],
  ] as const)("nearestName of %p is %p", (name, expected) => {
    expect(nearestName(name, ["bucket", "interval", "force"])).toBe(expected);
  });
});
