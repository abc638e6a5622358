/**
 * Reads folders while other programs change them.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Bytes of the files below a folder whose path passes; a file that disappears meanwhile counts nothing. */
export function sizeOfFolder(folder: string, passes: (path: string) => boolean): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(passes)
    .reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}
