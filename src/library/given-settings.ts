/**
 * The settings that an application gives as an object: those of walrust.toml, in camelCase and with the unit
 * in the name. Types and checks are made from the table of settings, so a new row of the table is an option
 * of the library without a change here. The child receives the settings as the text of a walrust.toml.
 */
import { stringify } from "smol-toml";
import type { OptionGroup, OptionSpec, OptionValue } from "../config/settings/option-spec.ts";
import { keyName, SECTIONS, type Section } from "../config/settings/options.ts";
import { nearestName } from "../config/settings/parse-options.ts";
import { parseTomlValue } from "../config/settings/parse-value.ts";
import type {
  CACHE_OPTIONS,
  COMPACTION_OPTIONS,
  RETENTION_OPTIONS,
  RETRY_OPTIONS,
  STATE_OPTIONS,
  STORE_OPTIONS,
  SYNC_OPTIONS,
} from "../config/settings/settings.ts";
import type {
  DATABASE_OPTIONS,
  HEARTBEAT_OPTIONS,
  METRICS_OPTIONS,
  WEBHOOK_OPTIONS,
} from "../config/settings/settings-notify.ts";
import { FILE_ENDING, ownVariableOrNull } from "../config/settings/variables.ts";
import { WalrustError } from "../errors.ts";

/** The value of one option: the choices of its row where it has some. */
export type GivenValue<S extends OptionSpec> = S extends {
  kind: "text";
  choices: readonly (infer C extends string)[];
}
  ? C
  : S extends { kind: "texts"; choices: readonly (infer C extends string)[] }
    ? readonly C[]
    : Exclude<OptionValue<S>, undefined>;

/** Options of a group of the table; an absent one comes from the environment, or has walrust's default. */
export type Given<T extends OptionGroup> = {
  readonly [K in keyof T as T[K] extends { isHidden: true } ? never : K]?: GivenValue<T[K]> | undefined;
};

/** Settings that one database can have of its own. */
export interface OwnSettings {
  readonly sync?: Given<typeof SYNC_OPTIONS> | undefined;
  readonly compaction?: Given<typeof COMPACTION_OPTIONS> | undefined;
  readonly retention?: Given<typeof RETENTION_OPTIONS> | undefined;
}

/** A database, or a glob that walrust expands again every 5 s. */
export type GivenDatabase = OwnSettings & Given<typeof DATABASE_OPTIONS> & { readonly path: string };

/** A receiver of notices of failures. */
export type GivenWebhook = Given<typeof WEBHOOK_OPTIONS> & { readonly url: string };

/**
 * The settings of walrust.toml. Those of [s3] stand at the top: `bucket`, `endpoint`, `accessKeyId` and so
 * on. Times are in ms, sizes in bytes. Relative paths start at the working directory.
 */
export interface Settings extends Given<typeof STORE_OPTIONS>, OwnSettings {
  readonly state?: Given<typeof STATE_OPTIONS> | undefined;
  readonly cache?: Given<typeof CACHE_OPTIONS> | undefined;
  readonly retry?: Given<typeof RETRY_OPTIONS> | undefined;
  readonly metrics?: Given<typeof METRICS_OPTIONS> | undefined;
  readonly heartbeat?: Given<typeof HEARTBEAT_OPTIONS> | undefined;
  readonly webhooks?: readonly GivenWebhook[] | undefined;
  /** Paths and globs, with or without settings of their own. */
  readonly databases?: readonly (string | GivenDatabase)[] | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/** The section whose settings stand at the top. */
const TOP = "s3";
const CREDENTIALS = ["accessKeyId", "secretAccessKey", "sessionToken", "profile"];

/**
 * The settings as the text of a walrust.toml.
 * @throws WalrustError code "usage" naming an option that does not exist, or a value that cannot be used
 */
export function configurationText(settings: Settings): string {
  const given: Fields = { ...settings };
  const top = sectionOf(TOP);
  const nested = SECTIONS.filter(({ name }) => name !== TOP);
  if (Object.hasOwn(given, TOP)) {
    const hint = "The settings of [s3] stand at the top: bucket, endpoint, region and so on";
    throw new WalrustError("usage", `Unknown option ${TOP}`, { hint });
  }
  assertNames(given, [...Object.keys(top.options), ...nested.map(({ name }) => name)], "");
  const topFields = Object.entries(given).filter(([name]) => Object.hasOwn(top.options, name));
  const document: Record<string, unknown> = {
    [TOP]: tableOf(top.options, Object.fromEntries(topFields), ""),
  };
  for (const section of nested) {
    const value = given[section.name];
    if (value === undefined || (section.isList && Array.isArray(value) && value.length === 0)) continue;
    document[section.name] = section.isList
      ? listOf(value, section.name).map((entry, index) => entryOf(section, entry, index))
      : tableOf(section.options, fieldsOf(value, section.name), `${section.name}.`);
  }
  return stringify(document);
}

/**
 * The environment of the child: without the variables that would take precedence over a given setting.
 * Credentials are given as a whole.
 */
export function environmentOf(
  settings: Settings,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const hidden = new Set<string>();
  const given: Fields = { ...settings };
  const hasCredentials = CREDENTIALS.some((name) => given[name] !== undefined);
  for (const { name: section, options, isList } of SECTIONS) {
    if (isList) {
      // The variables of such a section make one more entry.
      if (given[section] === undefined) continue;
      for (const spec of Object.values(options)) for (const name of variablesOf(spec)) hidden.add(name);
      continue;
    }
    const fields = section === TOP ? given : (given[section] as Fields | undefined);
    for (const [name, spec] of Object.entries(options)) {
      const isCredential = section === TOP && CREDENTIALS.includes(name);
      const isGiven = isCredential ? hasCredentials : fields?.[name] !== undefined;
      if (isGiven) for (const variable of variablesOf(spec)) hidden.add(variable);
    }
  }
  const kept = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !hidden.has(entry[0]),
  );
  return Object.fromEntries(kept);
}

