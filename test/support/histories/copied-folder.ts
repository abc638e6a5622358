/**
 * Copies of a database together with its state folder. Some copies carry a state that hides the copy, like
 * the state of an older version or of a cloned disk.
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { crc64 } from "../../../src/format/crc64.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { tempFolder } from "../temp.ts";

/** Copies the folder of a database that no connection has open. @returns the path of the copied database */
export function copyFolderOf(path: string): string {
  const folder = join(tempFolder("copied"), "folder");
  cpSync(dirname(path), folder, { recursive: true, preserveTimestamps: true });
  return join(folder, basename(path));
}

/** Changes fields of the state file and seals it with a valid checksum. */
export function editState(statePath: string, fields: Readonly<Record<string, unknown>>): void {
  const [text = ""] = readFileSync(statePath, "utf8").split("\n");
  const body = JSON.stringify({ ...JSON.parse(text), ...fields });
  const checksum = crc64(new TextEncoder().encode(body)).toString(16).padStart(16, "0");
  writeFileSync(statePath, `${body}\n${checksum}\n`);
}

/** Copies a folder like `copyFolderOf`, with a state that hides the copy. */
export function cloneFolderOf(path: string): string {
  const clone = copyFolderOf(path);
  editState(stateFolderOf(clone).statePath, { home: undefined });
  return clone;
}
