/**
 * Whether a folder is ours alone: nobody else can put a file into it, replace one, or put another folder in
 * its place. State that lies anywhere else is no state.
 *
 * A folder is trusted if and only if
 *  1. it is a real folder, no symbolic link, and our effective user owns it,
 *  2. neither its group nor others may write to it, and
 *  3. for each folder above it, up to the root: it is no link, its owner is our user, root or the owner of
 *     `/`, and nobody else may write to it, unless its sticky bit keeps them from renaming what is in it.
 * A parent may be writable for the user's own private group (its id is the user's), as a umask of 002 makes
 * it. Access lists count: where there are any, the group's bits are the most that an entry may grant.
 * Below a folder that the user chose, a parent may be writable for any group: volumes of containers belong to
 * root and the group of their users, and have no other place. The user vouches for the members of that group.
 */
import { existsSync, lstatSync, mkdirSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { systemCode } from "../errors.ts";

/** What decides about one folder. */
export interface FolderFacts {
  readonly isFolder: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Who we are, and who else may change everything anyway. */
export interface Trustees {
  readonly uid: number;
  readonly gid: number;
  /** Owner of `/`: in a user namespace not always 0. */
  readonly rootUid: number;
}

/** Folders that were looked at, for one look around: parents are shared. */
export type FolderLook = (folder: string) => FolderFacts | string;

const STICKY = 0o1000;
const GROUP_WRITE = 0o020;
const OTHERS_WRITE = 0o002;

/** Why a folder itself cannot be trusted, or null. */
export function folderDistrustOrNull(facts: FolderFacts, trustees: Trustees): string | null {
  if (!facts.isFolder) return "it is a link or no folder";
  if (facts.uid !== trustees.uid) return `user ${facts.uid} owns it`;
  if ((facts.mode & OTHERS_WRITE) !== 0) return "everybody may write to it";
  if ((facts.mode & GROUP_WRITE) !== 0) return "its group may write to it";
  return null;
}

/** Why a folder above it cannot be trusted, or null. */
export function parentDistrustOrNull(
  facts: FolderFacts,
  trustees: Trustees,
  isChosen = false,
): string | null {
  const { uid, gid, rootUid } = trustees;
  if (!facts.isFolder) return "is a link or no folder";
  if (![uid, 0, rootUid].includes(facts.uid)) return `belongs to user ${facts.uid}`;
  if ((facts.mode & STICKY) !== 0) return null;
  if ((facts.mode & OTHERS_WRITE) !== 0) return "is writable for everybody";
  const isOwnGroup = isChosen || (uid !== 0 && facts.gid === uid && gid === uid);
  return (facts.mode & GROUP_WRITE) !== 0 && !isOwnGroup ? "is writable for its group" : null;
}

/**
 * Why nothing of ours may lie in a folder, or null.
 * @param folder its real path
 * @param look default: a fresh look at each folder
 * @param isChosen whether the user chose that it lies there
 */
export function distrustOrNull(folder: string, look: FolderLook = lookAt, isChosen = false): string | null {
  const trustees = ourselves(look);
  const own = look(folder);
  if (typeof own === "string") return own;
  const distrust = folderDistrustOrNull(own, trustees);
  if (distrust !== null) return distrust;
  return parentsDistrustOrNull(folder, look, isChosen);
}

/** Why somebody else can put another folder in the place of this one, or null. */
export function parentsDistrustOrNull(
  folder: string,
  look: FolderLook = lookAt,
  isChosen = false,
): string | null {
  const trustees = ourselves(look);
  for (let parent = dirname(folder); ; parent = dirname(parent)) {
    const facts = look(parent);
    if (typeof facts === "string") return `${parent} cannot be looked at (${facts})`;
    const distrust = parentDistrustOrNull(facts, trustees, isChosen);
    if (distrust !== null) return `${parent} ${distrust}`;
    if (parent === dirname(parent)) return null;
  }
}

/**
 * Makes a folder of ours, with mode 0700, unless it is there. Nothing is made where it could not be trusted.
 * @param folder its real path
 * @param isChosen whether the user chose that it lies there
 * @returns why it cannot be trusted, or null
 * @throws the system's error when it cannot be made
 */
export function makeOwnFolder(folder: string, isChosen = false): string | null {
  let present = folder;
  while (!existsSync(present)) present = dirname(present);
  if (present !== folder) {
    // As if a folder of ours lay in it already.
    const distrust = parentsDistrustOrNull(`${present}/x`, lookAt, isChosen);
    if (distrust !== null) return distrust;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  return distrustOrNull(folder, lookAt, isChosen);
}

/** A look that remembers, for many folders with the same parents. */
export function rememberingLook(): FolderLook {
  const known = new Map<string, FolderFacts | string>();
  return (folder) => {
    let facts = known.get(folder);
    if (facts === undefined) {
      facts = lookAt(folder);
      known.set(folder, facts);
    }
    return facts;
  };
}

/** The facts of a folder, or the system's word for why there are none. */
export function lookAt(folder: string): FolderFacts | string {
  try {
    return factsOf(lstatSync(folder));
  } catch (error) {
    return systemCode(error) ?? String(error);
  }
}

function factsOf(stats: Stats): FolderFacts {
  return { isFolder: stats.isDirectory(), uid: stats.uid, gid: stats.gid, mode: stats.mode };
}

function ourselves(look: FolderLook): Trustees {
  const root = look("/");
  return {
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    rootUid: typeof root === "string" ? 0 : root.uid,
  };
}
