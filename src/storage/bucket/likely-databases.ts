/**
 * Finds the names of databases in a destination quickly, for the completion of a shell: from folders alone,
 * without listing a single object, and only below the part of the name that is typed.
 *
 * A folder that holds a level counts as a database, even if the level is empty or another tool wrote it. A
 * folder that could not be listed in time counts as one as well, because most destinations hold databases
 * directly below their root. `walkDatabases` is exact.
 */
import { isLevelFolder } from "../../format/keys.ts";
import { keyProblemOrNull } from "../contract/object-rules.ts";
import type { ObjectStore } from "../contract/store.ts";

/** Folders that are listed at once. */
const CONCURRENCY = 32;
/** The most names that a list of completions is useful for. */
const NAMES_MAX = 10_000;

/**
 * The names that begin with `prefix`, sorted, as far as they are known when `signal` aborts.
 * @throws WalrustError with a storage code when the folder that `prefix` ends in cannot be listed
 */
export async function likelyDatabases(
  store: Pick<ObjectStore, "layout" | "listFolders">,
  prefix: string,
  signal: AbortSignal,
): Promise<string[]> {
  const parent = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const isName = (folder: string): boolean =>
    keyProblemOrNull(folder) === null && (parent === "" || !isLevelFolder(store.layout, folder));
  const folders = await store.listFolders(parent, { signal });
  let waiting = folders.filter(isName).map((folder) => parent + folder);
  waiting = waiting.filter((name) => name.startsWith(prefix));
  const names: string[] = [];
  while (waiting.length > 0 && !signal.aborted && names.length < NAMES_MAX) {
    const batch = waiting.slice(0, CONCURRENCY);
    waiting = waiting.slice(CONCURRENCY);
    const listings = await Promise.all(batch.map((name) => foldersOrNull(store, name, signal)));
    for (const [index, inside] of listings.entries()) {
      const name = batch[index]!;
      const isLevel = (folder: string): boolean => isLevelFolder(store.layout, folder);
      if (inside === null || inside.some(isLevel)) names.push(name);
      const below = (inside ?? []).filter((folder) => !isLevel(folder) && keyProblemOrNull(folder) === null);
      waiting.push(...below.map((folder) => `${name}/${folder}`));
    }
  }
  return [...new Set([...names, ...waiting])].sort().slice(0, NAMES_MAX);
}

/** The folders below a name, or null when they cannot be listed in time. */
async function foldersOrNull(
  store: Pick<ObjectStore, "listFolders">,
  name: string,
  signal: AbortSignal,
): Promise<string[] | null> {
  try {
    return await store.listFolders(`${name}/`, { signal });
  } catch {
    // The caller takes the name as it is: a completion reports no failure.
    return null;
  }
}
