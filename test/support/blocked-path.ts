/**
 * A file that cannot be replaced for a while, for the superuser either: a folder that is not empty lies in
 * its place, so that a rename onto it fails.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Puts a folder where `path` is. @returns what puts the file back */
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
