/**
 * Settings from environment variables: `WALRUST_<SECTION>_<KEY>` for every key, and the variables of the AWS
 * tools. A value is written as on the command line; a list is written with commas. An empty variable counts
 * as not set.
 *
 * A secret can also lie in a file that `WALRUST_<SECTION>_<KEY>_FILE` names. No message quotes a secret, or
 * the path of its file: a user who mistakes the variable puts the secret itself there.
 */
import { WalrustError } from "../errors.ts";
import type { Warning } from "./config-file.ts";
import { type Environment, readSecretText } from "./file-values.ts";
import type { OptionSpec } from "./settings/option-spec.ts";
import { parseListText } from "./settings/parse-value.ts";
import {
  FILE_ENDING,
  isServiceLink,
  OWN_VARIABLES,
  ownVariableOrNull,
  unusedVariables,
  VARIABLE_PREFIX,
} from "./settings/variables.ts";

/** A value, and the variable that it comes from. */
export interface VariableValue {
  readonly value: unknown;
  readonly variable: string;
}

/**
 * The value of a setting in the environment, or null if no variable gives one.
 * @throws WalrustError code "config" naming the variable of a value that cannot be used
 */
export function variableValueOrNull(spec: OptionSpec, environment: Environment): VariableValue | null {
  const own = ownVariableOrNull(spec);
  const ownText = own === null ? null : textOrNull(own, environment);
  if (own !== null && spec.isSecret) {
    const variable = `${own}${FILE_ENDING}`;
    const path = textOrNull(variable, environment);
    if (path !== null && ownText !== null) {
      throw new WalrustError("config", `${own} and ${variable} are both set`, { hint: "Unset one of them" });
    }
    if (path !== null) return { value: readSecretText(path, spec, variable), variable };
  }
  if (own !== null && ownText !== null) return variableValue(spec, ownText, own);
  for (const variable of spec.env ?? []) {
    const text = textOrNull(variable, environment);
    if (text !== null) return variableValue(spec, text, variable);
  }
  return null;
}

function variableValue(spec: OptionSpec, text: string, variable: string): VariableValue {
  return { value: parseListText(spec, text, { name: variable, code: "config" }), variable };
}

function textOrNull(variable: string, environment: Environment): string | null {
  const text = environment[variable];
  return !text || isServiceLink(variable, text) ? null : text;
}

/**
 * Checks all variables of walrust, also those of settings that the running verb does not need.
 * @returns warnings about variables that resemble a setting
 * @throws WalrustError code "config" naming the variable of a value that cannot be used
 */
export function checkEnvironment(environment: Environment): Warning[] {
  const { own } = splitEnvironment(environment);
  for (const { spec } of OWN_VARIABLES) variableValueOrNull(spec, own);
  return unusedVariables(own).map(({ name, hint }) => ({
    message: `the environment variable ${name} is no setting of walrust, and has no effect`,
    hint,
  }));
}

/** The variables of walrust, and all others. */
export function splitEnvironment(environment: Environment): { own: Environment; others: Environment } {
  const entries = Object.entries(environment);
  const isOwn = ([name]: readonly [string, unknown]): boolean => name.startsWith(VARIABLE_PREFIX);
  return {
    own: Object.fromEntries(entries.filter(isOwn)),
    others: Object.fromEntries(entries.filter((entry) => !isOwn(entry))),
  };
}
