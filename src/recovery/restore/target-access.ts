/**
 * Owner and mode of a restored file.
 *
 * The application must be able to use the file, so a restored file gets owner and mode of the file it
 * replaces. Without such a file it gets owner and group of its folder and is private (0600). When the group
 * of the folder may create files there, the group shares the database, and the file is open to the group too
 * (0660).
 *
 * Owner and mode are always set on a descriptor: by now a path may lead to another file.
 */
import { closeSync, constants, fchmodSync, fchownSync, fstatSync, openSync } from "node:fs";
import { systemCode } from "../../errors.ts";

/** Owner, group and mode of a file or folder, as `stat` reports them. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Owner, group and modes for new files and folders in a folder. */
export interface FolderAccess {
  readonly uid: number;
  readonly gid: number;
  readonly fileMode: number;
  readonly folderMode: number;
}

/** Owner, group and mode of a file, and their origin. */
export interface FileAccess extends Ownership {
  readonly from: "replaced-file" | "folder";
}

const GROUP_WRITE = 0o020;
const OTHER_WRITE = 0o002;
const SET_GID = 0o2000;

/** The system's answers when we may not give the file away, or the file system has no owners. */
const NOT_POSSIBLE: ReadonlySet<string> = new Set(["EPERM", "EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** Owner, group and modes for new files and folders in this folder. Pure. */
export function accessInFolder({ uid, gid, mode }: Ownership): FolderAccess {
  const isShared = (mode & GROUP_WRITE) !== 0 && (mode & OTHER_WRITE) === 0;
  return {
    uid,
    gid,
    fileMode: isShared ? 0o660 : 0o600,
    folderMode: isShared ? 0o770 | (mode & SET_GID) : 0o700,
  };
}

/** Owner, group and mode for a restored file. Pure. */
export function accessForTarget(replaced: Ownership | null, folder: Ownership): FileAccess {
  if (replaced !== null) {
    return { uid: replaced.uid, gid: replaced.gid, mode: replaced.mode & 0o777, from: "replaced-file" };
  }
  const { uid, gid, fileMode } = accessInFolder(folder);
  return { uid, gid, mode: fileMode, from: "folder" };
}

/**
 * The mode of a file that could not be given to the wanted group: the group permissions are removed, because
 * they were meant for another group. Pure.
 */
export function attainableMode(wanted: Ownership, attained: { readonly gid: number }): number {
  return wanted.gid === attained.gid ? wanted.mode : wanted.mode & ~0o070;
}

/**
 * Sets owner, group and mode of an open file, as far as the system allows.
 * @returns owner, group and mode afterwards
 */
export function setAccess(fd: number, wanted: Ownership): Ownership {
  const own = fstatSync(fd);
  if (own.uid !== wanted.uid || own.gid !== wanted.gid) {
    const isDone = tryChown(fd, wanted.uid, wanted.gid);
    if (!isDone && own.gid !== wanted.gid) tryChown(fd, own.uid, wanted.gid);
  }
  const { uid, gid } = fstatSync(fd);
  const mode = attainableMode(wanted, { gid });
  fchmodSync(fd, mode);
  return { uid, gid, mode };
}

/** Sets owner, group and mode of a closed file of ours. A link is refused. @throws the system's error */
export function setAccessOf(path: string, wanted: Ownership): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    setAccess(fd, wanted);
  } finally {
    closeSync(fd);
  }
}

function tryChown(fd: number, uid: number, gid: number): boolean {
  try {
    fchownSync(fd, uid, gid);
    return true;
  } catch (error) {
    if (NOT_POSSIBLE.has(systemCode(error) ?? "")) return false;
    throw error;
  }
}
