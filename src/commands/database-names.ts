/**
 * Which key a database gets below the destination.
 *
 * The name is the file stem; databases that share a stem are called `<parent folder>/<stem>`. A name that was
 * used before, with this destination, is kept: it stands in the local state, so a new neighbour does not move
 * a history. Two paths to one file and a true collision are errors.
 */
import { realpathSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import type { AttachTarget } from "../replication/attach.ts";
import { readState, stateFolderOf } from "../replication/state.ts";

interface Candidate {
  readonly given: string;
  readonly path: string;
  readonly inode: string;
  readonly known: string | null;
}

/**
 * Resolves the paths of a command line to databases with names.
 * @param cacheFolder where captured files wait, below the database's name; default: its state folder
 * @throws WalrustError code "database" (no such file) or "usage" (same file twice, names collide)
 */
export function nameDatabases(
  paths: readonly string[],
  destination: string,
  cacheFolder?: string,
): AttachTarget[] {
  const candidates = paths.map((given) => candidateOf(given, destination));
  const byInode = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const other = byInode.get(candidate.inode);
    if (other !== undefined) {
      throw new WalrustError("usage", `${other.given} and ${candidate.given} are the same database`, {
        hint: "Name each database once",
      });
    }
    byInode.set(candidate.inode, candidate);
  }
  const stems = new Map<string, number>();
  for (const { path } of candidates) stems.set(stemOf(path), (stems.get(stemOf(path)) ?? 0) + 1);
  const targets = candidates.map(({ given, path, known }) => {
    const stem = stemOf(path);
    const name = known ?? (stems.get(stem) === 1 ? stem : `${basename(dirname(path))}/${stem}`);
    if (name.split("/").some((part) => part === "." || part === "..")) {
      throw new WalrustError(
        "usage",
        `${given} would be called ${JSON.stringify(name)}, which leaves the prefix`,
        {
          hint: "Rename the file or its folder",
        },
      );
    }
    const spoolFolder = cacheFolder === undefined ? undefined : resolve(cacheFolder, name);
    return { path, name, paths: stateFolderOf(path, spoolFolder) };
  });
  assertDistinct(targets);
  return targets;
}

function candidateOf(given: string, destination: string): Candidate {
  let path: string;
  try {
    path = realpathSync(given);
  } catch (error) {
    throw new WalrustError("database", `Cannot find ${given}: ${systemCode(error)}`, {
      hint: "The database must exist before it is watched",
      cause: error,
    });
  }
  const { dev, ino } = statSync(path);
  const reading = readState(stateFolderOf(path));
  const isKnown = reading.kind === "state" && reading.state.destination === destination;
  return { given, path, inode: `${dev}:${ino}`, known: isKnown ? reading.state.name : null };
}

/** The file name without its last extension. */
function stemOf(path: string): string {
  const name = basename(path);
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(0, dot) : name;
}

function assertDistinct(targets: readonly AttachTarget[]): void {
  const byName = new Map<string, AttachTarget>();
  for (const target of targets) {
    const other = byName.get(target.name);
    if (other !== undefined) {
      throw new WalrustError(
        "usage",
        `${other.path} and ${target.path} would both be called ${target.name}`,
        {
          hint: "Give them to separate walrust processes with different prefixes",
        },
      );
    }
    byName.set(target.name, target);
  }
}
