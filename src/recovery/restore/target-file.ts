/**
 * The file a restore replaces: whether it may be touched, how it is kept, and how the new one takes its
 * place. All names are looked up below the open folder (target-folder.ts); links in the place of a file are
 * refused.
 */
import { closeSync, fsyncSync, lstatSync, openSync, renameSync, type Stats } from "node:fs";
import { isDatabaseInUse } from "../../database/files/in-use.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import type { TargetFolder } from "./target-folder.ts";

const COMPANIONS = ["", "-wal", "-shm", "-journal"] as const;

/**
 * Leftovers of a database that is gone itself (its -wal, after `rm app.db`) are in nobody's way: they are
 * kept under another name without being asked.
 * @throws WalrustError code "usage" when a database is there and `force` is not given; "database" when a
 * process has it open
 */
export function assertTargetFree(folder: TargetFolder, force: boolean): void {
  const { name } = folder;
  for (const suffix of COMPANIONS) {
    const stats = statsOrNull(folder, `${name}${suffix}`);
    if (stats === null || stats.isFile()) continue;
    // Moved aside, a device would be gone for everybody.
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
      hint: "Give another -o, or --force to replace it (it is kept beside the target)",
    });
  }
  if (isDatabaseInUse(folder.at(name))) {
    throw new WalrustError("database", `${folder.path} is in use by another process`, {
      hint: "Stop the application (and walrust watch) before restoring over its database",
    });
  }
}

/** What a name in the folder is, links not followed; null when nothing is there. */
export function statsOrNull(folder: TargetFolder, name: string): Stats | null {
  return lstatSync(folder.at(name), { throwIfNoEntry: false }) ?? null;
}

/**
 * Renames the target and its -wal, -shm and -journal: a log left behind would be applied to the restored
 * file.
 * @returns where the first of them is now, or null when there was none
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
 * @param file what the descriptor of the finished file says of it
 * @throws WalrustError code "database" when something else has the name afterwards
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
