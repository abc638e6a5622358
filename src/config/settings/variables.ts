/**
 * PURE: the names of the environment variables of a setting, made from its row: `WALRUST_<SECTION>_<KEY>`,
 * and behind it the variables of the AWS tools. A secret has a second variable that ends in `_FILE`.
 */
import type { OptionGroup, OptionSpec } from "./option-spec.ts";
import { GLOBAL_OPTIONS, keyName, SECTIONS } from "./options.ts";
import { nearestName } from "./parse-options.ts";

/** The beginning of all variables of walrust. */
export const VARIABLE_PREFIX = "WALRUST_";

/** The ending of a variable that names a file with a secret. */
export const FILE_ENDING = "_FILE";

/** The own variable of a row with a key: `sync.on_idle` is `WALRUST_SYNC_ON_IDLE`. Null: it has no key. */
export function ownVariableOrNull({ key }: OptionSpec): string | null {
  return key === undefined ? null : `${VARIABLE_PREFIX}${key.replace(".", "_").toUpperCase()}`;
}

/** The own variable of a setting, and the row of the setting. */
export interface OwnVariable {
  readonly name: string;
  readonly spec: OptionSpec;
}

/** All own variables, except those of secrets' files. A list of databases fits into no variable. */
export const OWN_VARIABLES: readonly OwnVariable[] = SECTIONS.filter(
  ({ name }) => name !== "databases",
).flatMap(({ options }) => Object.values(options).map((spec) => ({ name: ownVariableOrNull(spec)!, spec })));

const KNOWN = new Set(
  OWN_VARIABLES.flatMap(({ name, spec }) => (spec.isSecret ? [name, `${name}${FILE_ENDING}`] : [name])),
);

/** A variable that looks like a setting and is none. */
export interface UnusedVariable {
  readonly name: string;
  readonly hint: string;
}

/**
 * Whether Kubernetes made this variable for a service whose name begins with `walrust`: a service
 * `walrust-metrics` makes `WALRUST_METRICS_PORT=tcp://10.0.0.7:16767` in every pod of its namespace.
 */
export function isServiceLink(name: string, text: string): boolean {
  return name.startsWith(VARIABLE_PREFIX) && /^(tcp|udp|sctp):\/\//.test(text);
}

/** The names of the variables of Kubernetes for a service. */
const SERVICE_NAME = /(^|_)(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_|$)/;

/** The variables that begin like those of walrust, that no setting reads, and that were probably meant to. */
export function unusedVariables(environment: Readonly<Record<string, string | undefined>>): UnusedVariable[] {
  const unused: UnusedVariable[] = [];
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(VARIABLE_PREFIX) || KNOWN.has(name) || !text) continue;
    if (isServiceLink(name, text) || SERVICE_NAME.test(name)) continue;
    const hint = hintOrNull(name.slice(VARIABLE_PREFIX.length));
    if (hint !== null) unused.push({ name, hint });
  }
  return unused;
}

/** Advice for the rest of an unknown name, or null if it resembles no setting. */
function hintOrNull(rest: string): string | null {
  if (rest.startsWith("DATABASES_")) {
    return `Name databases as arguments, or in [[databases]] of walrust.toml, which may hold $\{VAR}`;
  }
  const meant = OWN_VARIABLES.find(({ spec }) => isKeyOrFlag(spec, rest))?.name ?? nearestOrNull(rest);
  if (meant !== null) return `Did you mean ${meant}?`;
  const section = SECTIONS.find(({ name }) => rest.startsWith(`${name.toUpperCase()}_`));
  if (section !== undefined) {
    return `Keys of [${section.name}] are ${Object.values(section.options).map(keyName).join(", ")}`;
  }
  const isGlobalFlag = Object.values<OptionSpec>(GLOBAL_OPTIONS as OptionGroup).some(
    ({ flag = "", kind }) => kind === "text" && upperCase(flag) === rest,
  );
  return isGlobalFlag ? `Give the flag --${rest.toLowerCase().replaceAll("_", "-")}` : null;
}

function isKeyOrFlag(spec: OptionSpec, rest: string): boolean {
  return upperCase(keyName(spec)) === rest || upperCase(spec.flag ?? "") === rest;
}

function nearestOrNull(rest: string): string | null {
  const names = [...KNOWN].map((name) => name.slice(VARIABLE_PREFIX.length));
  const nearest = nearestName(rest, names);
  return nearest === null ? null : `${VARIABLE_PREFIX}${nearest}`;
}

function upperCase(name: string): string {
  return name.toUpperCase().replaceAll("-", "_");
}
