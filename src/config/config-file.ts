/**
 * Reads walrust.toml into checked values with their positions. The file is checked as a whole, also the
 * values that the running verb does not need: an unknown section or key, a wrong type, a value out of range,
 * or a database that is listed twice is an error. It names file, line, column, and the nearest valid name.
 */
import { lstatSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "smol-toml";
import { WalrustError } from "../errors.ts";
import { assertDistinctEntries, type DatabaseEntry, databaseEntry } from "./database-entries.ts";
import { distrustOrNull, type FileFacts, isWorldReadable } from "./file-trust.ts";
import {
  configError,
  type Environment,
  type FileContext,
  type FilePosition,
  type FileValue,
} from "./file-values.ts";
import { isPrivateGroup } from "./private-group.ts";
import { SectionReader } from "./section-reader.ts";
import { expandHome } from "./settings/home-path.ts";
import type { Section } from "./settings/options.ts";
import { readTextFile } from "./text-file.ts";
import { tomlErrorPlace } from "./toml-positions.ts";

const FILE_SIZE_MAX = 4 * 1024 * 1024;
/** The configuration file that is read without --config. */
const CONFIG_FILE = "walrust.toml";

/** One entry of [[webhooks]]. */
export interface WebhookEntry extends FilePosition {
  readonly values: ReadonlyMap<string, FileValue>;
}

/** A configuration file. */
export interface ConfigFile {
  readonly path: string;
  /** The name of the file in messages and in `explain`. */
  readonly shownPath: string;
  /** The values outside of [[databases]] and [[webhooks]], by `section.key`. */
  readonly values: ReadonlyMap<string, FileValue>;
  readonly databases: readonly DatabaseEntry[];
  readonly webhooks: readonly WebhookEntry[];
  /** Logged when a verb uses the file. */
  readonly warnings: readonly Warning[];
  /** An application handed the settings over: there is no file to read again. */
  readonly isHandedOver?: true;
}

/** A problem of the file that does not keep walrust from using it. */
export interface Warning {
  readonly message: string;
  readonly hint: string;
}

/**
 * Loads the named configuration file, or the one in the working directory. Null: there is none.
 * @param given the path that `--config` gives
 * @throws WalrustError code "config"
 */
export function configFileOrNull(given: string | undefined, environment: Environment): ConfigFile | null {
  // A broken link counts as a file: loading it is an error.
  if (given === undefined && lstatSync(CONFIG_FILE, { throwIfNoEntry: false }) === undefined) return null;
  return given === undefined
    ? loadFoundConfigFile(CONFIG_FILE, environment)
    : loadConfigFile(given, environment);
}

/**
 * Reads a configuration file that the user named.
 * @throws WalrustError code "config"
 */
export function loadConfigFile(shownPath: string, environment: Environment): ConfigFile {
  return load(shownPath, environment, () => null);
}

/**
 * Reads a configuration file that was found in the working directory.
 * @throws WalrustError code "config", also when the file cannot be trusted: to run without its settings, such
 * as those of retention, could do harm as well
 */
export function loadFoundConfigFile(
  shownPath: string,
  environment: Environment,
  ownUid = process.geteuid?.() ?? 0,
): ConfigFile {
  const link = lstatSync(shownPath, { throwIfNoEntry: false });
  const isPrivate = (gid: number): boolean => isPrivateGroup(gid, ownUid);
  return load(shownPath, environment, (facts) => distrustOrNull(facts, link ?? facts, ownUid, isPrivate));
}

function load(
  shownPath: string,
  environment: Environment,
  distrust: (facts: FileFacts) => string | null,
): ConfigFile {
  const path = resolve(expandHome(shownPath));
  const read = readTextFile(path, FILE_SIZE_MAX, distrust);
  if ("text" in read) {
    const file = parseConfigFile(read.text, path, shownPath, environment);
    return isWorldReadable(read.facts) ? { ...file, warnings: exposedSecrets(file) } : file;
  }
  if (read.isDistrusted) throw distrusted(shownPath, read.problem);
  throw new WalrustError("config", `Cannot read the configuration file ${shownPath}: ${read.problem}`, {
    hint: "Name the right file with --config PATH",
    context: { file: shownPath },
  });
}

function distrusted(shownPath: string, problem: string): WalrustError {
  const named = `walrust VERB --config ${shownPath}`;
  const closed = problem.includes("may write") ? `chmod go-w ${shownPath}, or ` : "";
  return new WalrustError("config", `Cannot trust ${shownPath} in this folder: ${problem}`, {
    hint: `To use it all the same: ${closed}${named}. To run without it: --config /dev/null`,
    context: { file: shownPath },
  });
}

/** A warning if every user can read a file with keys or private URLs in it. */
function exposedSecrets({ shownPath, values, webhooks }: ConfigFile): Warning[] {
  const all = [values, ...webhooks.map((webhook) => webhook.values)].flatMap((map) => [...map]);
  const names = all.filter(([, { isPlainSecret }]) => isPlainSecret).map(([name]) => name);
  if (names.length === 0) return [];
  return [
    {
      message: `every user of this machine can read ${[...new Set(names)].join(", ")} in ${shownPath}`,
      hint: `chmod 600 ${shownPath}, or keep secrets in files of their own (<key>_file)`,
    },
  ];
}

/**
 * The same settings, with the secrets that lie in files of their own as these files are now.
 * @throws WalrustError code "config" when such a file cannot be used
 */
export function rereadSecrets(file: ConfigFile): ConfigFile {
  const values = new Map<string, FileValue>();
  for (const [key, value] of file.values) {
    const { reread } = value;
    values.set(key, reread === undefined ? value : { ...value, value: reread() });
  }
  return { ...file, values };
}

/**
 * Parses the content of a configuration file.
 * @param path the file; relative paths in it start at its folder
 * @throws WalrustError code "config"
 */
export function parseConfigFile(
  text: string,
  path: string,
  shownPath: string,
  environment: Environment,
): ConfigFile {
  const context: FileContext = { shownPath, folder: dirname(path), environment };
  const document = parseToml(text, context);
  const reader = new SectionReader(context, text);
  const values = new Map<string, FileValue>();
  const databases: DatabaseEntry[] = [];
  const webhooks: WebhookEntry[] = [];
  for (const [name, content] of Object.entries(document)) {
    const section = reader.sectionOf(name);
    for (const { table, path: at } of reader.tablesOf(section, content)) {
      if (section.name === "databases") databases.push(databaseEntry(reader, table, at));
      else if (section.isList) webhooks.push(webhookEntry(reader, section, table, at));
      else for (const [key, value] of reader.read(section, table, at)) values.set(key, value);
    }
  }
  assertDistinctEntries(context, databases);
  return { path, shownPath, values, databases, webhooks, warnings: [] };
}

function parseToml(text: string, context: FileContext): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (error) {
    const { line, column, message } = tomlErrorPlace(error);
    throw configError(context, { line, column }, message);
  }
}

function webhookEntry(
  reader: SectionReader,
  section: Section,
  table: Readonly<Record<string, unknown>>,
  path: readonly (string | number)[],
): WebhookEntry {
  const values = reader.read(section, table, path);
  const at = reader.at(path);
  const url = values.get("webhooks.url");
  if (url === undefined) throw configError(reader.context, at, "a webhook needs a url");
  return { ...at, values };
}
