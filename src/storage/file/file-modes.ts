/**
 * Decides the modes of new files and folders in a file:// destination. Pure.
 *
 * A copy is as private as its original may be: files are 0600, folders 0700. If the folder above is open to
 * its group and to nobody else (0750 or 2770), its owner has decided so, and the group gets the same rights
 * below.
 */

/** The owner and mode of a folder, as `stat` reports them. */
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
 * Modes of new files and folders in this folder.
 * @param ownGid the group that new files get from this process
 */
export function modesInFolder({ gid, mode }: FolderOwnership, ownGid: number): NewModes {
  const isGroups = (mode & GROUP_ENTERS) === GROUP_ENTERS && (mode & OTHERS) === 0;
  // Without the set-group-id bit new files belong to our own group, which need not be that of the folder.
  const isInherited = (mode & SET_GID) !== 0 || gid === ownGid;
  if (!isGroups || !isInherited) return PRIVATE;
  return (mode & GROUP_WRITES) === 0
    ? { fileMode: 0o640, folderMode: 0o750 }
    : { fileMode: 0o660, folderMode: 0o770 };
}
