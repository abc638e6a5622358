/**
 * Reads the entries of [[databases]]: the databases to replicate, and the settings that each entry overrides.
 * Every key of [sync], [compaction] and [retention] may stand beside `path`, or in a table of its own
 * (`[databases.retention]`). `enabled` may stand in a table only: beside `path` it would look as if it
 * switched the database off.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { configError, type FileContext, type FilePosition, type FileValue } from "./file-values.ts";
import { escapeGlob, hasGlob, unescapeGlob } from "./glob-pattern.ts";
import { isTable, type SectionReader, unknownKey } from "./section-reader.ts";
import { expandHome } from "./settings/home-path.ts";
import { keyName, SECTIONS, type Section } from "./settings/options.ts";

/** One entry of [[databases]]. */
export interface DatabaseEntry extends FilePosition {
  /** Absolute path or glob. */
  readonly path: string;
  readonly isGlob: boolean;
  readonly name: string | null;
  readonly prefix: string | null;
  readonly allowEmpty: boolean;
  /** The values that replace those of the sections, by `section.key`. */
  readonly overrides: ReadonlyMap<string, FileValue>;
}

type Path = readonly (string | number)[];

const OVERRIDABLE = SECTIONS.filter((section) => section.isPerDatabase);

/** Limit of a name or a prefix in bytes: with both of them, a key stays below 1,024 bytes. */
const NAME_SIZE_MAX = 255;

/** The key that may not stand beside `path`. */
const NEVER_FLAT = "enabled";

/**
 * Reads one entry.
 * @throws WalrustError code "config"
 */
export function databaseEntry(
  reader: SectionReader,
  table: Readonly<Record<string, unknown>>,
  path: Path,
): DatabaseEntry {
  const { context } = reader;
  const own = SECTIONS.find(({ name }) => name === "databases")!;
  const ownNames = Object.values(own.options).map(keyName);
  const ownTable: Record<string, unknown> = {};
  const overrides = new Map<string, FileValue>();
  for (const [key, raw] of Object.entries(table)) {
    const at = reader.at([...path, key]);
    if (ownNames.includes(key)) {
      ownTable[key] = raw;
      continue;
    }
    const nested = OVERRIDABLE.find(({ name }) => name === key);
    const section = nested ?? flatSectionOrNull(key);
    if (section === null) throw unknownDatabaseKey(context, at, key, ownNames);
    const part = nested === undefined ? { [key]: raw } : raw;
    if (!isTable(part)) throw configError(context, at, `databases.${key} must be a table`);
    const partPath = nested === undefined ? path : [...path, key];
    for (const [full, value] of reader.read(section, part, partPath)) {
      if (overrides.has(full)) throw configError(context, value, `${full} is given twice for this database`);
      overrides.set(full, value);
    }
  }
  return checkedEntry(reader, reader.read(own, ownTable, path), overrides, path);
}

function checkedEntry(
  reader: SectionReader,
  values: ReadonlyMap<string, FileValue>,
  overrides: ReadonlyMap<string, FileValue>,
  path: Path,
): DatabaseEntry {
  const { context } = reader;
  const at = reader.at(path);
  const file = values.get("databases.path");
  if (file === undefined) throw configError(context, at, "a database needs a path");
  const name = values.get("databases.name");
  const prefix = values.get("databases.prefix");
  const written = file.value as string;
  const literal = resolve(context.folder, expandHome(written));
  const text = expandHome(written, escapeGlob);
  const plain = resolve(context.folder, unescapeGlob(text));
  const isGlob = hasGlob(text) && !existsSync(literal);
  if (isGlob && name !== undefined) {
    throw configError(context, name, "a glob has many databases and takes no name", "Give a prefix instead");
  }
  const allowEmpty = values.get("databases.allow_empty");
  if (!isGlob && allowEmpty !== undefined) {
    throw configError(context, allowEmpty, "allow_empty is for globs: a path without a glob has to exist");
  }
  for (const part of [name, prefix]) if (part !== undefined) assertBelow(context, part);
  return {
    ...at,
    path: isGlob ? resolve(escapeGlob(context.folder), text) : existsSync(literal) ? literal : plain,
    isGlob,
    name: (name?.value as string | undefined) ?? null,
    prefix: (prefix?.value as string | undefined) ?? null,
    allowEmpty: allowEmpty?.value === true,
    overrides,
  };
}

function flatSectionOrNull(key: string): Section | null {
  if (key === NEVER_FLAT) return null;
  return (
    OVERRIDABLE.find(({ options }) => Object.values(options).some((spec) => keyName(spec) === key)) ?? null
  );
}

function unknownDatabaseKey(
  context: FileContext,
  at: FilePosition,
  key: string,
  ownNames: readonly string[],
): Error {
  if (key === NEVER_FLAT) {
    const hint = "To switch off its compaction: [databases.compaction] enabled = false";
    return configError(context, at, "a database cannot be switched off: leave its entry out", hint);
  }
  const flat = OVERRIDABLE.flatMap(({ name, options }) => [name, ...Object.values(options).map(keyName)]);
  const names = flat.filter((name) => name !== NEVER_FLAT);
  return unknownKey(context, at, key, "databases", [...ownNames, ...names]);
}

/** @throws WalrustError code "config" when a name or prefix leads out of the destination */
function assertBelow(context: FileContext, part: FileValue): void {
  const text = part.value as string;
  const isBelow = text.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
  if (Buffer.byteLength(text) > NAME_SIZE_MAX) {
    throw configError(context, part, `the name is longer than ${NAME_SIZE_MAX} bytes`);
  }
  if (isBelow && !text.includes("\\")) return;
  const message = `${JSON.stringify(text)} is not a path below the destination`;
  throw configError(context, part, message, "Write it like a/b: without a slash at the ends, . or ..");
}

/** @throws WalrustError code "config" when two entries have one path, or one name */
export function assertDistinctEntries(context: FileContext, entries: readonly DatabaseEntry[]): void {
  const paths = new Map<string, DatabaseEntry>();
  const names = new Map<string, DatabaseEntry>();
  for (const entry of entries) {
    const samePath = paths.get(entry.path);
    if (samePath !== undefined) {
      throw configError(context, entry, `${entry.path} is already listed in line ${samePath.line}`);
    }
    paths.set(entry.path, entry);
    if (entry.name === null) continue;
    const full = entry.prefix === null ? entry.name : `${entry.prefix}/${entry.name}`;
    const sameName = names.get(full);
    if (sameName !== undefined) {
      const both = `${sameName.path} (line ${sameName.line}) and ${entry.path}`;
      throw configError(context, entry, `two databases have the name ${full}: ${both}`);
    }
    names.set(full, entry);
  }
}
