/**
 * Gives databases their names in the bucket.
 *
 * 1. A name from the configuration is taken as it is.
 * 2. A name in the local state is kept, if the state is for this destination and the name lies below the
 *    configured prefix. So neither a new neighbour nor another spelling of the path moves a history.
 * 3. A match of a glob is named after its path below the fixed folder of the glob, without extension.
 * 4. Any other database is named after its file without extension (its stem), or `<parent folder>/<stem>`
 *    where several share a stem.
 */
import { basename, dirname } from "node:path";
import { readState } from "../local/state.ts";
import type { StateFolder } from "../local/state-folder.ts";

/** A database that needs a name. */
export interface Nameless {
  /** Real path of the file. */
  readonly path: string;
  /** The path below the fixed folder of the glob that matched, or null. */
  readonly relative: string | null;
  /** The configured name, or null. */
  readonly name: string | null;
  /** The configured prefix, or null. */
  readonly prefix: string | null;
  /** The name in the local state, if the state is for this destination. */
  readonly known: KnownName | null;
  /** Whether an earlier search of this process gave it that name. */
  readonly isHeld: boolean;
  /** Whether a glob matched it: a named database has the better claim. */
  readonly isDiscovered?: boolean;
}

/** The name of a database in its local state. */
export interface KnownName {
  readonly name: string;
  /** Whether the state was written for this very file. The state in a copied folder was not. */
  readonly isOfFile: boolean;
}

/**
 * Reads the name in the local state of a database. Null: there is no state for this destination.
 * @param paths the state folder, which only our user can write to
 * @param inode of the database file as it is now
 */
export function knownNameOf(
  paths: Pick<StateFolder, "folder" | "statePath">,
  inode: string,
  destination: string,
): KnownName | null {
  const reading = readState(paths);
  if (reading.kind !== "state" || reading.state.destination !== destination) return null;
  const { name, file } = reading.state;
  return { name, isOfFile: file?.inode === inode };
}

/** The name that one database gets, or cannot get. */
export interface Claim {
  readonly name: string;
  /** Index of the other database that has this name, or null. */
  readonly holder: number | null;
  /** Whether that other database has the name only from its local state; its path gives another one. */
  readonly isInherited: boolean;
}

/**
 * Names databases, in their order. Where two want one name, the better claim gets it: a name held since an
 * earlier search, then a named database before a match of a glob, then a configured name, then a name from
 * the local state. A database whose state came with a copied folder is named after its own path, so that no
 * copy takes over the history of its original.
 */
export function claimNames(databases: readonly Nameless[]): Claim[] {
  const wanted = namesOf(databases);
  const derived = namesOf(databases.map((database) => ({ ...database, known: null })));
  const ranks = databases.map((database, index) => rankOf(database, wanted[index] === derived[index]));
  const holders = new Map<string, number>();
  const claims: Claim[] = [];
  for (const index of [...databases.keys()].sort((a, b) => ranks[a]! - ranks[b]!)) {
    const name = holders.has(wanted[index]!) ? derived[index]! : wanted[index]!;
    const holder = holders.get(name) ?? null;
    if (holder === null) holders.set(name, index);
    const isInherited = holder !== null && claims[holder]?.name !== derived[holder];
    claims[index] = { name, holder, isInherited };
  }
  return claims;
}

/** More than the rank of any claim. */
const RANKS = 10;

/** The rank of a claim; the least is the best. */
function rankOf({ isHeld, isDiscovered = false, ...rest }: Nameless, isDerived: boolean): number {
  if (isHeld) return 0;
  return claimRank(rest, isDerived) + (isDiscovered ? RANKS : 0);
}

function claimRank({ name, known }: Pick<Nameless, "name" | "known">, isDerived: boolean): number {
  if (name !== null) return 1;
  if (known === null) return 5;
  // A database whose path gives the same name has no other name to fall back to.
  if (isDerived) return 2;
  return known.isOfFile ? 3 : 4;
}

/** The name that each database wants. */
function namesOf(databases: readonly Nameless[]): string[] {
  const stems = new Map<string, number>();
  for (const { path, relative, prefix } of databases) {
    if (relative === null) stems.set(stemKey(path, prefix), (stems.get(stemKey(path, prefix)) ?? 0) + 1);
  }
  return databases.map((database) => {
    const { path, relative, name, prefix, known } = database;
    if (name !== null) return below(prefix, name);
    if (known !== null && (prefix === null || known.name.startsWith(`${prefix}/`))) return known.name;
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

/** Puts a name below a prefix, if there is one. */
export function below(prefix: string | null, name: string): string {
  return prefix === null ? name : `${prefix}/${name}`;
}

/** Strips the last extension of the file name from a path. */
export function stemOf(path: string): string {
  const start = path.lastIndexOf("/") + 1;
  const dot = path.lastIndexOf(".");
  return dot > start ? path.slice(0, dot) : path;
}
