/**
 * Blocks the replacement of a file for a while, for the superuser too. A folder that is not empty stands at
 * the path, so a rename onto the path fails.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Puts a folder at `path`. @returns a function that restores the file */
export function blockReplacing(path: string): () => void {
  const aside = `${path}.aside`;
  const hadFile = existsSync(path);
  if (hadFile) renameSync(path, aside);
  mkdirSync(join(path, "in", "the", "way"), { recursive: true });
  return () => {
    rmSync(path, { recursive: true });
    if (hadFile) renameSync(aside, path);
  };
}
