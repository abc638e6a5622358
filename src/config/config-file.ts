/**
 * walrust.toml: from its text to checked values with their places. Strict: a section or key that is not in
 * the table, a wrong type, a value out of range, a database named twice are errors that name file, line,
 * column and the nearest thing that exists. Every value is checked, whether the verb that runs needs it or
 * not.
 */
import { dirname, resolve } from "node:path";
import { parse } from "smol-toml";
import { WalrustError } from "../errors.ts";
import { assertDistinctEntries, type DatabaseEntry, databaseEntry } from "./database-entries.ts";
import {
  configError,
  type Environment,
  type FileContext,
  type FilePosition,
  type FileValue,
} from "./file-values.ts";
import type { Section } from "./options.ts";
import { SectionReader } from "./section-reader.ts";
import { readTextFile } from "./text-file.ts";
import { tomlErrorPlace } from "./toml-positions.ts";

const FILE_SIZE_MAX = 4 * 1024 * 1024;

/** One receiver of failures. */
export interface WebhookEntry extends FilePosition {
  readonly values: ReadonlyMap<string, FileValue>;
}

/** A configuration file. */
export interface ConfigFile {
  readonly path: string;
  /** How it is called in messages and in `explain`. */
  readonly shownPath: string;
  /** By `section.key`. */
  readonly values: ReadonlyMap<string, FileValue>;
  readonly databases: readonly DatabaseEntry[];
  readonly webhooks: readonly WebhookEntry[];
}

/**
 * Reads a configuration file.
 * @throws WalrustError code "config"
 */
export function loadConfigFile(shownPath: string, environment: Environment): ConfigFile {
  const path = resolve(shownPath);
  const read = readTextFile(path, FILE_SIZE_MAX);
  if ("text" in read) return parseConfigFile(read.text, path, shownPath, environment);
  throw new WalrustError("config", `Cannot read the configuration file ${shownPath}: ${read.problem}`, {
    hint: "Give the right one with --config PATH",
    context: { file: shownPath },
  });
}

/**
 * The content of a configuration file.
 * @param path where relative paths in it begin
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
  return { path, shownPath, values, databases, webhooks };
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
