/**
 * Owner and mode of a restored file. Pure.
 *
 * A restored file belongs to whoever has to use it: it gets owner and mode of the file it replaces. Without
 * one, it gets the owner and group of its folder and is private (0600). Where the group of the folder may
 * create files in it, the group shares the database, so the file is the group's too (0660).
 */

/** What `stat` tells of a file or folder. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Owner and mode for what is made in a folder. */
export interface FolderAccess {
  readonly uid: number;
  readonly gid: number;
  readonly fileMode: number;
  readonly folderMode: number;
}

/** Owner and mode of a file, and where they come from. */
export interface FileAccess extends Ownership {
  readonly from: "replaced-file" | "folder";
}

const GROUP_WRITE = 0o020;
const OTHER_WRITE = 0o002;
const SET_GID = 0o2000;

/** What a new file or folder in this folder should be like. */
export function accessInFolder({ uid, gid, mode }: Ownership): FolderAccess {
  const isShared = (mode & GROUP_WRITE) !== 0 && (mode & OTHER_WRITE) === 0;
  return {
    uid,
    gid,
    fileMode: isShared ? 0o660 : 0o600,
    folderMode: isShared ? 0o770 | (mode & SET_GID) : 0o700,
  };
}

/** What a restored file should be like. */
export function accessForTarget(replaced: Ownership | null, folder: Ownership): FileAccess {
  if (replaced !== null) {
    return { uid: replaced.uid, gid: replaced.gid, mode: replaced.mode & 0o777, from: "replaced-file" };
  }
  const { uid, gid, fileMode } = accessInFolder(folder);
  return { uid, gid, mode: fileMode, from: "folder" };
}

/**
 * The mode when the file could not be given to the wanted owner or group: a class of users that is another
 * one than meant gets nothing.
 */
export function attainableMode(wanted: Ownership, attained: { readonly gid: number }): number {
  return wanted.gid === attained.gid ? wanted.mode : wanted.mode & ~0o070;
}
