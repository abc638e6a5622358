/**
 * Holds the place of a replica's file: its folder, and an exclusive lock on `.<file>-replica-lock` beside the
 * file, which allows one `replicate` or `serve` at a time, even before the database exists. The system
 * releases the lock after a SIGKILL. The holder of the lock may remove the leftovers of a killed process.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { descriptorIdentity, fileIdentityOrNull, isSameFile } from "../../database/files/descriptors.ts";
import { lockExclusive } from "../../database/files/ofd-lock.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { foreignFileReasonOrNull, ownUid } from "../../local/own-file.ts";
import { resolvePlace, TargetFolder } from "../restore/target-folder.ts";

const TRIES_MAX = 100;

/** The place of a replica, held until `release`. */
export interface ReplicaPlace {
  /** The path of the file with all links resolved: SQLite names -wal and -shm after it. */
  readonly localPath: string;
  /** The same path below its open folder. */
  readonly heldPath: string;
  release(): void;
}

/**
 * Opens the folder of a replica, takes its lock, and removes what a killed process has left.
 * @throws WalrustError "locked" or "database"
 */
export function holdReplicaPlace(path: string): ReplicaPlace {
  const folder = TargetFolder.open(resolvePlace(path).path);
  try {
    const localPath = folder.path;
    const heldPath = folder.at(folder.name);
    const unlock = takeReplicaLock(localPath, heldPath);
    try {
      sweepLeftovers(heldPath);
    } catch (error) {
      unlock();
      throw error;
    }
    const release = (): void => {
      unlock();
      folder.close();
    };
    return { localPath, heldPath, release };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/**
 * Takes the lock.
 * @param heldPath the path of the replica below its open folder
 * @returns a function that releases the lock @throws WalrustError "locked" or "database"
 */
export function takeReplicaLock(localPath: string, heldPath = localPath): () => void {
  const path = lockPathOf(heldPath);
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    const fd = openLockFile(path, lockPathOf(localPath));
    if (!lockExclusive(fd, 0, 1)) {
      closeSync(fd);
      throw new WalrustError("locked", `${localPath} is followed by another walrust`, {
        hint: "Stop the other process, or give another --local",
      });
    }
    // The previous holder may have removed the file between our open and our lock.
    if (isSameFile(fileIdentityOrNull(path), descriptorIdentity(fd))) {
      return () => {
        rmSync(path, { force: true });
        closeSync(fd);
      };
    }
    closeSync(fd);
  }
  throw new WalrustError("locked", `Cannot lock ${lockPathOf(localPath)}`);
}

function lockPathOf(localPath: string): string {
  return join(dirname(localPath), `.${basename(localPath)}-replica-lock`);
}

function openLockFile(path: string, shownPath: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    const strangeness = foreignFileReasonOrNull(fstatSync(fd), ownUid());
    if (strangeness === null) return fd;
    closeSync(fd);
    throw new WalrustError("database", `Cannot use ${shownPath}: ${strangeness}`, {
      hint: "Remove it if walrust did not make it",
    });
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    throw new WalrustError("database", `Cannot create ${shownPath}: ${systemCode(error)}`, {
      hint: "The folder of --local must exist and be writable",
      cause: error,
    });
  }
}

/** The path where a newer state is built before it is applied. */
export function bootstrapPathOf(localPath: string): string {
  return join(dirname(localPath), `.${basename(localPath)}.bootstrap`);
}

/** Removes the unfinished files of a killed replicate. Call only while holding the lock. */
export function sweepLeftovers(localPath: string): void {
  const folder = dirname(localPath);
  const names = [basename(localPath), basename(bootstrapPathOf(localPath))];
  for (const file of readdirSync(folder)) {
    const isTemporary = names.some(
      (name) => file.startsWith(`.${name}.restore-`) && /\.restore-[0-9a-f]{12}$/.test(file),
    );
    const isState = file.startsWith(`${basename(localPath)}-replica-state.`) && file.endsWith(".tmp");
    if (isTemporary || isState || file === names[1]) removeFile(join(folder, file));
  }
}

/**
 * Removes a file or a link. A folder with that name stays: no replica created it.
 * @throws WalrustError code "database"
 */
export function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
    throw new WalrustError("database", `Cannot remove ${basename(path)}: ${systemCode(error)}`, {
      hint: "The folder of --local must be writable for walrust",
      cause: error,
    });
  }
}
