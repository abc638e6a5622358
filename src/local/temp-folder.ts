/**
 * Temporary folders of ours: a random name and mode 0700, below a folder where nobody else can exchange them.
 * Every user may write to the system's folder for temporary files; only its sticky bit protects the entries.
 *
 * A process holds a lock in its folder. The kernel drops the lock at the end of the process, however it ends,
 * and the next folder of the same kind removes every such folder that nobody holds: a killed verification
 * leaves a whole database there.
 */
import { closeSync, lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lockExclusive, ofdLocksSupported } from "../database/files/ofd-lock.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { parentsDistrustOrNull } from "./folder-trust.ts";
import { createOwnOrNull, openOwnFileOrNull, ownUid } from "./own-file.ts";
import { realParent } from "./places.ts";

const LOCK_NAME = "lock";
const LOCK_BYTE = 0;
/** Another process takes a folder for a leftover only in the moment between its creation and its lock. */
const TRIES_MAX = 5;

/** A temporary folder of this process. */
export interface TempFolder {
  readonly path: string;
  /** Removes the folder with its content. */
  remove(): void;
}

/**
 * Makes a temporary folder in `parent`, and removes the folders that killed processes left there.
 * @param prefix begin of the name, which no other kind of folder shares
 * @param hint for the error
 * @throws WalrustError code "database" when the folder cannot be made, or could be exchanged
 */
export function makeTempFolder(parent: string, prefix: string, hint: string): TempFolder {
  const realPath = realParent(parent);
  const distrust = parentsDistrustOrNull(join(realPath, prefix));
  if (distrust !== null) {
    const found = `other users can exchange what lies there: ${distrust}`;
    throw new WalrustError("database", `Cannot make a temporary folder in ${parent}: ${found}`, { hint });
  }
  sweep(realPath, prefix);
  try {
    for (let tries = 1; ; tries++) {
      const path = mkdtempSync(join(realPath, prefix));
      const fd = holdOrNull(path);
      const remove = (): void => {
        rmSync(path, { recursive: true, force: true });
        if (fd !== null) closeSync(fd);
      };
      if (fd !== null || !ofdLocksSupported() || tries === TRIES_MAX) return { path, remove };
      remove();
    }
  } catch (error) {
    throw new WalrustError("database", `Cannot make a temporary folder in ${parent}: ${systemCode(error)}`, {
      hint,
      cause: error,
    });
  }
}

/** Takes the lock of a new folder; null when another process took the folder for a leftover. */
function holdOrNull(path: string): number | null {
  if (!ofdLocksSupported()) return null;
  const fd = createOwnOrNull(join(path, LOCK_NAME));
  if (fd === null || lockExclusive(fd, LOCK_BYTE, 1)) return fd;
  closeSync(fd);
  return null;
}

/** Removes the folders of ours that no process holds. */
function sweep(parent: string, prefix: string): void {
  if (!ofdLocksSupported()) return;
  const names = readdirSync(parent).filter((name) => name.startsWith(prefix));
  for (const path of names.map((name) => join(parent, name))) {
    try {
      const stats = lstatSync(path);
      if (stats.isDirectory() && stats.uid === ownUid()) removeIfFree(path);
    } catch (error) {
      // Another process removed it just now, or a file in it is not ours: nothing here needs the place.
      if (!(error instanceof WalrustError) && systemCode(error) === undefined) throw error;
    }
  }
}

function removeIfFree(path: string): void {
  const lock = openOwnFileOrNull(join(path, LOCK_NAME));
  if (lock === null) return;
  try {
    if (lockExclusive(lock.fd, LOCK_BYTE, 1)) rmSync(path, { recursive: true, force: true });
  } finally {
    closeSync(lock.fd);
  }
}
