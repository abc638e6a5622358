/**
 * Parses the words of a command line into checked values, by the rows of the options that the verb takes. An
 * unknown option is an error that names it and the nearest known one.
 */
import { WalrustError } from "../../errors.ts";
import { editDistance } from "../../format/edit-distance.ts";
import type { OptionGroup, OptionSpec, OptionValues } from "./option-spec.ts";
import { defaultValue, flagPlace, parseText, parseTomlValue } from "./parse-value.ts";

/** Between the entries of a list that a repeated flag gives; no entry may hold it. */
const LIST_SEPARATOR = "\n";

/** A parsed command line: the options that were given, and the other words in order. */
export interface ParsedWords {
  /** By flag (without dashes): text, or true/false for a switch. */
  readonly given: ReadonlyMap<string, string | boolean>;
  readonly positionals: readonly string[];
}

/**
 * Parses the words of one verb.
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
    const flag = spec.flag ?? "";
    const before = spec.kind === "texts" ? given.get(flag) : undefined;
    if (before === undefined && given.has(flag)) throw usage(`--${flag} is given twice`);
    if (spec.kind === "switch") {
      const next = words[i + 1];
      const takesNext =
        spec.value !== undefined && value === undefined && (next === "true" || next === "false");
      if (takesNext) i++;
      given.set(flag, parseSwitch(spec, takesNext ? next : value, isNegated));
      continue;
    }
    const text = value ?? spec.bare ?? words[++i];
    if (text === undefined || (value === undefined && text.startsWith("--"))) {
      throw usage(`--${flag} needs a value: --${flag} ${spec.value ?? "VALUE"}`);
    }
    given.set(flag, before === undefined ? text : `${before}${LIST_SEPARATOR}${text}`);
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
    specs.flatMap((spec) => (spec.isHidden || spec.flag === undefined ? [] : [spec.flag])),
  );
  // The message leaves out the value, which may be a secret.
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
 * The values of a group of options by flags alone: a flag that was given, else the default. Seconds and
 * durations become ms.
 * @throws WalrustError code "usage" naming the flag, the value that was found and the expected one
 */
export function optionValues<T extends OptionGroup>(words: ParsedWords, options: T): OptionValues<T> {
  const values: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(options))
    values[key] = givenValue(words, spec) ?? defaultValue(spec);
  return values as OptionValues<T>;
}

/**
 * The value of a flag, or undefined if the flag was not given.
 * @throws WalrustError code "usage"
 */
export function givenValue(words: ParsedWords, spec: OptionSpec): unknown {
  const given = spec.flag === undefined ? undefined : words.given.get(spec.flag);
  if (given === undefined) return undefined;
  if (typeof given === "string" && spec.kind === "texts")
    return parseTomlValue(spec, given.split(LIST_SEPARATOR), flagPlace(spec));
  if (typeof given === "string") return parseText(spec, given, flagPlace(spec));
  return spec.isNegative ? !given : given;
}

/** The nearest name by edit distance, or null if none is close. */
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

function usage(message: string, hint?: string): WalrustError {
  return new WalrustError("usage", message, hint === undefined ? {} : { hint });
}
