/**
 * Selectors: the paths and globs that the user gave, on the command line or as [[databases]] of walrust.toml.
 * Nothing is looked up on disk yet, except whether a word with glob characters is the path of a file.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { ConfigFile } from "../config/config-file.ts";
import type { DatabaseEntry } from "../config/database-entries.ts";
import { placeText } from "../config/file-values.ts";
import { expandHome } from "../config/settings/home-path.ts";
import { escapeGlob, hasGlob } from "./glob.ts";

/** A path or glob that the user gave. */
export interface Selector {
  /** Where it was given, for messages: the word itself, or its line in walrust.toml. */
  readonly place: string;
  /** Absolute. */
  readonly path: string;
  readonly isGlob: boolean;
  /** Its entry in walrust.toml, or null for a word of the command line. */
  readonly entry: DatabaseEntry | null;
}

/** The selector for a word of the command line. A file whose name looks like a glob is taken as a path. */
export function selectorOfWord(word: string): Selector {
  const literal = expandHome(word);
  const isGlob = hasGlob(word) && !existsSync(literal);
  const path = isGlob ? resolve(escapeGlob(process.cwd()), expandHome(word, escapeGlob)) : resolve(literal);
  return { place: word, path, isGlob, entry: null };
}

/** The selectors of walrust.toml, in its order. */
export function selectorsOfFile(file: ConfigFile | null): Selector[] {
  if (file === null) return [];
  return file.databases.map((entry) => ({
    place: placeText(file, entry),
    path: entry.path,
    isGlob: entry.isGlob,
    entry,
  }));
}
