/**
 * The state home: one folder for each database whose own folder does not belong to us. A folder beside a
 * database is deleted together with the database; a folder here is swept after a month, so that a tenant who
 * creates and deletes databases does not fill the disk.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { readDatabasePathOrNull, stateFolderAt } from "../state-folder.ts";

const UNUSED_MS = 30 * 24 * 3_600_000;
const FOLDERS_MAX = 100_000;

/** The real paths of the databases that have a folder in the state home. */
export function databasePathsIn(stateHome: string): string[] {
  return namesIn(stateHome).flatMap((name) => {
    try {
      const path = readDatabasePathOrNull(join(stateHome, name));
      return path === null ? [] : [path];
    } catch {
      // A folder that does not belong to us.
      return [];
    }
  });
}

/**
 * Removes each folder whose database is gone, whose state was not written for a month, and that holds no
 * captured file waiting for its upload.
 * @param nowMs wall clock, as file times are
 * @returns the folders that were removed
 */
export function sweepStateHome(stateHome: string, nowMs: number): string[] {
  return namesIn(stateHome)
    .slice(0, FOLDERS_MAX)
    .map((name) => join(stateHome, name))
    .filter((folder) => isForgotten(folder, nowMs))
    .filter((folder) => isRemoved(folder));
}

function isForgotten(folder: string, nowMs: number): boolean {
  try {
    const path = readDatabasePathOrNull(folder);
    if (path === null || existsSync(path)) return false;
    const { statePath, spoolFolder } = stateFolderAt(folder);
    const { mtimeMs } = statSync(existsSync(statePath) ? statePath : folder);
    return nowMs - mtimeMs > UNUSED_MS && !namesIn(spoolFolder).some((name) => name.endsWith(".ltx"));
  } catch {
    // The folder does not belong to us, or is being removed.
    return false;
  }
}

function isRemoved(folder: string): boolean {
  try {
    rmSync(folder, { recursive: true });
    return true;
  } catch {
    // The next start tries again.
    return false;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
