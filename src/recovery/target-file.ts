/**
 * The file a restore replaces: whether it may be touched, and how what was there is kept.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
} from "node:fs";
import { isDatabaseInUse } from "../database/in-use.ts";
import { systemCode, WalrustError } from "../errors.ts";

const COMPANIONS = ["", "-wal", "-shm", "-journal"] as const;

/**
 * Leftovers of a database that is gone itself (its -wal, after `rm app.db`) are in nobody's way: they are
 * kept under another name without being asked.
 * @throws WalrustError code "usage" when a database is there and `force` is not given; "database" when a
 * process has it open
 */
export function assertTargetFree(path: string, force: boolean): void {
  const existing = COMPANIONS.map((suffix) => `${path}${suffix}`).filter((file) => existsSync(file));
  if (existing.length === 0) return;
  const stats = statSync(existing[0]!);
  if (!stats.isFile()) {
    // Moved aside, a device would be gone for everybody.
    const found = stats.isDirectory() ? "is a folder" : "is no regular file";
    throw new WalrustError("usage", `${existing[0]} ${found}`, {
      hint: "Give -o the path of a database file",
    });
  }
  if (!force && existing[0] === path) {
    throw new WalrustError("usage", `${path} exists`, {
      hint: "Give another -o, or --force to replace it (it is kept beside the target)",
    });
  }
  if (existsSync(path) && isDatabaseInUse(path)) {
    throw new WalrustError("database", `${path} is in use by another process`, {
      hint: "Stop the application (and walrust watch) before restoring over its database",
    });
  }
}

/**
 * Renames the target and its -wal, -shm and -journal: a log left behind would be applied to the restored
 * file.
 * @returns where the first of them is now, or null when there was none
 */
export function moveAside(path: string, nowMs: number): string | null {
  const stamp = new Date(nowMs).toISOString().replace(/[:.]/g, "-");
  const asidePath = `${path}.pre-restore-${stamp}`;
  let moved: string | null = null;
  for (const suffix of COMPANIONS) {
    if (!existsSync(`${path}${suffix}`)) continue;
    renameSync(`${path}${suffix}`, `${asidePath}${suffix}`);
    moved ??= `${asidePath}${suffix}`;
  }
  return moved;
}

/** Makes the folder of a target. @throws WalrustError code "database" */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new WalrustError("database", `Cannot create the folder ${path}: ${systemCode(error)}`, {
      hint: "Give -o a path in a folder that exists, or that this user may create",
      cause: error,
    });
  }
}

/** Gives the new file the mode and, where we may, the owner of the one it replaces. */
export function inheritAccess(newPath: string, existingPath: string): void {
  const stats = statSync(existingPath, { throwIfNoEntry: false });
  if (stats === undefined) return;
  chmodSync(newPath, stats.mode & 0o777);
  try {
    chownSync(newPath, stats.uid, stats.gid);
  } catch (error) {
    if (systemCode(error) !== "EPERM") throw error;
  }
}

/** Makes a rename durable. File systems that cannot sync a folder are accepted. */
export function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    if (systemCode(error) !== "EINVAL") throw error;
  } finally {
    closeSync(fd);
  }
}
