/**
 * [[databases]]: what is replicated, each with what it overrides. Every key of [sync], [compaction] and
 * [retention] can be written beside `path`, or in a table of its own (`[databases.retention]`).
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
  /** By `section.key`: what holds for this entry instead of the section. */
  readonly overrides: ReadonlyMap<string, FileValue>;
}

type Path = readonly (string | number)[];

const OVERRIDABLE = SECTIONS.filter((section) => section.isPerDatabase);

/** Of a name or a prefix: with both and what stands before and behind them, keys stay below 1,024 bytes. */
const NAME_SIZE_MAX = 255;

/** Of a database it would look as if the database itself were switched off. */
const NEVER_FLAT = "enabled";

/**
 * Reads an entry.
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
    throw configError(context, name, "a glob has many databases and takes no name", "Use prefix");
  }
  const allowEmpty = values.get("databases.allow_empty");
  if (!isGlob && allowEmpty !== undefined) {
    throw configError(context, allowEmpty, "allow_empty is for globs: a path that is none has to exist");
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
    const hint = "For its compaction: [databases.compaction] enabled = false";
    return configError(context, at, "a database cannot be switched off: leave its entry out", hint);
  }
  const flat = OVERRIDABLE.flatMap(({ name, options }) => [name, ...Object.values(options).map(keyName)]);
  const names = flat.filter((name) => name !== NEVER_FLAT);
  return unknownKey(context, at, key, "databases", [...ownNames, ...names]);
}

/** A name or prefix stays below the destination. */
function assertBelow(context: FileContext, part: FileValue): void {
  const text = part.value as string;
  const isBelow = text.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
  if (Buffer.byteLength(text) > NAME_SIZE_MAX) {
    throw configError(context, part, `the name is longer than ${NAME_SIZE_MAX} bytes`);
  }
  if (isBelow && !text.includes("\\")) return;
  const message = `${JSON.stringify(text)} is no path below the destination`;
  throw configError(context, part, message, "Write it as a/b: no slash at the ends, no . and no ..");
}

/**
 * Two entries with one path, or with one name.
 * @throws WalrustError code "config"
 */
export function assertDistinctEntries(context: FileContext, entries: readonly DatabaseEntry[]): void {
  const paths = new Map<string, DatabaseEntry>();
  const names = new Map<string, DatabaseEntry>();
  for (const entry of entries) {
    const samePath = paths.get(entry.path);
    if (samePath !== undefined) {
      throw configError(context, entry, `${entry.path} is already named in line ${samePath.line}`);
    }
    paths.set(entry.path, entry);
    if (entry.name === null) continue;
    const full = entry.prefix === null ? entry.name : `${entry.prefix}/${entry.name}`;
    const sameName = names.get(full);
    if (sameName !== undefined) {
      const both = `${sameName.path} (line ${sameName.line}) and ${entry.path}`;
      throw configError(context, entry, `two databases would be called ${full}: ${both}`);
    }
    names.set(full, entry);
  }
}
