/**
 * Whether somebody has a database open: any connection that has read it holds a shared lock on the database
 * file, and in WAL mode also the dead-man switch of the -shm.
 */
import { existsSync } from "node:fs";
import { closeDescriptor, descriptorIdentity, type FileIdentity, openDescriptor } from "./descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

/**
 * Whether a process (or another connection of this one) has the database open. False where locks cannot be
 * asked.
 */
export function isDatabaseInUse(path: string): boolean {
  if (!ofdLocksSupported()) return false;
  const fd = openDescriptor(path);
  const database = descriptorIdentity(fd);
  try {
    if (isLockedByOther(fd, SHARED_START, SHARED_LENGTH, "exclusive")) return true;
    return existsSync(`${path}-shm`) && isDeadManHeld(`${path}-shm`, database);
  } finally {
    closeDescriptor(database, fd);
  }
}

function isDeadManHeld(shmPath: string, database: FileIdentity): boolean {
  const fd = openDescriptor(shmPath);
  try {
    return isLockedByOther(fd, DEAD_MAN_BYTE, 1, "exclusive");
  } finally {
    closeDescriptor(database, fd);
  }
}
