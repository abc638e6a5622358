/**
 * Finds out whether any connection has a database open. A connection that has read holds a shared lock on the
 * database file, and in WAL mode also the dead-man switch of the -shm.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import { closeDescriptor, descriptorIdentity, type FileIdentity } from "./descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

const O_CLOEXEC = 0o2000000;

/**
 * Whether a process, or another connection of this process, has the database open. False on a platform
 * without open-file-description locks.
 */
export function isDatabaseInUse(path: string): boolean {
  if (!ofdLocksSupported()) return false;
  const fd = openOrReason(path);
  if (typeof fd !== "number") return fd === "leased";
  const database = descriptorIdentity(fd);
  try {
    if (isLockedByOther(fd, SHARED_START, SHARED_LENGTH, "exclusive")) return true;
    return isDeadManHeld(`${path}-shm`, database);
  } finally {
    closeDescriptor(database, fd);
  }
}

function isDeadManHeld(shmPath: string, database: FileIdentity): boolean {
  const fd = openOrReason(shmPath);
  if (typeof fd !== "number") return fd === "leased";
  try {
    return isLockedByOther(fd, DEAD_MAN_BYTE, 1, "exclusive");
  } finally {
    closeDescriptor(database, fd);
  }
}

/**
 * Opens a file of any type without waiting: neither for the other end of a FIFO, nor for the end of a lease.
 * @returns the descriptor; "absent" when no regular file is there; "leased" when it is under a lease
 * @throws WalrustError code "database" when the system refuses
 */
function openOrReason(path: string): number | "absent" | "leased" {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK | O_CLOEXEC);
  } catch (error) {
    const code = systemCode(error);
    if (code === "EAGAIN") return "leased";
    if (code === "ENOENT" || code === "ELOOP" || code === "ENXIO" || code === "EISDIR") return "absent";
    throw new WalrustError("database", `Cannot open ${path}: ${code}`, {
      hint: "walrust needs to read and write the file to find out whether an application has it open",
      context: { path },
      cause: error,
    });
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return "absent";
}
