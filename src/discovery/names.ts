/**
 * What databases are called in the bucket.
 *
 * A name from the configuration counts as it is. Otherwise: below a glob, the path below its fixed folder
 * without extension; else the file stem, and `<parent folder>/<stem>` for databases that share a stem. A name
 * that was used before, with this destination and below the configured prefix, is kept: it stands in the
 * local state, so neither a new neighbour nor another way to name the file moves a history.
 */
import { basename, dirname } from "node:path";
import { readState } from "../local/state.ts";
import type { StateFolder } from "../local/state-folder.ts";

/** A database that needs a name. */
export interface Nameless {
  /** Real path of the file. */
  readonly path: string;
  /** Below the fixed folder of the glob that found it, or null. */
  readonly relative: string | null;
  readonly name: string | null;
  readonly prefix: string | null;
  /** The name in its local state, if that is of this destination. */
  readonly known: KnownName | null;
  /** Whether it has that name since an earlier look. */
  readonly isHeld: boolean;
  /** Whether a glob found it: what is named comes before it. */
  readonly isDiscovered?: boolean;
}

/** What the local state says a database was called. */
export interface KnownName {
  readonly name: string;
  /** Whether the state was written for this very file: that of a copied folder was not. */
  readonly isOfFile: boolean;
}

/**
 * The name in the local state of a database, if it is of this destination.
 * @param paths where its state lies: a folder of ours alone
 * @param inode of the file that is there now
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

/** What one database is called. */
export interface Claim {
  readonly name: string;
  /** Index of the database that has this name, if that is another one. */
  readonly holder: number | null;
  /** Whether that one has it from its local state only: by where it lies it would be called otherwise. */
  readonly isInherited: boolean;
}

/**
 * The names of databases, in their order. Of two that would have one name it goes to the one with the better
 * claim: who has it already, who is named and not found by a glob, whom the configuration calls so, whose
 * local state says so. A database whose
 * state only came with a copied folder is called by where it lies, so that no copy takes over the history of
 * its original.
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

/** More than any claim has. */
const RANKS = 10;

/** How good the claim to its name is; the least is the best. */
function rankOf({ isHeld, isDiscovered = false, ...rest }: Nameless, isDerived: boolean): number {
  if (isHeld) return 0;
  return claimRank(rest, isDerived) + (isDiscovered ? RANKS : 0);
}

function claimRank({ name, known }: Pick<Nameless, "name" | "known">, isDerived: boolean): number {
  if (name !== null) return 1;
  if (known === null) return 5;
  // Who would be called so anyway has no other name to go to.
  if (isDerived) return 2;
  return known.isOfFile ? 3 : 4;
}

/** The names that databases would have, each by itself. */
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

/** A name below a prefix. */
export function below(prefix: string | null, name: string): string {
  return prefix === null ? name : `${prefix}/${name}`;
}

/** A path without the last extension of its file name. */
export function stemOf(path: string): string {
  const start = path.lastIndexOf("/") + 1;
  const dot = path.lastIndexOf(".");
  return dot > start ? path.slice(0, dot) : path;
}
