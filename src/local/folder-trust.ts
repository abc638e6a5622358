/**
 * Folder trust: whether a folder belongs to us alone. Nobody else can then put a file into the folder,
 * replace one, or put another folder in its place. State in any other folder does not count as state.
 *
 * A folder is trusted if and only if
 *  1. it is a real folder, no symbolic link, and our effective user owns it,
 *  2. neither its group nor others may write to it, and
 *  3. each folder above it, up to the root, is no link and belongs to our user, to root or to the owner of
 *     `/`; nobody else may write to that folder, unless its sticky bit prevents others from renaming entries.
 * Exceptions to 3: the user's own private group (its id is the user's) may write, as with a umask of 002.
 * Above a folder that the user chose, any group may write: volumes of containers belong to root and the group
 * of their users, and the user vouches for the members. Access lists count, because the group's bits are the
 * upper limit of every entry.
 */
import { existsSync, lstatSync, mkdirSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { systemCode } from "../errors.ts";
import { ownGid, ownUid } from "./own-file.ts";

/** The attributes of a folder that decide whether it is trusted. */
export interface FolderFacts {
  readonly isFolder: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** The users that are trusted: ours, and root, who may change everything anyway. */
export interface Trustees {
  readonly uid: number;
  readonly gid: number;
  /** Owner of `/`; in a user namespace not always 0. */
  readonly rootUid: number;
}

/** Reads the facts of a folder; the system's error code where there are none. */
export type InspectFolder = (folder: string) => FolderFacts | string;

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

/** Why a folder above another one cannot be trusted, or null. */
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
 * Why no file of ours may lie in a folder, or null.
 * @param folder its real path
 * @param inspect by default reads each folder anew
 * @param isChosen whether the user chose this place
 */
export function distrustOrNull(
  folder: string,
  inspect: InspectFolder = inspectFolder,
  isChosen = false,
): string | null {
  const trustees = ourselves(inspect);
  const own = inspect(folder);
  if (typeof own === "string") return own;
  const distrust = folderDistrustOrNull(own, trustees);
  if (distrust !== null) return distrust;
  return parentsDistrustOrNull(folder, inspect, isChosen);
}

/** Why another user can put another folder in the place of this one, or null. */
export function parentsDistrustOrNull(
  folder: string,
  inspect: InspectFolder = inspectFolder,
  isChosen = false,
): string | null {
  const trustees = ourselves(inspect);
  for (let parent = dirname(folder); ; parent = dirname(parent)) {
    const facts = inspect(parent);
    if (typeof facts === "string") return `${parent} cannot be inspected (${facts})`;
    const distrust = parentDistrustOrNull(facts, trustees, isChosen);
    if (distrust !== null) return `${parent} ${distrust}`;
    if (parent === dirname(parent)) return null;
  }
}

/**
 * Makes a folder of ours with mode 0700, if it is missing. Makes nothing where the folder would not be
 * trusted.
 * @param folder its real path
 * @param isChosen whether the user chose this place
 * @returns why the folder cannot be trusted, or null
 * @throws the system's error when the folder cannot be made
 */
export function makeOwnFolder(folder: string, isChosen = false): string | null {
  const distrust = ownFolderDistrustOrNull(folder, isChosen);
  if (distrust !== null || existsSync(folder)) return distrust;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return distrustOrNull(folder, inspectFolder, isChosen);
}

/** Why `makeOwnFolder` would not trust a folder, whether the folder exists or not; null: it would. */
export function ownFolderDistrustOrNull(folder: string, isChosen = false): string | null {
  let present = folder;
  while (!existsSync(present)) present = dirname(present);
  if (present === folder) return distrustOrNull(folder, inspectFolder, isChosen);
  // The parents are judged as if a folder of ours existed already.
  return parentsDistrustOrNull(`${present}/x`, inspectFolder, isChosen);
}

/** Reads each folder once: for many folders that share their parents. */
export function cachingInspector(): InspectFolder {
  const known = new Map<string, FolderFacts | string>();
  return (folder) => {
    let facts = known.get(folder);
    if (facts === undefined) {
      facts = inspectFolder(folder);
      known.set(folder, facts);
    }
    return facts;
  };
}

/** The facts of a folder as they are now, or the system's error code. */
export function inspectFolder(folder: string): FolderFacts | string {
  try {
    return factsOf(lstatSync(folder));
  } catch (error) {
    return systemCode(error) ?? String(error);
  }
}

function factsOf(stats: Stats): FolderFacts {
  return { isFolder: stats.isDirectory(), uid: stats.uid, gid: stats.gid, mode: stats.mode };
}

function ourselves(inspect: InspectFolder): Trustees {
  const root = inspect("/");
  return {
    uid: ownUid(),
    gid: ownGid(),
    rootUid: typeof root === "string" ? 0 : root.uid,
  };
}
