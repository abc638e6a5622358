/**
 * From the words of a command line to checked values: strict, by the table in options.ts. A word that is not
 * understood is an error that names it and the nearest thing that is.
 */
import { WalrustError } from "../errors.ts";
import type { OptionSpec, OptionValues } from "./options.ts";

/** What a command line said: the options given, and the other words in order. */
export interface ParsedWords {
  /** By flag (without dashes): text, or true/false for a switch. */
  readonly given: ReadonlyMap<string, string | boolean>;
  readonly positionals: readonly string[];
}

/**
 * Splits the words of one verb.
 * @throws WalrustError code "usage": unknown option, missing or superfluous value
 */
export function parseWords(words: readonly string[], specs: readonly OptionSpec[]): ParsedWords {
  const given = new Map<string, string | boolean>();
  const positionals: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === "--") {
      positionals.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      positionals.push(word);
      continue;
    }
    const { spec, value, isNegated } = readFlag(word, specs);
    if (given.has(spec.flag)) throw usage(`--${spec.flag} is given twice`);
    if (spec.kind === "switch") {
      const next = words[i + 1];
      const takesNext =
        spec.value !== undefined && value === undefined && (next === "true" || next === "false");
      if (takesNext) i++;
      given.set(spec.flag, parseSwitch(spec, takesNext ? next : value, isNegated));
      continue;
    }
    const text = value ?? spec.bare ?? words[++i];
    if (text === undefined || (value === undefined && text.startsWith("--"))) {
      throw usage(`--${spec.flag} needs a value: --${spec.flag} ${spec.value ?? "VALUE"}`);
    }
    given.set(spec.flag, text);
  }
  return { given, positionals };
}

function readFlag(
  word: string,
  specs: readonly OptionSpec[],
): { spec: OptionSpec; value: string | undefined; isNegated: boolean } {
  const equals = word.indexOf("=");
  const name = (equals < 0 ? word : word.slice(0, equals)).replace(/^--?/, "");
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const isLong = word.startsWith("--");
  const direct = specs.find((spec) => (isLong ? spec.flag === name : spec.alias === name));
  if (direct) return { spec: direct, value, isNegated: false };
  const negated = name.startsWith("no-") ? specs.find((spec) => spec.flag === name.slice(3)) : undefined;
  if (isLong && negated?.kind === "switch") return { spec: negated, value, isNegated: true };
  const nearest = nearestName(
    name,
    specs.filter((spec) => !spec.isHidden).map((spec) => spec.flag),
  );
  // Without its value, which may be a secret.
  const shown = equals < 0 ? word : word.slice(0, equals);
  throw usage(`Unknown option ${shown}`, nearest === null ? undefined : `Did you mean --${nearest}?`);
}

function parseSwitch(spec: OptionSpec, value: string | undefined, isNegated: boolean): boolean {
  if (value === undefined) return !isNegated;
  if (isNegated || (value !== "true" && value !== "false")) {
    throw usage(`--${spec.flag} is ${JSON.stringify(value)}, expected true or false`);
  }
  return value === "true";
}

/**
 * The values of a group of options: what was given, else the default. Seconds and durations become ms.
 * @throws WalrustError code "usage" naming the flag, what was found and what is expected
 */
export function optionValues<T extends Record<string, OptionSpec>>(
  words: ParsedWords,
  group: T,
): OptionValues<T> {
  const values: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(group)) {
    const given = words.given.get(spec.flag);
    values[key] = given === undefined ? defaultValue(spec) : parseValue(spec, given);
  }
  return values as OptionValues<T>;
}

function defaultValue(spec: OptionSpec): unknown {
  if (spec.default === undefined) return spec.kind === "switch" ? false : undefined;
  const isTime = spec.kind === "seconds" || spec.kind === "duration";
  return isTime ? (spec.default as number) * 1000 : spec.default;
}

function parseValue(spec: OptionSpec, given: string | boolean): unknown {
  if (typeof given === "boolean") return given;
  if (spec.kind === "text") return parseText(spec, given);
  if (spec.kind === "duration") return parseDuration(spec, given);
  if (spec.kind === "bytes") return parseBytes(spec, given);
  if (spec.kind === "percent") return parsePercent(spec, given);
  const pattern = spec.kind === "count" ? /^\d{1,15}$/ : /^(\d{1,9}(\.\d{1,6})?|\.\d{1,6})$/;
  const value = pattern.test(given) ? Number(given) : Number.NaN;
  assertRange(spec, given, value);
  return spec.kind === "seconds" ? Math.round(value * 1000) : value;
}

function parseText(spec: OptionSpec, given: string): string {
  if (spec.choices !== undefined && !spec.choices.includes(given)) {
    throw usage(`--${spec.flag} is ${JSON.stringify(given)}, expected one of ${spec.choices.join(", ")}`);
  }
  if (given === "") throw usage(`--${spec.flag} is empty`);
  return given;
}

const UNIT_SECONDS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

function parseDuration(spec: OptionSpec, given: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)?$/.exec(given);
  const seconds = match ? Number(match[1]) * UNIT_SECONDS[match[2] ?? "s"]! : Number.NaN;
  assertRange(spec, given, seconds);
  return Math.round(seconds * 1000);
}

const UNIT_BYTES: Record<string, number> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3, tb: 1024 ** 4 };

function parseBytes(spec: OptionSpec, given: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,3})?) ?(b|kb|mb|gb|tb)?$/i.exec(given);
  const bytes = match ? Number(match[1]) * UNIT_BYTES[(match[2] ?? "b").toLowerCase()]! : Number.NaN;
  assertRange(spec, given, bytes);
  return Math.round(bytes);
}

function parsePercent(spec: OptionSpec, given: string): number {
  const value = /^\d{1,3}(\.\d{1,3})?%?$/.test(given) ? Number.parseFloat(given) : Number.NaN;
  assertRange(spec, given, value);
  return value;
}

const UNITS: Readonly<Record<string, string>> = {
  count: "a whole number",
  bytes: "bytes",
  percent: "a percentage",
};

function assertRange(spec: OptionSpec, given: string, value: number): void {
  const min = spec.min ?? 0;
  const max = spec.max ?? Number.MAX_SAFE_INTEGER;
  if (value >= min && value <= max) return;
  const unit = UNITS[spec.kind] ?? "seconds";
  const range = spec.max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
  throw usage(`--${spec.flag} is ${JSON.stringify(given)}, expected ${unit} ${range}`);
}

/** The name most like `name` by edit distance, or null when none is close. */
export function nearestName(name: string, names: readonly string[]): string | null {
  let nearest: string | null = null;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length]!;
}

function usage(message: string, hint?: string): WalrustError {
  return new WalrustError("usage", message, hint === undefined ? {} : { hint });
}
