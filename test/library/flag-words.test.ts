/** Options without a key as words that the command line parses to the same values. */
import { expect, test } from "bun:test";
import type { OptionGroup } from "../../src/config/settings/option-spec.ts";
import {
  COMPACT_OPTIONS,
  PATIENCE_OPTIONS,
  REPLICATE_OPTIONS,
  RESTORE_OPTIONS,
  VERIFY_OPTIONS,
} from "../../src/config/settings/options.ts";
import { optionValues, parseWords } from "../../src/config/settings/parse-options.ts";
import { flagNames, flagWords } from "../../src/library/flag-words.ts";
import { failureOf } from "../support/failure-of.ts";

const GROUPS = { COMPACT_OPTIONS, PATIENCE_OPTIONS, REPLICATE_OPTIONS, RESTORE_OPTIONS, VERIFY_OPTIONS };

/** Values of each kind that are hard to write. */
function samplesOf({ kind, choices, min = 0, max = 1_000 }: OptionGroup[string]): readonly unknown[] {
  if (kind === "switch") return [true, false];
  if (kind === "text") return choices ?? ["a", "-2h", "--force", "a=b", "true"];
  if (kind === "count") return [min, max];
  return kind === "percent" ? [0.01, 12.5, 100] : [Math.max(min * 1000, 10), 90_000, 1_234];
}

test.each(Object.entries(GROUPS))("flagWords: %s parse to the given values", (_, options: OptionGroup) => {
  for (const name of flagNames(options)) {
    for (const value of samplesOf(options[name]!)) {
      const words = parseWords(flagWords(options, { [name]: value }), Object.values(options));
      expect([name, optionValues(words, options)[name] as unknown]).toEqual([name, value]);
    }
  }
});

test("flagWords leaves out settings, absent options and other fields", () => {
  expect(flagNames(RESTORE_OPTIONS)).not.toContain("cacheDir");
  expect(flagWords(RESTORE_OPTIONS, { cacheDir: "/c", force: undefined, other: 1 })).toEqual([]);
});

test.each([
  [{ timeoutMs: "60s" }, 'timeoutMs is "60s", expected a number'],
  [
    { timeoutMs: 10 },
    'timeoutMs, in seconds, is "0.01", expected a duration such as 30, "10m" or "24h" from 1 to 86400',
  ],
  [{ timeoutMs: Number.NaN }, 'timeoutMs, in seconds, is "NaN", expected'],
] as const)("flagWords names what it refuses: %j", async (given, message) => {
  const error = await failureOf((async () => flagWords(PATIENCE_OPTIONS, given))());
  expect(error.code).toBe("usage");
  expect(error.message).toStartWith(message);
});
