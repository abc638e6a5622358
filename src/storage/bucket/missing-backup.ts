/**
 * The error for a name without a backup: names that are like it, and what is stored in the destination.
 *
 * The names come from a walk of few folders, because a destination may hold thousands. A folder that the walk
 * does not reach counts as a database: most destinations have their databases directly below them.
 */
import { WalrustError } from "../../errors.ts";
import { editDistance } from "../../format/edit-distance.ts";
import { isLevelFolder } from "../../format/keys.ts";
import type { ObjectStore } from "../contract/store.ts";

/** The most names in the hint. */
const SHOWN_MAX = 10;
const SUGGESTED_MAX = 3;
/** Folders that are listed. */
const LISTINGS_MAX = 40;
/** Folders that are listed at once. */
const CONCURRENCY = 8;
/** Longer names are compared by their beginning. */
const COMPARED_LENGTH_MAX = 100;

/** The error for a name without a backup. @throws WalrustError with a storage code */
export async function missingBackupError(
  store: ObjectStore,
  name: string,
  signal?: AbortSignal,
): Promise<WalrustError> {
  const names = (await namesNear(store, name, signal)).filter((known) => known !== name);
  return new WalrustError("restore", `No backup of ${JSON.stringify(name)} in ${store.url}`, {
    hint: hintFor(name, names, store.url),
    context: { database: name },
  });
}

function hintFor(name: string, names: readonly string[], url: string): string {
  if (names.length === 0) return `Nothing is stored below ${url}: check -b, and the prefix in it`;
  const similar = similarNames(name, names);
  const question = similar.length === 0 ? "" : `Did you mean ${similar.join(" or ")}? `;
  const shown = names.toSorted().slice(0, SHOWN_MAX);
  const left = names.length - shown.length;
  return `${question}There are: ${shown.join(", ")}${left > 0 ? ` and ${left} more` : ""} (\`walrust list\`)`;
}

/** PURE: the names that a person may have meant, the most similar first. */
export function similarNames(name: string, names: readonly string[]): string[] {
  const limit = Math.max(2, Math.floor(stemOf(comparable(name)).length / 3));
  return names
    .map((known) => ({ known, distance: distanceOf(name, known) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || (a.known < b.known ? -1 : 1))
    .slice(0, SUGGESTED_MAX)
    .map(({ known }) => known);
}

/** The distance of two names: a path or a file name is near the database of its stem, or of its folder. */
function distanceOf(name: string, known: string): number {
  const [asked, there] = [comparable(name), comparable(known)];
  if (asked === there) return 0;
  if (stemOf(asked) === stemOf(there) || there.split("/").includes(asked)) return 1;
  return Math.min(editDistance(asked, there), editDistance(stemOf(asked), stemOf(there)) + 1);
}

function comparable(name: string): string {
  return name.toLowerCase().slice(0, COMPARED_LENGTH_MAX);
}

/** The last part of a name without an extension. */
function stemOf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1).replace(/\.(db|sqlite3?)$/, "");
}

/**
 * The names of the databases, as far as a walk of few folders finds them; it enters similar folders first.
 */
async function namesNear(store: ObjectStore, name: string, signal?: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  let waiting = await store.listFolders("", { signal });
  const parts = name.split("/");
  const score = (folder: string): number => {
    return Math.min(...parts.map((part) => distanceOf(part, folder.slice(folder.lastIndexOf("/") + 1))));
  };
  for (let listed = 0; waiting.length > 0 && listed < LISTINGS_MAX; ) {
    const scored = waiting.map((folder) => ({ folder, score: score(folder) }));
    waiting = scored.sort((a, b) => a.score - b.score).map(({ folder }) => folder);
    const batch = waiting.slice(0, CONCURRENCY);
    waiting = waiting.slice(CONCURRENCY);
    listed += batch.length;
    const contents = await Promise.all(batch.map((folder) => store.listFolders(`${folder}/`, { signal })));
    contents.forEach((folders, index) => {
      const parent = batch[index]!;
      const isLevel = (folder: string): boolean => isLevelFolder(store.layout, folder);
      if (folders.some(isLevel)) names.push(parent);
      for (const folder of folders) if (!isLevel(folder)) waiting.push(`${parent}/${folder}`);
    });
  }
  return [...names, ...waiting];
}
