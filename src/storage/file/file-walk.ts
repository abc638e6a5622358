/**
 * Lists the objects below a directory as an object store does: recursively, sorted by the bytes of the whole
 * key, with one directory in memory at a time. Temporary files and sidecars are no objects. Special files are
 * reported and not entered: a link could lead outside, a FIFO would block.
 *
 * A file or directory that is removed during the walk is missing in the listing.
 */
import type { Dirent } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { WalrustError } from "../../errors.ts";
import { compareKeys } from "../contract/object-rules.ts";
import type { ObjectInfo } from "../contract/store.ts";
import { fileError, isAbsent } from "./file-calls.ts";
import { SIDECAR_SUFFIX } from "./file-sidecar.ts";

/** The end of the names of unfinished files, ours and those of Litestream in the same tree. */
export const TEMPORARY_SUFFIX = ".tmp";

const DEPTH_MAX = 64;

/** Whether a file of this name can be an object. */
export function isObjectName(name: string): boolean {
  return !name.endsWith(TEMPORARY_SUFFIX) && !name.endsWith(SIDECAR_SUFFIX);
}

interface WalkEntry {
  /** The key; that of a directory ends in "/", by which it sorts among its siblings. */
  readonly key: string;
  readonly isFolder: boolean;
}

/** The root of a walk, and the receiver of the special files below it. */
export interface Walk {
  readonly root: string;
  readonly onSpecialFile: (key: string) => void;
}

/** Objects below the root whose key begins with `prefix` and comes after `startAfter`. */
export async function* walkObjects(
  walk: Walk,
  prefix: string,
  startAfter: string | undefined,
): AsyncGenerator<ObjectInfo> {
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  yield* walkFolder(walk, folder, prefix, startAfter, 0);
}

async function* walkFolder(
  walk: Walk,
  folder: string,
  prefix: string,
  startAfter: string | undefined,
  depth: number,
): AsyncGenerator<ObjectInfo> {
  if (depth > DEPTH_MAX) {
    throw new WalrustError(
      "storage",
      `Cannot list ${join(walk.root, folder)}: more than ${DEPTH_MAX} levels deep`,
      { hint: "Give a destination that holds only backups" },
    );
  }
  const entries = (await readFolder(walk, folder)).filter((entry) => isWanted(entry, prefix, startAfter));
  entries.sort((a, b) => compareKeys(a.key, b.key));
  for (const { key, isFolder } of entries) {
    if (isFolder) {
      yield* walkFolder(walk, key, prefix, startAfter, depth + 1);
    } else {
      const info = await fileInfoOrNull(walk.root, key);
      if (info !== null) yield info;
    }
  }
}

function isWanted({ key, isFolder }: WalkEntry, prefix: string, startAfter: string | undefined): boolean {
  if (!key.startsWith(prefix) && !(isFolder && prefix.startsWith(key))) return false;
  if (startAfter === undefined || compareKeys(key, startAfter) > 0) return true;
  return isFolder && startAfter.startsWith(key);
}

async function readFolder({ root, onSpecialFile }: Walk, folder: string): Promise<WalkEntry[]> {
  const path = join(root, folder);
  const entries: WalkEntry[] = [];
  for (const entry of await readNames(path)) {
    const key = `${folder}${entry.name}`;
    const kind = await kindOf(entry, join(path, entry.name));
    if (kind === "folder") entries.push({ key: `${key}/`, isFolder: true });
    else if (kind === "special") onSpecialFile(key);
    else if (kind === "file" && isObjectName(entry.name)) entries.push({ key, isFolder: false });
  }
  return entries;
}

/** Reads the kind by lstat if the file system does not report it with the name. */
async function kindOf(entry: Dirent, path: string): Promise<"file" | "folder" | "special" | "absent"> {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  try {
    const stats = await lstat(path);
    if (stats.isFile()) return "file";
    return stats.isDirectory() ? "folder" : "special";
  } catch (error) {
    if (isAbsent(error)) return "absent";
    throw fileError("list", path, error);
  }
}

async function readNames(path: string) {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isAbsent(error)) return [];
    throw fileError("list", path, error);
  }
}

async function fileInfoOrNull(root: string, key: string): Promise<ObjectInfo | null> {
  const path = join(root, key);
  try {
    const stats = await lstat(path);
    if (!stats.isFile()) return null;
    const [modifiedMs, storedMs] = [Math.round(stats.mtimeMs), Math.round(stats.ctimeMs)];
    return { key, sizeBytes: stats.size, modifiedMs, storedMs };
  } catch (error) {
    if (isAbsent(error)) return null;
    throw fileError("list", path, error);
  }
}

/**
 * The directories directly below `folder` (empty or ending in "/") with an object below them, without slash.
 */
export async function walkFolders(walk: Walk, folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const { key, isFolder } of await readFolder(walk, folder)) {
    if (!isFolder) continue;
    const objects = walkObjects(walk, key, undefined);
    const first = await objects.next();
    await objects.return(undefined);
    if (!first.done) names.push(key.slice(folder.length, -1));
  }
  return names.sort(compareKeys);
}