/** The environment variables that can give the value of an option. */
function variablesOf(spec: OptionSpec): string[] {
  const own = ownVariableOrNull(spec);
  return [...(spec.env ?? []), ...(own === null ? [] : [own, `${own}${FILE_ENDING}`])];
}

function sectionOf(name: string): Section {
  return SECTIONS.find((section) => section.name === name)!;
}

function entryOf(section: Section, entry: unknown, index: number): Fields {
  const at = `${section.name}[${index}]`;
  const { isPerDatabase: _, name, options } = section;
  // A text stands for the path of a database.
  const fields = typeof entry === "string" && name === "databases" ? { path: entry } : fieldsOf(entry, at);
  const overridable = name === "databases" ? SECTIONS.filter((one) => one.isPerDatabase) : [];
  const own = Object.entries(fields).filter(([key]) => !overridable.some((one) => one.name === key));
  const known = [...Object.keys(options), ...overridable.map((one) => one.name)];
  assertNames(fields, known, `${at}.`);
  const table: Record<string, unknown> = tableOf(options, Object.fromEntries(own), `${at}.`);
  for (const { name: inner, options: rows } of overridable) {
    const value = fields[inner];
    if (value === undefined) continue;
    table[inner] = tableOf(rows, fieldsOf(value, `${at}.${inner}`), `${at}.${inner}.`);
  }
  return table;
}

/**
 * The table of walrust.toml with the given options of one group. @param at the options' place, for messages
 */
function tableOf(options: OptionGroup, fields: Fields, at: string): Record<string, unknown> {
  assertNames(fields, Object.keys(options), at);
  const table: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    const spec = options[name];
    if (spec !== undefined && value !== undefined)
      table[keyName(spec)] = tomlValue(spec, value, `${at}${name}`);
  }
  return table;
}

/** @throws WalrustError code "usage" */
function tomlValue(spec: OptionSpec, value: unknown, name: string): unknown {
  const { kind } = spec;
  // In the file, a duration or a size may be a text, too.
  if ((kind === "duration" || kind === "bytes") && typeof value !== "number") {
    throw new WalrustError("usage", `${name} is ${JSON.stringify(value)}, expected a number`);
  }
  const isTime = kind === "seconds" || kind === "duration" || kind === "durations";
  const converted = isTime ? inSeconds(value) : value;
  parseTomlValue(spec, converted, { name: isTime ? `${name}, in seconds,` : name, code: "usage" });
  return literal(converted);
}

/** Milliseconds as seconds; anything else stays, and is rejected by the check that follows. */
function inSeconds(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inSeconds);
  return typeof value === "number" ? value / 1000 : value;
}

/** A text of the application holds no variable: `$${` is the spelling of `${` in walrust.toml. */
function literal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(literal);
  return typeof value === "string" ? value.replaceAll("${", () => "$${") : value;
}

function fieldsOf(value: unknown, name: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new WalrustError("usage", `${name} is no object`);
}

function listOf(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new WalrustError("usage", `${name} is no list`);
}

/** @throws WalrustError code "usage" with the nearest name */
export function assertNames(fields: Fields, known: readonly string[], at: string): void {
  for (const name of Object.keys(fields)) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    throw new WalrustError("usage", `Unknown option ${at}${name}`, {
      ...(nearest === null ? {} : { hint: `Did you mean ${at}${nearest}?` }),
    });
  }
}
