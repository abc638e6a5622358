/**
 * Takes each file once. Two selectors that lead to one file, by path or by inode, are a collision; a glob
 * gives way without one to a path that is named.
 */
import { WalrustError } from "../errors.ts";
import type { Candidate } from "./candidates.ts";

/** The candidates of one search, each file once. */
export class UniqueFiles {
  readonly candidates: Candidate[] = [];
  /** Named databases that are the file of another. */
  readonly collisions: WalrustError[] = [];
  /** Matches of globs that are the file of another database. */
  readonly skipped: WalrustError[] = [];
  readonly #byPath = new Map<string, Candidate>();
  readonly #byInode = new Map<string, Candidate>();

  /** Adds a candidate, unless its file is there already. */
  add(candidate: Candidate): void {
    const samePath = this.#byPath.get(candidate.path);
    const isTaken = samePath !== undefined && candidate.isDiscovered;
    // No collision: the file is named, or several links that one glob matches lead to it.
    if (isTaken && (!samePath.isDiscovered || samePath.place === candidate.place)) return;
    const other = samePath ?? this.#byInode.get(candidate.inode);
    if (other !== undefined) {
      (candidate.isDiscovered ? this.skipped : this.collisions).push(sameFile(other, candidate));
      return;
    }
    this.#byPath.set(candidate.path, candidate);
    this.#byInode.set(candidate.inode, candidate);
    this.candidates.push(candidate);
  }
}

function sameFile(a: Candidate, b: Candidate): WalrustError {
  const isSamePath = a.path === b.path;
  const [first, second] = isSamePath ? [a.place, b.place] : [a.path, b.path];
  const what = `${first} and ${second} are the same database${isSamePath ? ` ${a.path}` : ""}`;
  const outcome = isSamePath && b.isDiscovered ? "; the first counts" : notWatchedText(b);
  return new WalrustError(b.isDiscovered ? "database" : "usage", `${what}${outcome}`, {
    hint: "Name each database once",
    context: { path: b.path },
  });
}

/** The consequence for a match of a glob, which does not stop the others. */
export function notWatchedText({ path, isDiscovered }: Candidate): string {
  return isDiscovered ? `; ${path} is not watched` : "";
}
