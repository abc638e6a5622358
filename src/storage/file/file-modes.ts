/**
 * Modes of what a file:// destination makes. Pure.
 *
 * A copy is as private as its original may be: files are 0600, folders 0700. Only where the folder above is
 * its group's and nobody else's (as 0750 or 2770), which somebody decided, the group gets the same below it.
 */

/** What `stat` tells of a folder. */
export interface FolderOwnership {
  readonly gid: number;
  readonly mode: number;
}

/** Modes of new files and folders. */
export interface NewModes {
  readonly fileMode: number;
  readonly folderMode: number;
}

const PRIVATE: NewModes = { fileMode: 0o600, folderMode: 0o700 };
const GROUP_ENTERS = 0o050;
const GROUP_WRITES = 0o020;
const OTHERS = 0o007;
const SET_GID = 0o2000;

/**
 * Modes of what is made in this folder.
 * @param ownGid the group that new files get from this process
 */
export function modesInFolder({ gid, mode }: FolderOwnership, ownGid: number): NewModes {
  const isGroups = (mode & GROUP_ENTERS) === GROUP_ENTERS && (mode & OTHERS) === 0;
  // Without the set-group-id bit new files belong to our group: another one would get them.
  const isInherited = (mode & SET_GID) !== 0 || gid === ownGid;
  if (!isGroups || !isInherited) return PRIVATE;
  return (mode & GROUP_WRITES) === 0
    ? { fileMode: 0o640, folderMode: 0o750 }
    : { fileMode: 0o660, folderMode: 0o770 };
}
