/**
 * Options of a verb that no walrust.toml holds, as words of a command line. Types, names and flags come from
 * the table of options.
 */
import type { OptionGroup, OptionSpec } from "../config/settings/option-spec.ts";
import { parseText } from "../config/settings/parse-value.ts";
import { WalrustError } from "../errors.ts";
import type { GivenValue } from "./given-settings.ts";

/** The options of a group that have a flag and no key. */
export type GivenFlags<T extends OptionGroup> = {
  readonly [K in keyof T as T[K] extends { key: string } ? never : K]?: GivenValue<T[K]> | undefined;
};

/** The names of the options of `GivenFlags`. */
export function flagNames(options: OptionGroup): string[] {
  return Object.keys(options).filter((name) => options[name]?.key === undefined);
}

/**
 * The words for the given options, in the order of the table. Other fields are left out.
 * @throws WalrustError code "usage" for a value that cannot be used
 */
export function flagWords(options: OptionGroup, given: Readonly<Record<string, unknown>>): string[] {
  return flagNames(options).flatMap((name) => {
    const value = given[name];
    return value === undefined ? [] : [`--${options[name]!.flag}=${textOf(options[name]!, name, value)}`];
  });
}

function textOf(spec: OptionSpec, name: string, value: unknown): string {
  const isTime = spec.kind === "seconds" || spec.kind === "duration";
  const wanted = spec.kind === "text" ? "string" : spec.kind === "switch" ? "boolean" : "number";
  if (typeof value !== wanted) {
    throw new WalrustError("usage", `${name} is ${JSON.stringify(value)}, expected a ${wanted}`);
  }
  // A number is written without an exponent: the command line knows none.
  const text = wanted === "number" ? plainNumber(isTime ? Number(value) / 1000 : Number(value)) : `${value}`;
  parseText(spec, text, { name: isTime ? `${name}, in seconds,` : name, code: "usage" });
  return text;
}

/** A number with at most six decimals, such as 0.05. */
function plainNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(6).replace(/0+$/, "");
}
