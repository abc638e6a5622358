/**
 * Resolves each option to a value and the origin of that value: a flag that was given, else the environment,
 * else the file (the database's entry before the section), else the default. A default never hides a value
 * that was given, because it is never written into the words or into the file's values.
 */
import { WalrustError } from "../errors.ts";
import type { ConfigFile } from "./config-file.ts";
import type { DatabaseEntry } from "./database-entries.ts";
import { variableValueOrNull } from "./environment.ts";
import { type Environment, type FileValue, placeText } from "./file-values.ts";
import type { OptionGroup, OptionSpec, OptionValue, OptionValues } from "./settings/option-spec.ts";
import { givenValue, type ParsedWords } from "./settings/parse-options.ts";
import { defaultValue } from "./settings/parse-value.ts";

/** The sources of values. */
export interface Sources {
  readonly words: ParsedWords;
  readonly environment: Environment;
  readonly file: ConfigFile | null;
}

/** The origin of a value. */
export interface Origin {
  readonly kind: "flag" | "environment" | "file" | "default";
  /** `--bucket`, `AWS_REGION`, `walrust.toml:5:3`, `default`. */
  readonly text: string;
}

/** A value and its origin. */
export interface Setting<V> {
  readonly value: V;
  readonly origin: Origin;
}

/** The settings of a group. */
export type Resolved<T extends OptionGroup> = { readonly [K in keyof T]: Setting<OptionValue<T[K]>> };

/** The origin of a value that no source gives. */
export const BY_DEFAULT: Origin = { kind: "default", text: "default" };

/**
 * Resolves a group of options.
 * @param database the entry of the database that the options are for, if any
 * @throws WalrustError code "usage" or "config" naming the place of a value that cannot be used
 */
export function resolveOptions<T extends OptionGroup>(
  sources: Sources,
  options: T,
  database: DatabaseEntry | null = null,
): Resolved<T> {
  const resolved: Record<string, Setting<unknown>> = {};
  for (const [name, spec] of Object.entries(options)) resolved[name] = resolveOne(sources, spec, database);
  return resolved as Resolved<T>;
}

/** The values of a group without their origins. */
export function valuesOf<T extends OptionGroup>(resolved: Resolved<T>): OptionValues<T> {
  const entries = Object.entries(resolved) as [string, Setting<unknown>][];
  return Object.fromEntries(entries.map(([name, { value }]) => [name, value])) as OptionValues<T>;
}

/** The values that a source gives: no defaults. */
export function givenOf<T extends OptionGroup>(resolved: Resolved<T>): Partial<OptionValues<T>> {
  const entries = Object.entries(resolved) as [string, Setting<unknown>][];
  const given = entries.filter(([, { origin }]) => origin.kind !== "default");
  return Object.fromEntries(given.map(([name, { value }]) => [name, value])) as Partial<OptionValues<T>>;
}

function resolveOne(sources: Sources, spec: OptionSpec, database: DatabaseEntry | null): Setting<unknown> {
  const { words, environment, file } = sources;
  const given = givenValue(words, spec);
  if (given !== undefined) return { value: given, origin: { kind: "flag", text: `--${spec.flag}` } };
  const inEnvironment = variableValueOrNull(spec, environment);
  if (inEnvironment !== null) {
    const { value, variable } = inEnvironment;
    return { value, origin: { kind: "environment", text: variable } };
  }
  const key = spec.key ?? "";
  const found = database?.overrides.get(key) ?? file?.values.get(key);
  if (found !== undefined && file !== null) return { value: found.value, origin: fileOrigin(file, found) };
  return { value: defaultValue(spec), origin: BY_DEFAULT };
}

/** The origin of a value at a place in the file. */
export function fileOrigin(file: ConfigFile, at: Pick<FileValue, "line" | "column">): Origin {
  return { kind: "file", text: placeText(file, at) };
}

const CREDENTIAL_NAMES = ["accessKeyId", "secretAccessKey", "sessionToken", "profile"] as const;
type CredentialSettings = Readonly<Record<(typeof CREDENTIAL_NAMES)[number], Setting<string | undefined>>>;

/** The settings of the store by source of the credentials. */
export interface CredentialSources {
  /** With one kind of variables each, the variables that count first in front. */
  readonly environments: readonly CredentialSettings[];
  /** Without the environment. */
  readonly file: CredentialSettings;
}

/**
 * Takes the credentials from one place as a whole. Keys or a profile in one kind of variables hide those of
 * the next kind and of the file. A session token alone never goes with the keys of another place, and never
 * hides their token.
 * @throws WalrustError code "config" when one half of a pair of keys is missing, or when the file has a
 * session token without keys, or both keys and a profile
 */
export function chooseCredentials<R extends CredentialSettings>(
  resolved: R,
  { environments, file }: CredentialSources,
): R {
  const nothing: Setting<undefined> = { value: undefined, origin: BY_DEFAULT };
  const isVariable = ({ origin }: Setting<unknown>): boolean => origin.kind === "environment";
  const decides = ({ accessKeyId, secretAccessKey, profile }: CredentialSettings): boolean =>
    [accessKeyId, secretAccessKey, profile].some(isVariable);
  const variables = environments.find(decides);
  const chosen = { ...resolved };
  for (const name of CREDENTIAL_NAMES) {
    const found = variables === undefined ? file[name] : variables[name];
    const isElsewhere = variables !== undefined && !isVariable(found);
    Object.assign(chosen, { [name]: isElsewhere ? nothing : found });
  }
  const hasId = chosen.accessKeyId.value !== undefined;
  const hasSecret = chosen.secretAccessKey.value !== undefined;
  if (hasId !== hasSecret) {
    const there = hasId ? chosen.accessKeyId : chosen.secretAccessKey;
    const missing = hasId ? "secret access key" : "access key id";
    throw new WalrustError(
      "config",
      `Only one of access key id and secret access key is set (${there.origin.text})`,
      {
        hint: `Set the ${missing} in the same place, or set neither to use the AWS credential chain`,
      },
    );
  }
  if (!hasId && chosen.sessionToken.origin.kind === "file") {
    throw new WalrustError(
      "config",
      `${chosen.sessionToken.origin.text}: a session token has no keys beside it`,
      {
        hint: "Set access_key_id and secret_access_key beside the token, or leave the token out",
      },
    );
  }
  // A token in the environment may be left over from another program.
  if (!hasId) return { ...chosen, sessionToken: nothing };
  if (chosen.profile.value !== undefined && variables === undefined) {
    throw new WalrustError(
      "config",
      `${chosen.profile.origin.text}: the file gives both keys and a profile`,
      {
        hint: "Leave out one of them",
      },
    );
  }
  return { ...chosen, profile: nothing };
}
