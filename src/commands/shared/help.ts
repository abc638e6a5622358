/**
 * Makes the help texts from the verbs and the table of options.
 */
import type { OptionSpec } from "../../config/settings/option-spec.ts";
import { defaultText } from "../../config/settings/option-text.ts";
import { GLOBAL_OPTIONS } from "../../config/settings/options.ts";
import type { Verb } from "./verb.ts";

/** The help of the whole program. */
export function programHelp(verbs: readonly Verb[]): string {
  const width = Math.max(...verbs.map((verb) => verb.name.length));
  return [
    "walrust backs up SQLite databases to object storage, as verified, restorable copies.",
    "",
    "Usage: walrust VERB [ARGUMENTS] [OPTIONS]",
    "",
    "Verbs:",
    ...verbs.map((verb) => `  ${verb.name.padEnd(width)}  ${verb.summary}`),
    "",
    "Options:",
    ...optionLines(Object.values(GLOBAL_OPTIONS)),
    "",
    "`walrust VERB --help` shows the arguments, options, examples and exit codes of a verb.",
    "Every key of walrust.toml can come from an environment variable: WALRUST_<SECTION>_<KEY>.",
    "`walrust --licenses` prints the licenses of all parts of the executable.",
  ].join("\n");
}

/** The help of one verb. */
export function verbHelp(verb: Verb): string {
  const own = verb.options.flatMap((group) => Object.values(group));
  return [
    `${verb.summary}.`,
    "",
    ["Usage: walrust", verb.name, verb.usage, "[OPTIONS]"].filter((part) => part !== "").join(" "),
    "",
    ...argumentLines(verb),
    "Options:",
    ...optionLines([...own, ...Object.values(GLOBAL_OPTIONS)]),
    "",
    "Examples:",
    ...verb.examples.flatMap(([command, meaning]) => [`  # ${meaning}`, `  ${command}`]),
    "",
    "Exit codes:",
    ...verb.exitCodes.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`),
  ].join("\n");
}

function argumentLines({ positionals: { name, max, meaning } }: Verb): string[] {
  return max === 0 ? [] : ["Arguments:", `  ${name}  ${meaning}`, ""];
}

function optionLines(specs: readonly OptionSpec[]): string[] {
  const rows = specs
    .filter((spec) => !spec.isHidden && spec.flag !== undefined)
    .map((spec) => [flagText(spec), meaningText(spec)] as const);
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return rows.map(([flag, meaning]) => `  ${flag.padEnd(width)}  ${meaning}`);
}

function flagText(spec: OptionSpec): string {
  const alias = spec.alias === undefined ? "    " : `-${spec.alias}, `;
  const value = spec.bare === undefined ? ` ${spec.value}` : `[=${spec.value}]`;
  return `${alias}--${spec.flag}${spec.value === undefined ? "" : value}`;
}

function meaningText(spec: OptionSpec): string {
  const choices = spec.choices === undefined ? "" : ` (${spec.choices.join(", ")})`;
  const takesValue = spec.kind !== "switch" || spec.value !== undefined;
  const shown = takesValue ? defaultText(spec) : null;
  return `${spec.flagMeaning ?? spec.meaning}${choices}${shown === null ? "" : ` [${shown}]`}`;
}
