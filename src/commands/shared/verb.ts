/**
 * The shape of a verb: its words, its help, and its action. Each verb is one file.
 */

import { resolveOptions, type Sources, valuesOf } from "../../config/resolve.ts";
import type { OptionGroup, OptionSpec, OptionValues } from "../../config/settings/option-spec.ts";
import { GLOBAL_OPTIONS } from "../../config/settings/options.ts";
import type { ParsedWords } from "../../config/settings/parse-options.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { keyProblemOrNull } from "../../storage/contract/object-rules.ts";

/** A signal that walrust answers, or passes on to an application. */
export type SignalName = "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGQUIT" | "SIGUSR1" | "SIGUSR2";

/** The signals of this process. */
export interface Signals {
  /**
   * Hands each of these signals to `answer`, until the returned function is called. The part that took over
   * last is asked first. A signal that no part takes has its usual effect.
   * @param answer returns whether it takes the signal
   */
  takeOver(names: readonly SignalName[], answer: (name: SignalName) => boolean): () => void;
}

/** One call of a verb. */
export interface Invocation {
  readonly words: ParsedWords;
  /** The words, the environment and the configuration file. */
  readonly sources: Sources;
  readonly isJson: boolean;
  readonly env: Env;
  /** Aborts on the first SIGINT, SIGTERM or SIGHUP that no part of the verb takes over. */
  readonly signal: AbortSignal;
  readonly signals: Signals;
  readonly version: string;
  /** Date of the commit that the executable was built from, as YYYY-MM-DD; null without a build. */
  readonly date: string | null;
  /** All verbs of the program. */
  readonly verbs: readonly Verb[];
}

/** The meaning of NAME for most verbs. */
export const NAME_MEANING = "Name of a database in the bucket, as `walrust list` prints it";

/** The meaning of exit code 2 for most verbs. */
export const USAGE_EXIT = [2, "usage or configuration: an unknown option or key, or a bad value"] as const;

/** The meaning of exit code 4 for most verbs. */
export const STORAGE_EXIT = [
  4,
  "storage: the destination is missing or unreachable, or refuses the credentials",
] as const;

/** A verb. */
export interface Verb {
  readonly name: string;
  /** Other names of the verb. */
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** The words after the verb, e.g. `NAME -o OUTPUT`. */
  readonly usage: string;
  readonly options: readonly OptionGroup[];
  /** The words without a flag. */
  readonly positionals: {
    readonly name: string;
    readonly min: number;
    readonly max: number;
    /** The only words that the verb takes; absent: any. */
    readonly choices?: readonly string[];
    readonly meaning: string;
  };
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** The meaning of each exit code for this verb. */
  readonly exitCodes: readonly (readonly [code: number, meaning: string])[];
  /** Runs until it is stopped, or copies whole databases: walrust keeps the memory of this verb low. */
  readonly savesMemory?: true;
  /** @returns the exit code, unless it throws */
  readonly run: (invocation: Invocation) => Promise<number>;
}

/**
 * The values of a group of options, from flags, environment, configuration file and defaults.
 * @throws WalrustError code "usage" or "config"
 */
export function settingsOf<T extends OptionGroup>(invocation: Invocation, options: T): OptionValues<T> {
  return valuesOf(resolveOptions(invocation.sources, options));
}

/** All options a verb accepts, its own first. */
export function optionsOf(verb: Verb): OptionSpec[] {
  return [...verb.options, GLOBAL_OPTIONS].flatMap((group) => Object.values(group));
}

/** @throws WalrustError code "usage" when there are too few or too many words, or one is invalid */
export function assertPositionals(verb: Verb, words: ParsedWords): void {
  const { name, min, max } = verb.positionals;
  const count = words.positionals.length;
  if (count >= min && count <= max) {
    for (const word of words.positionals) assertWord(verb, word);
    return;
  }
  const found = count === 0 ? "none" : words.positionals.join(" ");
  const limit = count < min ? `at least ${min}` : `at most ${max}`;
  const expected = max === 0 ? "no arguments" : `${min === max ? min : limit} ${name}`;
  throw new WalrustError("usage", `walrust ${verb.name} takes ${expected}, got ${found}`, {
    hint: `Usage: walrust ${verb.name} ${verb.usage}`,
  });
}

function assertWord({ name, usage, positionals }: Verb, word: string): void {
  const problem = wordProblemOrNull(positionals, word);
  if (problem === null) return;
  throw new WalrustError("usage", `Cannot use the ${positionals.name} ${JSON.stringify(word)}: ${problem}`, {
    hint: `Usage: walrust ${name} ${usage}`,
  });
}

function wordProblemOrNull({ name, choices }: Verb["positionals"], word: string): string | null {
  if (name === "NAME") return keyProblemOrNull(word);
  if (word === "") return "it is empty";
  return choices === undefined || choices.includes(word) ? null : `expected one of ${choices.join(", ")}`;
}
