/**
 * Folders of the state home whose databases are gone: a tenant who makes and deletes databases would fill the
 * disk with them. A folder beside a database goes with the database's own folder; these go after a month.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { readOwnOrNull } from "./own-file.ts";
import { DATABASE_PATH_FILE, stateFolderAt } from "./state-folder.ts";

const UNUSED_MS = 30 * 24 * 3_600_000;
const PATH_SIZE_MAX = 8_192;
const FOLDERS_MAX = 100_000;

/**
 * Removes the folders of databases that are not there any more, whose state nobody has written for a month,
 * and that hold no captured file which waits for its upload.
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
    // Without this file the folder is not one of these.
    const path = readOwnOrNull(join(folder, DATABASE_PATH_FILE), PATH_SIZE_MAX)?.trimEnd();
    if (path === undefined || existsSync(path)) return false;
    const { statePath, spoolFolder } = stateFolderAt(folder);
    const { mtimeMs } = statSync(existsSync(statePath) ? statePath : folder);
    return nowMs - mtimeMs > UNUSED_MS && !namesIn(spoolFolder).some((name) => name.endsWith(".ltx"));
  } catch {
    // Not ours, or going just now.
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
