/**
 * Finds out whether another walrust has a database, and which process that may be. A query; takes no lock.
 */
import { statSync } from "node:fs";
import { WalrustError } from "../../errors.ts";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "./descriptors.ts";
import { type FileUser, isProcessStopped, isWalrust } from "./file-users.ts";
import { HOST_LOCK_BYTE } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

/** The walrust that holds the host lock of a database. */
export interface HostLockHolder {
  readonly path: string;
  /** Null when the process is hidden from this user, or runs in another container. */
  readonly pid: number | null;
  /** The user of the process, if it is another one. */
  readonly otherUid: number | null;
  /** A signal or a debugger has stopped the process. */
  readonly isStopped: boolean;
}

/**
 * The walrust that has the database at `path`, or null. A file that cannot be opened counts as free.
 * @param users the processes that have the database open
 */
export function hostLockHolderOrNull(path: string, users: readonly FileUser[]): HostLockHolder | null {
  if (!isHostLocked(path)) return null;
  const pid = users.find(isWalrust)?.pid ?? null;
  if (pid === null) return { path, pid, otherUid: null, isStopped: false };
  const uid = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid ?? null;
  return { path, pid, otherUid: uid === process.geteuid?.() ? null : uid, isStopped: isProcessStopped(pid) };
}

function isHostLocked(path: string): boolean {
  if (!ofdLocksSupported()) return false;
  let fd: number;
  try {
    fd = openDescriptor(path);
  } catch (error) {
    if (error instanceof WalrustError) return false;
    throw error;
  }
  try {
    return isLockedByOther(fd, HOST_LOCK_BYTE, 1, "exclusive");
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/** The error for a database that a walrust has while no watch answers for it. */
export function silentHolderError({ path, pid, otherUid, isStopped }: HostLockHolder): WalrustError {
  const process = pid === null ? "A walrust" : `The walrust with pid ${pid}`;
  const who = otherUid === null ? process : `${process} of user ${otherUid}`;
  const message = `${who} has ${path}, and no watch of this user answers for it`;
  const hint = isStopped
    ? `It was stopped: let it go on (kill -CONT ${pid}), or end it (kill -KILL ${pid}) and start it again`
    : otherUid !== null
      ? "Run this as that user: a watch answers only its own"
      : "Run this as the user of that walrust. If it is a watch of this user, it hangs or has no folder " +
        "for its socket: set XDG_RUNTIME_DIR, or RuntimeDirectory= of its service, and restart it";
  return new WalrustError("locked", message, { hint, context: { path } });
}
