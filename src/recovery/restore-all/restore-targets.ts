/**
 * PURE: gives each database of a destination its place below a folder: `<folder>/<name>.db`. The ending is
 * always added, because a name has lost the ending of its file, and two names never become one path by it.
 *
 * A database gets no place if its name
 * 1. could not be a key, such as a name with `..`: the place would lie outside of the folder;
 * 2. is equal to another one where case, or the form of accents, does not count, as on macOS;
 * 3. needs a folder where another database needs a file, or the -wal, -shm or -journal of that file;
 * 4. leads into a folder that holds the state of a database.
 * All databases of such a group get no place: which of them would win must not depend on their order.
 */
import { join } from "node:path";
import { WalrustError } from "../../errors.ts";
import { keyProblemOrNull } from "../../storage/contract/object-rules.ts";

/** The place of a database. */
export interface RestoreTarget {
  readonly name: string;
  /** The path of its file below the folder. */
  readonly path: string;
  /** Why the database cannot be restored there, or null. */
  readonly problem: WalrustError | null;
}

const ENDING = ".db";
const FILE_SUFFIXES = ["", "-wal", "-shm", "-journal"] as const;
const STATE_FOLDER = /^\..+-walrust(\.pre-restore-.+)?$/is;

/** The names that a prefix selects: that name itself, and all names below it. */
export function namesBelow(names: readonly string[], prefix: string | null): string[] {
  if (prefix === null) return [...names];
  const folder = prefix.replace(/\/+$/, "");
  return names.filter((name) => name === folder || name.startsWith(`${folder}/`));
}

/** Plans the places of databases below a folder, in the order of the names. */
export function planTargets(names: readonly string[], into: string): RestoreTarget[] {
  const owners = new Map<string, string[]>();
  const folders = new Map<string, string>();
  for (const name of names) {
    const path = folded(name + ENDING);
    owners.set(path, [...(owners.get(path) ?? []), name]);
    for (const folder of foldersOf(path)) if (!folders.has(folder)) folders.set(folder, name);
  }
  return names.map((name) => {
    const reason = keyProblemOrNull(name) ?? collisionOrNull(name, owners, folders);
    // A name with `..` must not even be joined to a path.
    const path = keyProblemOrNull(name) === null ? join(into, name + ENDING) : into;
    return { name, path, problem: reason === null ? null : noPlace(name, reason) };
  });
}

function collisionOrNull(
  name: string,
  owners: ReadonlyMap<string, readonly string[]>,
  folders: ReadonlyMap<string, string>,
): string | null {
  const path = folded(name + ENDING);
  const other = owners.get(path)?.find((owner) => owner !== name);
  if (other !== undefined) return `its file and that of ${JSON.stringify(other)} differ in case alone`;
  for (const suffix of FILE_SUFFIXES) {
    const below = folders.get(path + suffix);
    if (below !== undefined) {
      return `${JSON.stringify(below)} needs a folder where this database has a file`;
    }
  }
  for (const folder of foldersOf(path)) {
    if (STATE_FOLDER.test(folder.slice(folder.lastIndexOf("/") + 1))) {
      return "it leads into a folder for the state of a database";
    }
    for (const suffix of FILE_SUFFIXES) {
      if (!folder.endsWith(suffix)) continue;
      const [owner] = owners.get(folder.slice(0, folder.length - suffix.length)) ?? [];
      if (owner !== undefined) return `it needs a folder where ${JSON.stringify(owner)} has a file`;
    }
  }
  return null;
}

/** The folders that a path leads through, the highest first. */
function foldersOf(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** A path as a file system sees it that ignores case and the form of accents. */
function folded(path: string): string {
  return path.normalize("NFD").toUpperCase().toLowerCase().normalize("NFC");
}

function noPlace(name: string, reason: string): WalrustError {
  return new WalrustError("usage", `${JSON.stringify(name)} has no place below the folder: ${reason}`, {
    hint: "Restore this database alone: walrust restore NAME -o PATH",
    context: { database: name },
  });
}
