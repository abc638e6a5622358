/**
 * What an option is in the end, and who said so: flags given, then the environment, then the file (the
 * database's entry before the section), then the default. A default never hides what somebody said.
 */
import { WalrustError } from "../errors.ts";
import type { ConfigFile } from "./config-file.ts";
import type { DatabaseEntry } from "./database-entries.ts";
import { type Environment, type FileValue, placeText } from "./file-values.ts";
import type { OptionGroup, OptionSpec, OptionValue, OptionValues } from "./settings/option-spec.ts";
import { givenValue, type ParsedWords } from "./settings/parse-options.ts";
import { defaultValue, parseText } from "./settings/parse-value.ts";

/** Everything that can say something. */
export interface Sources {
  readonly words: ParsedWords;
  readonly environment: Environment;
  readonly file: ConfigFile | null;
}

/** Who said it. */
export interface Origin {
  readonly kind: "flag" | "environment" | "file" | "default";
  /** `--bucket`, `AWS_REGION`, `walrust.toml:5:3`, `default`. */
  readonly text: string;
}

/** A value and who said it. */
export interface Setting<V> {
  readonly value: V;
  readonly origin: Origin;
}

/** The settings of a group. */
export type Resolved<T extends OptionGroup> = { readonly [K in keyof T]: Setting<OptionValue<T[K]>> };

/** What nobody said. */
export const BY_DEFAULT: Origin = { kind: "default", text: "default" };

/**
 * Resolves a group of options.
 * @param database the entry that what is asked belongs to, if any
 * @throws WalrustError code "usage" or "config" naming the place of a value that is not understood
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

/** The bare values of settings. */
export function valuesOf<T extends OptionGroup>(resolved: Resolved<T>): OptionValues<T> {
  const entries = Object.entries(resolved) as [string, Setting<unknown>][];
  return Object.fromEntries(entries.map(([name, { value }]) => [name, value])) as OptionValues<T>;
}

/** The values that somebody gave: no defaults. */
export function givenOf<T extends OptionGroup>(resolved: Resolved<T>): Partial<OptionValues<T>> {
  const entries = Object.entries(resolved) as [string, Setting<unknown>][];
  const given = entries.filter(([, { origin }]) => origin.kind !== "default");
  return Object.fromEntries(given.map(([name, { value }]) => [name, value])) as Partial<OptionValues<T>>;
}

function resolveOne(sources: Sources, spec: OptionSpec, database: DatabaseEntry | null): Setting<unknown> {
  const { words, environment, file } = sources;
  const given = givenValue(words, spec);
  if (given !== undefined) return { value: given, origin: { kind: "flag", text: `--${spec.flag}` } };
  for (const variable of spec.env ?? []) {
    const text = environment[variable];
    if (!text) continue;
    const value = parseText(spec, text, { name: variable, code: "config" });
    return { value, origin: { kind: "environment", text: variable } };
  }
  const key = spec.key ?? "";
  const found = database?.overrides.get(key) ?? file?.values.get(key);
  if (found !== undefined && file !== null) return { value: found.value, origin: fileOrigin(file, found) };
  return { value: defaultValue(spec), origin: BY_DEFAULT };
}

/** A place in the file as an origin. */
export function fileOrigin(file: ConfigFile, at: Pick<FileValue, "line" | "column">): Origin {
  return { kind: "file", text: placeText(file, at) };
}

type Keys = "accessKeyId" | "secretAccessKey" | "sessionToken" | "profile";
type KeySettings = Readonly<Record<Keys, Setting<string | undefined>>>;

/**
 * Keys are a set: they come from one place as a whole. The environment's keys or profile hide the file's, and
 * the environment's session token neither goes with keys of the file nor hides theirs.
 * @param inFile the same as if nothing were in the environment
 * @throws WalrustError code "config" when only one half of a pair is there, or, in the file, a session token
 * without keys, or keys and a profile
 */
export function chooseCredentials<R extends KeySettings>(resolved: R, inFile: KeySettings): R {
  const { accessKeyId, secretAccessKey, profile } = resolved;
  const nothing: Setting<undefined> = { value: undefined, origin: BY_DEFAULT };
  const deciding = [accessKeyId, secretAccessKey, profile];
  const isEnvironment = deciding.some(({ origin }) => origin.kind === "environment");
  const chosen = { ...resolved };
  for (const name of ["accessKeyId", "secretAccessKey", "sessionToken", "profile"] as const) {
    const said = resolved[name].origin.kind === "environment" ? resolved[name] : nothing;
    Object.assign(chosen, { [name]: isEnvironment ? said : inFile[name] });
  }
  const hasId = chosen.accessKeyId.value !== undefined;
  const hasSecret = chosen.secretAccessKey.value !== undefined;
  if (hasId !== hasSecret) {
    const there = hasId ? chosen.accessKeyId : chosen.secretAccessKey;
    const missing = hasId ? "secret access key" : "access key id";
    throw new WalrustError("config", `Of a pair of keys only one is set (${there.origin.text})`, {
      hint: `Set the ${missing} in the same place, or neither to use the AWS credential chain`,
    });
  }
  if (!hasId && chosen.sessionToken.origin.kind === "file") {
    throw new WalrustError("config", `${chosen.sessionToken.origin.text}: a session token without keys`, {
      hint: "Set access_key_id and secret_access_key beside it, or leave it out",
    });
  }
  // In the environment it may be left over from another program.
  if (!hasId) return { ...chosen, sessionToken: nothing };
  if (chosen.profile.value !== undefined && !isEnvironment) {
    throw new WalrustError("config", `${chosen.profile.origin.text}: keys and a profile are both given`, {
      hint: "Give one of them",
    });
  }
  return { ...chosen, profile: nothing };
}
