/**
 * Parses the text of one option, or one value of walrust.toml, into a checked value. Every rejection names
 * the place, the value that was found (never a secret) and the expected one.
 */
import { type ErrorDetails, WalrustError } from "../../errors.ts";
import { expandHome } from "./home-path.ts";
import type { OptionSpec } from "./option-spec.ts";

/** The place of a value, for messages. */
export interface ValuePlace {
  /** As the user writes it: `--wal-sync-interval`, `AWS_REGION`, `walrust.toml:5:3: sync.max_changes`. */
  readonly name: string;
  readonly code: "usage" | "config";
  /** Facts for `--json`: the position in a file. */
  readonly context?: NonNullable<ErrorDetails["context"]>;
}

/** A flag as a place. */
export function flagPlace(spec: OptionSpec): ValuePlace {
  return { name: `--${spec.flag}`, code: "usage" };
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };
const UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1024,
  mb: 1024 ** 2,
  gb: 1024 ** 3,
  tb: 1024 ** 4,
};
const NUMBER = /^(\d{1,9}(\.\d{1,6})?|\.\d{1,6})$/;

/** The default of an option, as a value: times in ms. */
export function defaultValue(spec: OptionSpec): unknown {
  const { kind, default: value } = spec;
  if (value === undefined) return kind === "texts" ? [] : undefined;
  if (kind === "seconds" || kind === "duration") return (value as number) * 1000;
  if (kind === "durations") return (value as readonly number[]).map((seconds) => seconds * 1000);
  return value;
}

/**
 * Parses a text. Seconds and durations become ms.
 * @throws WalrustError with the place's code
 */
export function parseText(spec: OptionSpec, text: string, place: ValuePlace): unknown {
  switch (spec.kind) {
    case "text":
      return checkText(spec, text, place);
    case "switch":
      if (text === "true" || text === "false") return text === "true";
      throw rejected(spec, text, "true or false", place);
    case "seconds":
      return toMs(spec, NUMBER.test(text) ? Number(text) : Number.NaN, text, place);
    case "duration":
      return parseDuration(spec, text, place);
    case "bytes":
      return parseBytes(spec, text, place);
    case "percent": {
      const percent = /^\d{1,3}(\.\d{1,3})?%?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
      return inRange(spec, percent, text, place);
    }
    case "number":
      return inRange(spec, NUMBER.test(text) ? Number(text) : Number.NaN, text, place);
    case "count":
    case "milliseconds":
      return inRange(spec, /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN, text, place);
    default:
      throw rejected(spec, text, "a list", place);
  }
}

/**
 * Parses the text of an environment variable: as `parseText` does, and a list with commas.
 * @throws WalrustError with the place's code
 */
export function parseListText(spec: OptionSpec, text: string, place: ValuePlace): unknown {
  const isList = spec.kind === "texts" || spec.kind === "durations";
  if (!isList) return parseText(spec, text, place);
  const entries = text.split(",").map((entry) => entry.trim());
  return parseList(spec, entries, place);
}

/**
 * Parses a value of walrust.toml. Numbers are seconds, bytes or ms; texts are written as on the command line.
 * @throws WalrustError with the place's code
 */
export function parseTomlValue(spec: OptionSpec, value: unknown, place: ValuePlace): unknown {
  switch (spec.kind) {
    case "text":
      if (typeof value === "string") return checkText(spec, value, place);
      throw rejected(spec, value, expectedOf(spec), place);
    case "switch":
      if (typeof value === "boolean") return value;
      throw rejected(spec, value, "true or false", place);
    case "duration":
    case "bytes":
      if (typeof value === "string") return parseText(spec, value, place);
      return parseNumber(spec, value, place);
    case "texts":
    case "durations":
      return parseList(spec, value, place);
    default:
      return parseNumber(spec, value, place);
  }
}

function parseNumber(spec: OptionSpec, value: unknown, place: ValuePlace): number {
  if (typeof value !== "number") throw rejected(spec, value, expectedOf(spec), place);
  const isWhole = spec.kind === "count" || spec.kind === "milliseconds" || spec.kind === "bytes";
  const number = isWhole && !Number.isInteger(value) ? Number.NaN : value;
  const isTime = spec.kind === "seconds" || spec.kind === "duration";
  return isTime ? toMs(spec, number, value, place) : inRange(spec, number, value, place);
}

