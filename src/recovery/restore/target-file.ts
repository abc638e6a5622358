/**
 * The file that a restore replaces: checks that the file may be replaced, moves it aside, and gives the new
 * file its name. All names are resolved below the open folder (target-folder.ts). A link in the place of a
 * file is refused.
 */
import { closeSync, fsyncSync, lstatSync, openSync, renameSync, type Stats } from "node:fs";
import { isDatabaseInUse } from "../../database/files/in-use.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import type { TargetFolder } from "./target-folder.ts";

const COMPANIONS = ["", "-wal", "-shm", "-journal"] as const;

/**
 * Checks that a restore may use a target. Leftovers of a deleted database (its -wal, after `rm app.db`) do
 * not need `force`: they are moved aside.
 * @throws WalrustError code "usage" when a database is there and `force` is not given; "database" when a
 * process has it open
 */
export function assertTargetFree(folder: TargetFolder, force: boolean): void {
  const { name } = folder;
  for (const suffix of COMPANIONS) {
    const stats = statsOrNull(folder, `${name}${suffix}`);
    if (stats === null || stats.isFile()) continue;
    // A device that is moved aside would be gone for everybody.
    const found = stats.isDirectory()
      ? "is a folder"
      : stats.isSymbolicLink()
        ? "became a link meanwhile"
        : "is no regular file";
    throw new WalrustError("usage", `${folder.shown(`${name}${suffix}`)} ${found}`, {
      hint: "Give -o the path of a database file",
    });
  }
  const existing = statsOrNull(folder, name);
  if (existing === null) return;
  if (!force) {
    throw new WalrustError("usage", `${folder.path} exists`, {
      hint: "Give another -o, or --force to replace the file (walrust keeps the old file beside it)",
    });
  }
  if (isDatabaseInUse(folder.at(name))) {
    throw new WalrustError("database", `${folder.path} is in use by another process`, {
      hint: "Stop the application (and walrust watch) before restoring over its database",
    });
  }
}

/** The `lstat` of a name in the folder; null when the name does not exist. */
export function statsOrNull(folder: TargetFolder, name: string): Stats | null {
  return lstatSync(folder.at(name), { throwIfNoEntry: false }) ?? null;
}

/**
 * Renames the target with its -wal, -shm and -journal: SQLite would apply an old log to the restored file.
 * @returns the new path of the first of them, or null when none existed
 */
export function moveAside(folder: TargetFolder, nowMs: number): string | null {
  const { name } = folder;
  const stamp = new Date(nowMs).toISOString().replace(/[:.]/g, "-");
  const asideName = `${name}.pre-restore-${stamp}`;
  let moved: string | null = null;
  for (const suffix of COMPANIONS) {
    if (statsOrNull(folder, `${name}${suffix}`) === null) continue;
    renameSync(folder.at(`${name}${suffix}`), folder.at(`${asideName}${suffix}`));
    moved ??= folder.shown(`${asideName}${suffix}`);
  }
  return moved;
}

/**
 * Gives the finished file its name, durably.
 * @param file the `fstat` of the finished file
 * @throws WalrustError code "database" when another file has the name afterwards
 */
export function publish(folder: TargetFolder, tempName: string, file: Stats): void {
  renameSync(folder.at(tempName), folder.at(folder.name));
  folder.sync();
  const placed = statsOrNull(folder, folder.name);
  if (placed !== null && placed.ino === file.ino && placed.dev === file.dev) return;
  throw new WalrustError("database", `${folder.path} was replaced by somebody while it was restored`, {
    hint: "Nobody else may write to the folder of a database that is being restored",
    context: { path: folder.path },
  });
}

/** Makes a rename in a folder durable, if the file system can sync folders. */
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
