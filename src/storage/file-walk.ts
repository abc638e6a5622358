/**
 * The objects below a directory, as an object store lists them: recursively, sorted by the bytes of the whole
 * key, one directory in memory at a time. Temporary files and sidecars are no objects.
 *
 * A file or directory that goes away while the walk runs is left out; that is what a listing promises anyway.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { WalrustError } from "../errors.ts";
import { SIDECAR_SUFFIX } from "./file-sidecar.ts";
import { fileError, isAbsent } from "./file-system.ts";
import { compareKeys } from "./object-rules.ts";
import type { ObjectInfo } from "./store.ts";

/** How names of files end that are not objects yet: ours, and those of Litestream in the same tree. */
export const TEMPORARY_SUFFIX = ".tmp";

const DEPTH_MAX = 64;

/** Whether a file of this name can be an object. */
export function isObjectName(name: string): boolean {
  return !name.endsWith(TEMPORARY_SUFFIX) && !name.endsWith(SIDECAR_SUFFIX);
}

interface WalkEntry {
  /** The key; a directory's ends in "/", which is also how it sorts among its siblings. */
  readonly key: string;
  readonly isFolder: boolean;
}

/** Objects below `root` whose key begins with `prefix` and comes after `startAfter`. */
export async function* walkObjects(
  root: string,
  prefix: string,
  startAfter: string | undefined,
): AsyncGenerator<ObjectInfo> {
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  yield* walkFolder(root, folder, prefix, startAfter, 0);
}

async function* walkFolder(
  root: string,
  folder: string,
  prefix: string,
  startAfter: string | undefined,
  depth: number,
): AsyncGenerator<ObjectInfo> {
  if (depth > DEPTH_MAX) {
    throw new WalrustError(
      "storage",
      `Cannot list ${join(root, folder)}: more than ${DEPTH_MAX} levels deep`,
      {
        hint: "A symbolic link may lead in a circle.",
      },
    );
  }
  const entries = (await readFolder(root, folder)).filter((entry) => isWanted(entry, prefix, startAfter));
  entries.sort((a, b) => compareKeys(a.key, b.key));
  for (const { key, isFolder } of entries) {
    if (isFolder) {
      yield* walkFolder(root, key, prefix, startAfter, depth + 1);
    } else {
      const info = await fileInfoOrNull(root, key);
      if (info !== null) yield info;
    }
  }
}

function isWanted({ key, isFolder }: WalkEntry, prefix: string, startAfter: string | undefined): boolean {
  if (!key.startsWith(prefix) && !(isFolder && prefix.startsWith(key))) return false;
  if (startAfter === undefined || compareKeys(key, startAfter) > 0) return true;
  return isFolder && startAfter.startsWith(key);
}

async function readFolder(root: string, folder: string): Promise<WalkEntry[]> {
  const path = join(root, folder);
  const entries: WalkEntry[] = [];
  for (const entry of await readNames(path)) {
    const isFolder = entry.isSymbolicLink()
      ? await isFolderLink(join(path, entry.name))
      : entry.isDirectory();
    if (isFolder) entries.push({ key: `${folder}${entry.name}/`, isFolder });
    else if (isObjectName(entry.name)) entries.push({ key: `${folder}${entry.name}`, isFolder });
  }
  return entries;
}

async function readNames(path: string) {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isAbsent(error)) return [];
    throw fileError("list", path, error);
  }
}

async function isFolderLink(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isAbsent(error)) return false;
    throw fileError("list", path, error);
  }
}

async function fileInfoOrNull(root: string, key: string): Promise<ObjectInfo | null> {
  const path = join(root, key);
  try {
    const stats = await stat(path);
    if (!stats.isFile()) return null;
    const [modifiedMs, storedMs] = [Math.round(stats.mtimeMs), Math.round(stats.ctimeMs)];
    return { key, sizeBytes: stats.size, modifiedMs, storedMs };
  } catch (error) {
    if (isAbsent(error)) return null;
    throw fileError("list", path, error);
  }
}

/**
 * The directories right below `folder` (empty or ending in "/") that hold an object somewhere, without slash.
 */
export async function walkFolders(root: string, folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const { key, isFolder } of await readFolder(root, folder)) {
    if (!isFolder) continue;
    const objects = walkObjects(root, key, undefined);
    const first = await objects.next();
    await objects.return(undefined);
    if (!first.done) names.push(key.slice(folder.length, -1));
  }
  return names.sort(compareKeys);
}
