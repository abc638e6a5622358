/**
 * Whether somebody has a database open: any connection that has read it holds a shared lock on the database file,
 * and in WAL mode also the dead-man switch of the -shm.
 */
import { existsSync } from "node:fs";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "./descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

/** Whether a process (or another connection of this one) has the database open. False where locks cannot be asked. */
export function isDatabaseInUse(path: string): boolean {
  if (!ofdLocksSupported()) return false;
  if (isHeld(path, SHARED_START, SHARED_LENGTH)) return true;
  const shmPath = `${path}-shm`;
  return existsSync(shmPath) && isHeld(shmPath, DEAD_MAN_BYTE, 1);
}

function isHeld(path: string, start: number, length: number): boolean {
  const fd = openDescriptor(path);
  try {
    return isLockedByOther(fd, start, length, "exclusive");
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}