function parseList(spec: OptionSpec, value: unknown, place: ValuePlace): unknown[] {
  const { countMax = Number.POSITIVE_INFINITY } = spec;
  if (!Array.isArray(value)) throw rejected(spec, value, "a list", place);
  if (value.length === 0 || value.length > countMax) {
    throw rejected(spec, value, `a list of 1 to ${countMax} entries`, place);
  }
  const entry: OptionSpec = { ...spec, kind: spec.kind === "texts" ? "text" : "duration" };
  const values = value.map((one) => parseTomlValue(entry, one, place));
  const isAscending = values.every(
    (one, index) => index === 0 || (one as number) > (values[index - 1] as number),
  );
  if (spec.kind === "durations" && !isAscending) throw rejected(spec, value, "durations that grow", place);
  return [...new Set(values)];
}

function checkText(spec: OptionSpec, text: string, place: ValuePlace): string {
  if (text === "") throw refused(place, "is empty");
  // In a header or a key such a character would fail much later, and look like a network that is down.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the test is for them
  if (/[\x00-\x1f\x7f]/.test(text)) throw refused(place, "has a line break or another control character");
  if (spec.isPrivateUrl && !/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : "")) {
    throw rejected(spec, text, "a URL that begins with https:// or http://", place);
  }
  if (spec.isPath) return expandHome(text);
  if (spec.choices === undefined || spec.choices.includes(text)) return text;
  throw rejected(spec, text, `one of ${spec.choices.join(", ")}`, place);
}

function parseDuration(spec: OptionSpec, text: string, place: ValuePlace): number {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)?$/.exec(text);
  const seconds = match ? Number(match[1]) * UNIT_SECONDS[match[2] ?? "s"]! : Number.NaN;
  return toMs(spec, seconds, text, place);
}

function parseBytes(spec: OptionSpec, text: string, place: ValuePlace): number {
  const match = /^(\d{1,15}(?:\.\d{1,3})?) ?(b|kb|mb|gb|tb)?$/i.exec(text);
  const bytes = match ? Number(match[1]) * UNIT_BYTES[(match[2] ?? "b").toLowerCase()]! : Number.NaN;
  return Math.round(inRange(spec, bytes, text, place));
}

const EXPECTED: Readonly<Record<string, string>> = {
  text: "a text",
  seconds: "seconds",
  duration: 'a duration such as 30, "10m" or "24h"',
  milliseconds: "milliseconds",
  count: "a whole number",
  bytes: 'bytes or a size such as "500MB"',
  percent: "a percentage",
  number: "a number",
};

function expectedOf(spec: OptionSpec): string {
  const what = EXPECTED[spec.kind] ?? "a list";
  if (spec.kind === "text") return what;
  const { min = 0, max } = spec;
  return max === undefined ? `${what} of at least ${min}` : `${what} from ${min} to ${max}`;
}

function inRange(spec: OptionSpec, value: number, found: unknown, place: ValuePlace): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = spec;
  if (value >= min && value <= max) return value;
  throw rejected(spec, found, expectedOf(spec), place);
}

/** Seconds as ms. A value above 0 never becomes 0, which often means never. */
function toMs(spec: OptionSpec, seconds: number, found: unknown, place: ValuePlace): number {
  const durationMs = Math.round(inRange(spec, seconds, found, place) * 1000);
  if (durationMs === 0 && seconds > 0) throw rejected(spec, found, "0, or at least a millisecond", place);
  return durationMs;
}

function rejected(spec: OptionSpec, found: unknown, expected: string, place: ValuePlace): WalrustError {
  const isPrivate = spec.isSecret || spec.isPrivateUrl;
  const shown = isPrivate ? "not usable" : shownValue(found);
  return refused(place, `is ${shown}, expected ${expected}`);
}

function refused({ code, name, context }: ValuePlace, what: string): WalrustError {
  return new WalrustError(code, `${name} ${what}`, context === undefined ? {} : { context });
}

function shownValue(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (value instanceof Date) return `the date ${value.toISOString()}`;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return "a table";
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
