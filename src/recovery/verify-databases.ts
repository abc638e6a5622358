/**
 * What `verify --all` goes through: every database that has objects, and every one that has a manifest and
 * nothing else. The latter has lost all its objects, which no listing of objects shows.
 */
import { isLevelFolder } from "../storage/catalog.ts";
import { readManifest } from "../storage/manifest.ts";
import { keyProblemOrNull } from "../storage/object-rules.ts";
import type { ObjectStore } from "../storage/store.ts";

/** How deep database names may nest below a destination. */
const NAME_DEPTH_MAX = 8;

/** The names of all databases to verify, sorted. @throws WalrustError with a storage code */
export async function listVerifiable(store: ObjectStore, signal: AbortSignal | undefined): Promise<string[]> {
  const options = signal === undefined ? {} : { signal };
  const names: string[] = [];
  const walk = async (name: string, depth: number): Promise<void> => {
    const found = await store.listFolders(name === "" ? "" : `${name}/`, options);
    // What can be no key is nobody's backup: it hides no other one.
    const folders = found.filter((folder) => keyProblemOrNull(folder) === null);
    const below = folders.filter((folder) => !isLevelFolder(store.layout, folder));
    if (name !== "" && (below.length < folders.length || (await hasManifest(store, name, signal)))) {
      names.push(name);
    }
    if (depth === NAME_DEPTH_MAX) return;
    for (const folder of below) await walk(name === "" ? folder : `${name}/${folder}`, depth + 1);
  };
  await walk("", 0);
  return names.sort();
}

async function hasManifest(
  store: ObjectStore,
  name: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  return (await readManifest(store, name, signal)).kind !== "none";
}
