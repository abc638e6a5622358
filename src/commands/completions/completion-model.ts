/**
 * PURE: the table of verbs and flags as a shell completes it. The scripts of all shells are made from this
 * model, so that a verb or a flag that is added to the table is completed without further work.
 */
import type { OptionSpec } from "../../config/settings/option-spec.ts";
import { GLOBAL_OPTIONS } from "../../config/settings/options.ts";
import { optionsOf, type Verb } from "../shared/verb.ts";

/**
 * The completion of a value: files, folders, names of databases, a destination (`s3://`, or `file://` and
 * folders), words of a list, or nothing (`free`).
 */
export type ValueKind = "free" | "file" | "folder" | "name" | "destination" | "choice";

/**
 * The value of a flag: none, the next word or the rest after `=` (`value`), only the rest after `=`
 * (`attached`), or the next word if it is one of the choices (`optional`).
 */
export type FlagValue = "none" | "value" | "attached" | "optional";

/** A value that a shell completes. */
export interface CompletedValue {
  readonly kind: ValueKind;
  /** The words of a choice. */
  readonly choices: readonly string[];
  /** The placeholder of the help. */
  readonly label: string;
}

/** A flag of a verb. */
export interface CompletedFlag extends CompletedValue {
  /** The long form, and the short one if there is one, with dashes. */
  readonly names: readonly string[];
  readonly takes: FlagValue;
  /** Whether the flag may be given more than once. */
  readonly isRepeated: boolean;
  readonly meaning: string;
}

/** A verb. */
export interface CompletedVerb {
  /** The name, and the other names. */
  readonly names: readonly string[];
  readonly summary: string;
  readonly flags: readonly CompletedFlag[];
  /** The words without a flag; null: there are none. */
  readonly operand: (CompletedValue & { readonly min: number; readonly max: number }) | null;
}

/** Verbs, and flags in place of a verb. */
export interface CompletedProgram {
  readonly verbs: readonly CompletedVerb[];
  readonly flags: readonly CompletedFlag[];
}

/** The kinds of values by their placeholder in the table. A placeholder that is not here is free text. */
const KINDS: Readonly<Record<string, ValueKind>> = {
  DATABASE: "file",
  DIR: "folder",
  FILE: "file",
  NAME: "name",
  PATH: "file",
  SOURCE: "name",
};

const LICENSES: CompletedFlag = {
  names: ["--licenses"],
  takes: "none",
  kind: "free",
  choices: [],
  label: "",
  isRepeated: false,
  meaning: "Print the licenses of all parts of the executable",
};

/** The model of the program with these verbs. */
export function completedProgram(verbs: readonly Verb[]): CompletedProgram {
  const { help, version } = GLOBAL_OPTIONS;
  return { verbs: verbs.map(completedVerb), flags: [completedFlag(help), completedFlag(version), LICENSES] };
}

function completedVerb(verb: Verb): CompletedVerb {
  const { name, aliases = [], summary, positionals } = verb;
  const { min, max, choices = [] } = positionals;
  const shown = optionsOf(verb).filter(({ flag, isHidden }) => flag !== undefined && isHidden !== true);
  const kind = choices.length > 0 ? "choice" : (KINDS[positionals.name] ?? "free");
  const operand = max === 0 ? null : { kind, choices, label: positionals.name, min, max };
  return { names: [name, ...aliases], summary, flags: shown.map(completedFlag), operand };
}

function completedFlag(spec: OptionSpec): CompletedFlag {
  const { flag, alias, kind, value, bare, choices = [] } = spec;
  const names = [`--${flag}`, ...(alias === undefined ? [] : [`-${alias}`])];
  const meaning = spec.flagMeaning ?? spec.meaning;
  const about = { names, label: value ?? "", isRepeated: kind === "texts", meaning };
  if (kind === "switch") {
    if (value === undefined) return { ...about, takes: "none", kind: "free", choices: [] };
    return { ...about, takes: "optional", kind: "choice", choices: ["true", "false"] };
  }
  return { ...about, takes: bare === undefined ? "value" : "attached", kind: valueKind(spec), choices };
}

function valueKind({ flag = "", key, value = "", choices }: OptionSpec): ValueKind {
  if (choices !== undefined) return "choice";
  if (key === "s3.bucket") return "destination";
  // The placeholder of these flags is PATH in all documents.
  return flag.endsWith("-dir") ? "folder" : (KINDS[value] ?? "free");
}

/** The value of some flags, of one verb or (null) of all verbs that have them. */
export interface FlagCase extends Pick<CompletedFlag, "takes" | "kind" | "choices"> {
  /** All names of the verb. */
  readonly verbs: readonly string[] | null;
  readonly names: readonly string[];
}

/**
 * The values of all flags that take one. Cases of one verb come first: some flags differ between verbs.
 * Flags of a verb without a value come only where another verb has the same flag with a value.
 */
export function flagCases({ verbs }: CompletedProgram): FlagCase[] {
  const uses = new Map<string, { verbs: readonly string[]; flag: CompletedFlag }[]>();
  for (const verb of verbs) {
    for (const flag of verb.flags) {
      for (const name of flag.names) {
        uses.set(name, [...(uses.get(name) ?? []), { verbs: verb.names, flag }]);
      }
    }
  }
  const own: FlagCase[] = [];
  const shared = new Map<string, FlagCase>();
  for (const [name, each] of uses) {
    const isShared = new Set(each.map(({ flag }) => valueText(flag))).size === 1;
    if (!isShared)
      own.push(...each.map((use) => ({ ...ownValue(use.flag), verbs: use.verbs, names: [name] })));
    else if (each[0]!.flag.takes !== "none") {
      const text = valueText(each[0]!.flag);
      const others = shared.get(text)?.names ?? [];
      shared.set(text, { ...ownValue(each[0]!.flag), verbs: null, names: [...others, name] });
    }
  }
  return [...own, ...shared.values()];
}

function ownValue({ takes, kind, choices }: CompletedFlag): Pick<FlagCase, "takes" | "kind" | "choices"> {
  return { takes, kind, choices };
}

function valueText(flag: CompletedFlag): string {
  return JSON.stringify(ownValue(flag));
}
