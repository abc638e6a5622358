/**
 * Gives an open file an owner and a mode. Always by descriptor: a path may lead to another file by now.
 */
import { closeSync, constants, fchmodSync, fchownSync, fstatSync, openSync } from "node:fs";
import { systemCode } from "../../errors.ts";
import { attainableMode, type Ownership } from "./target-access.ts";

/** What the system answers when the file is not ours to give away, or the file system has no owners. */
const NOT_POSSIBLE: ReadonlySet<string> = new Set(["EPERM", "EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/**
 * Sets owner, group and mode of an open file, as far as we may.
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

/** As `setAccess`, for a file of ours that is not open. A link is refused. @throws the system's error */
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
