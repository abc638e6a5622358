/**
 * Takes the host lock without a pin: for work on a database's objects that excludes a watch of the database.
 */
import { closeDescriptor, descriptorIdentity, openDescriptor } from "./descriptors.ts";
import { HOST_LOCK_BYTE } from "./lock-bytes.ts";
import { lockExclusive, ofdLocksSupported, unlock } from "./ofd-lock.ts";

/**
 * Takes the host lock of the database at `path`.
 * @returns a function that releases the lock, or null when another walrust holds it
 * @throws WalrustError code "database" when the file cannot be opened
 */
export function takeHostLockOrNull(path: string): (() => void) | null {
  if (!ofdLocksSupported()) return () => {};
  const fd = openDescriptor(path);
  const identity = descriptorIdentity(fd);
  if (!lockExclusive(fd, HOST_LOCK_BYTE, 1)) {
    closeDescriptor(identity, fd);
    return null;
  }
  return () => {
    unlock(fd, HOST_LOCK_BYTE, 1);
    closeDescriptor(identity, fd);
  };
}
