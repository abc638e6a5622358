/**
 * What databases are called in the bucket.
 *
 * A name from the configuration counts as it is. Otherwise: below a glob, the path below its fixed folder
 * without extension; else the file stem, and `<parent folder>/<stem>` for databases that share a stem. A name
 * that was used before, with this destination and below the configured prefix, is kept: it stands in the
 * local state, so neither a new neighbour nor another way to name the file moves a history.
 */
import { basename, dirname } from "node:path";
import { readState, stateFolderOf } from "../replication/state.ts";

/** A database that needs a name. */
export interface Nameless {
  /** Real path of the file. */
  readonly path: string;
  /** Below the fixed folder of the glob that found it, or null. */
  readonly relative: string | null;
  readonly name: string | null;
  readonly prefix: string | null;
  /** The name in its local state, if that is of this destination. */
  readonly known: string | null;
}

/** The name in the local state of a database (by its real path), if it is of this destination. */
export function knownNameOf(path: string, destination: string): string | null {
  const reading = readState(stateFolderOf(path));
  return reading.kind === "state" && reading.state.destination === destination ? reading.state.name : null;
}

/** The names of databases, in their order. Two may get the same one. */
export function namesOf(databases: readonly Nameless[]): string[] {
  const stems = new Map<string, number>();
  for (const { path, relative, prefix } of databases) {
    if (relative === null) stems.set(stemKey(path, prefix), (stems.get(stemKey(path, prefix)) ?? 0) + 1);
  }
  return databases.map((database) => {
    const { path, relative, name, prefix, known } = database;
    if (name !== null) return below(prefix, name);
    if (known !== null && (prefix === null || known.startsWith(`${prefix}/`))) return known;
    const stem = stemOf(basename(path));
    const long = `${basename(dirname(path))}/${stem}`;
    const derived = relative === null ? null : stemOf(relative);
    const isAlone = stems.get(stemKey(path, prefix)) === 1;
    return below(prefix, derived ?? (isAlone ? stem : long));
  });
}

function stemKey(path: string, prefix: string | null): string {
  return below(prefix, stemOf(basename(path)));
}

/** A name below a prefix. */
export function below(prefix: string | null, name: string): string {
  return prefix === null ? name : `${prefix}/${name}`;
}

/** A path without the last extension of its file name. */
function stemOf(path: string): string {
  const start = path.lastIndexOf("/") + 1;
  const dot = path.lastIndexOf(".");
  return dot > start ? path.slice(0, dot) : path;
}
