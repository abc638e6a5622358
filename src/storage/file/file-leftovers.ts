/**
 * Finds the leftovers in a folder of a file:// destination: temporary files of puts that never ended (ours
 * and Litestream's), sidecars whose object never appeared, and special files. None of them is an object, so
 * no listing shows them; `verify` does.
 *
 * The removal checks again under the folder's lock: a sidecar whose object has appeared stays.
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Leftover } from "../contract/store.ts";
import { fileError, isAbsent, removeFile } from "./file-calls.ts";
import { SIDECAR_SUFFIX } from "./file-sidecar.ts";
import { TEMPORARY_SUFFIX } from "./file-walk.ts";

/** The most leftovers of one folder that are reported at a time. */
const LEFTOVERS_MAX = 1000;

/**
 * The leftovers directly in `folder`, a key prefix that is empty or ends in "/". @throws WalrustError
 * "storage"
 */
export async function findLeftovers(root: string, folder: string): Promise<Leftover[]> {
  const path = join(root, folder);
  try {
    const entries = await readdir(path, { withFileTypes: true });
    const present = new Set(entries.map(({ name }) => name));
    const leftovers: Leftover[] = [];
    for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
      const { name } = entry;
      const isOrdinary =
        entry.isDirectory() || (entry.isFile() && leftoverKindOrNull(name, present) === null);
      if (isOrdinary || leftovers.length === LEFTOVERS_MAX) continue;
      const stats = await lstat(join(path, name)).catch(() => null);
      if (stats === null || stats.isDirectory()) continue;
      const kind = stats.isFile() ? leftoverKindOrNull(name, present) : "stranger";
      // The change time: the modification time of a temporary file may be that of a capture.
      if (kind !== null) leftovers.push({ key: folder + name, kind, changedMs: stats.ctimeMs });
    }
    return leftovers;
  } catch (error) {
    if (isAbsent(error)) return [];
    throw fileError("list", path, error);
  }
}

function leftoverKindOrNull(name: string, present: ReadonlySet<string>): Leftover["kind"] | null {
  if (name.endsWith(TEMPORARY_SUFFIX)) return "temporary";
  if (!name.endsWith(SIDECAR_SUFFIX)) return null;
  return present.has(name.slice(0, -SIDECAR_SUFFIX.length)) ? null : "sidecar";
}

/**
 * Removes the file at `path` if it is still a leftover. Call while holding the lock of its folder.
 * @returns whether the file was removed
 */
export async function removeLeftover(path: string): Promise<boolean> {
  const isSidecar = path.endsWith(SIDECAR_SUFFIX);
  if (!isSidecar && !path.endsWith(TEMPORARY_SUFFIX)) return false;
  if (isSidecar && (await isThere(path.slice(0, -SIDECAR_SUFFIX.length)))) return false;
  await removeFile(path);
  return true;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}
