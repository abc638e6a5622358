/**
 * Makes `src/python/walrust/_options.py` from walrust's own table of options: the names, kinds and types of
 * the keyword arguments of the Python package. A name is the flag with underscores.
 */
import type { Verb } from "../../src/commands/shared/verb.ts";
import type { OptionKind, OptionSpec } from "../../src/config/settings/option-spec.ts";
import { defaultText, rangeText } from "../../src/config/settings/option-text.ts";
import { GLOBAL_OPTIONS } from "../../src/config/settings/options.ts";
import { commentLines, literalText } from "./python-text.ts";

/** Verbs that the package has a method for. */
const METHODS = ["snapshot", "list", "restore", "verify", "explain", "watch", "replicate"] as const;

/** Flags that are parameters of the class or of a method, and flags that make no sense without a terminal. */
const LEFT_OUT: Readonly<Record<(typeof METHODS)[number] | "all", readonly string[]>> = {
  all: [...Object.values(GLOBAL_OPTIONS).map(({ flag }) => flag), "bucket", "endpoint", "progress"],
  snapshot: [],
  list: ["local"],
  restore: [
    ...["output", "point-in-time", "force", "if-db-not-exists", "if-replica-exists"],
    // A restore of all databases is a work for a person.
    ...["all", "into", "jobs", "prefix"],
  ],
  verify: ["all"],
  explain: [],
  watch: ["exec"],
  replicate: ["local"],
};

/** The type of an argument. */
const TYPES: Readonly<Record<OptionKind, string>> = {
  text: "str",
  switch: "bool",
  seconds: "Union[float, timedelta]",
  duration: "Union[float, str, timedelta]",
  milliseconds: "Union[int, timedelta]",
  count: "int",
  bytes: "Union[int, str]",
  percent: "Union[bool, float]",
  number: "float",
  texts: "Sequence[str]",
  durations: "Sequence[str]",
};

const HEAD = `"""The options of the calls: their kinds, and their types for type checkers.

Made by scripts/reference.ts from walrust's table of options; do not edit.
"""

from __future__ import annotations

from datetime import timedelta
from os import PathLike
from typing import Literal, Mapping, Optional, Sequence, TypedDict, Union

`;

/** The text of the module. @throws Error when a verb is missing */
export function pythonOptions(verbs: readonly Verb[]): string {
  const methods = METHODS.map((name) => ({ name, options: optionsOf(name, verbs) }));
  const table = methods.map(({ name, options }) => {
    const rows = options.map((spec) => `        "${argumentName(spec)}": "${kindOf(spec)}",\n`);
    return `    "${name}": {\n${rows.join("")}    },\n`;
  });
  const classes = methods.map(({ name, options }) => classText(name, options));
  const comment = "#: Kinds of the options by method and name. An option that is not here does not exist.\n";
  const constant = `OPTIONS: Mapping[str, Mapping[str, str]] = {\n${table.join("")}}\n`;
  return `${HEAD}${comment}${constant}\n\n${classes.join("\n\n")}`;
}

/** The options that a method takes as keyword arguments, in the order of the help. */
export function optionsOf(method: (typeof METHODS)[number], verbs: readonly Verb[]): OptionSpec[] {
  const verb = verbs.find(({ name }) => name === method);
  if (verb === undefined) throw new Error(`there is no verb ${method}`);
  const leftOut = [...LEFT_OUT.all, ...LEFT_OUT[method]];
  return verb.options
    .flatMap((group) => Object.values(group))
    .filter(({ flag, isHidden }) => flag !== undefined && !isHidden && !leftOut.includes(flag));
}

function classText(method: string, options: readonly OptionSpec[]): string {
  const name = `${method.charAt(0).toUpperCase()}${method.slice(1)}Options`;
  const fields = options.map((spec) => {
    const comment = commentLines(meaningOf(spec), "    ");
    return `\n${comment}    ${argumentName(spec)}: Optional[${typeOf(spec)}]\n`;
  });
  return `class ${name}(TypedDict, total=False):\n    """Options of \`${method}\`."""\n${fields.join("")}`;
}

function argumentName({ flag = "" }: OptionSpec): string {
  return flag.replaceAll("-", "_");
}

function kindOf({ kind, isPath }: OptionSpec): string {
  return isPath === true ? "path" : kind;
}

function typeOf({ kind, isPath, choices }: OptionSpec): string {
  if (isPath === true) return 'Union[str, "PathLike[str]"]';
  return choices === undefined ? TYPES[kind] : literalText(choices);
}

/** The meaning with the default and the range. Flags have their names as arguments. */
function meaningOf(spec: OptionSpec): string {
  const { kind, isNegative, meaning, flagMeaning = meaning } = spec;
  const text = flagMeaning.replaceAll(/--([a-z][a-z-]+)/g, (_, flag: string) => flag.replaceAll("-", "_"));
  const shown = kind === "switch" || isNegative === true ? null : defaultText(spec) || null;
  const range = kind === "switch" || spec.choices !== undefined ? null : rangeText(spec);
  const facts = [shown === null ? "" : `default ${shown}`, range ?? ""].filter((fact) => fact !== "");
  return facts.length === 0 ? `${text}.` : `${text} (${facts.join("; ")}).`;
}
