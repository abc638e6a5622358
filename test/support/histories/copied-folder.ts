/**
 * Copies of a database together with its state folder. Some copies carry a state that hides the copy, like
 * the state of an older version or of a cloned disk.
 */
import { cpSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { tempFolder } from "../temp.ts";
import { writeOldState } from "./old-state.ts";

/** Copies the folder of a database that no connection has open. @returns the path of the copied database */
export function copyFolderOf(path: string): string {
  const folder = join(tempFolder("copied"), "folder");
  cpSync(dirname(path), folder, { recursive: true, preserveTimestamps: true });
  return join(folder, basename(path));
}

/** Copies a folder like `copyFolderOf`, with a state that hides the copy. */
export function cloneFolderOf(path: string): string {
  const clone = copyFolderOf(path);
  const paths = stateFolderOf(clone);
  const reading = readState(paths);
  if (reading.kind !== "state") throw new Error(`there is no state beside ${clone}`);
  // The first versions did not record where they wrote the state.
  writeOldState(paths.statePath, reading.state, { home: undefined });
  return clone;
}
