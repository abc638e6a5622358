/**
 * Finds the databases of a destination from its folders.
 *
 * A database may have any name that a key can have, such as `0001`, `ltx` or `manifest.json`, and databases
 * may lie below one another. So the name alone makes no folder a level: the walk lists everything below a
 * folder that could be a level, and each LTX key there names its database. It enters all other folders.
 *
 * A database that cannot be read comes with its problem; only a destination that cannot be read at all
 * throws.
 */
import { WalrustError } from "../../errors.ts";
import { isLevelFolder, type ObjectName, parseObjectKey } from "../../format/keys.ts";
import { keyProblemOrNull } from "../contract/object-rules.ts";
import type { ObjectStore } from "../contract/store.ts";
import { LEVELS, type LtxObject, listedTwice, ltxObjectOf } from "./catalog.ts";
import { concernsOneDatabase } from "./error-scope.ts";

/** The depth of the walk; a folder destination is no deeper. */
const DEPTH_MAX = 64;
/** A destination with more folders is no destination of backups, or goes in circles. */
const FOLDERS_MAX = 500_000;
/** Folders that are listed at once. */
const CONCURRENCY = 8;

/** A folder below a destination that is or may be a database. */
export interface WalkedDatabase {
  readonly name: string;
  /** Its LTX objects, as `listObjects` gives them. */
  readonly objects: readonly LtxObject[];
  /** Whether its level folders hold anything but LTX objects of ours: perhaps a foreign backup. */
  readonly hasOthers: boolean;
  /** Why its content cannot be listed, or null. */
  readonly problem: WalrustError | null;
}

/** A folder that is to be listed. */
interface PendingFolder {
  readonly name: string;
  readonly depth: number;
  /** A problem with its name, found in the listing of its parent, or null. */
  readonly problem: WalrustError | null;
}

/** The content of one folder. */
interface FolderContent {
  readonly databases: readonly WalkedDatabase[];
  readonly folders: readonly PendingFolder[];
}

/**
 * Walks the destination, and yields each folder that it enters as a database, most of them empty. Each name
 * comes once, in no order.
 * @throws WalrustError with a storage code when the destination cannot be read
 */
export async function* walkDatabases(
  store: ObjectStore,
  signal?: AbortSignal,
): AsyncGenerator<WalkedDatabase> {
  let waiting: PendingFolder[] = [{ name: "", depth: 0, problem: null }];
  for (let folderCount = 0; waiting.length > 0; ) {
    const batch = waiting.slice(0, CONCURRENCY);
    waiting = waiting.slice(CONCURRENCY);
    const results = await Promise.all(batch.map((folder) => readFolder(store, folder, signal)));
    for (const { databases, folders } of results) {
      yield* databases.filter(({ name }) => name !== "");
      waiting.push(...folders);
      folderCount += folders.length;
    }
    if (folderCount > FOLDERS_MAX) {
      throw new WalrustError("storage", `Cannot list ${store.url}: it has more than ${FOLDERS_MAX} folders`, {
        hint: "Give a destination that holds only backups",
      });
    }
  }
}

/** The names of all databases with LTX objects, sorted. @throws as `walkDatabases` */
export async function listDatabases(store: ObjectStore, signal?: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, objects } of walkDatabases(store, signal))
    if (objects.length > 0) names.push(name);
  return names.sort();
}

async function readFolder(
  store: ObjectStore,
  { name, depth, problem }: PendingFolder,
  signal: AbortSignal | undefined,
): Promise<FolderContent> {
  const prefix = name === "" ? "" : `${name}/`;
  const found = new Map<string, Found>();
  const own = foundOf(found, name);
  own.problem = problem;
  const inside: PendingFolder[] = [];
  try {
    const folders = await store.listFolders(prefix, { signal });
    const twice = repeated(folders);
    for (const folder of new Set(folders)) {
      // A folder whose name can be no key holds no backup of ours and hides none.
      if (keyProblemOrNull(folder) !== null) continue;
      const path = prefix + folder;
      const doubt = twice.has(folder) ? listedTwice(store, `${path}/`) : null;
      // Directly below the destination there are only names.
      if (name !== "" && isLevelFolder(store.layout, folder)) {
        own.problem ??= doubt;
        await listBelow(store, name, `${path}/`, found, signal);
      } else if (depth < DEPTH_MAX) inside.push({ name: path, depth: depth + 1, problem: doubt });
    }
  } catch (error) {
    // The destination itself has to be readable.
    if (name === "" || !concernsOneDatabase(error)) throw error;
    own.problem = error;
  }
  return { databases: [...found].map(([database, one]) => databaseOf(database, one)), folders: inside };
}

/** The content of one database, as far as it is listed. */
interface Found {
  readonly byLevel: Map<number, LtxObject[]>;
  hasOthers: boolean;
  problem: WalrustError | null;
}

function foundOf(found: Map<string, Found>, name: string): Found {
  const known = found.get(name);
  if (known !== undefined) return known;
  const fresh: Found = { byLevel: new Map(), hasOthers: false, problem: null };
  found.set(name, fresh);
  return fresh;
}

/** Assigns every key below a folder that may be a level of `name` to its database. */
async function listBelow(
  store: ObjectStore,
  name: string,
  prefix: string,
  found: Map<string, Found>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let last = "";
  for await (const info of store.list(prefix, { signal })) {
    const owner = ownerOf(store, name, prefix, info.key);
    if (owner === null || keyProblemOrNull(info.key) !== null) continue;
    const one = foundOf(found, owner.name);
    if (info.key === last) one.problem = listedTwice(store, info.key);
    else if (owner.object === null) one.hasOthers ||= owner.name === name;
    else add(one, ltxObjectOf(store.layout, owner.object, info));
    last = info.key;
  }
}

function add({ byLevel }: Found, object: LtxObject): void {
  const objects = byLevel.get(object.level);
  if (objects === undefined) byLevel.set(object.level, [object]);
  else objects.push(object);
}

/** The database of a key, or null for a key in no level folder of one. */
function ownerOf(
  store: ObjectStore,
  name: string,
  prefix: string,
  key: string,
): { readonly name: string; readonly object: ObjectName | null } | null {
  const object = parseObjectKey(store.layout, key);
  if (object !== null) return { name: object.database, object };
  if (key.endsWith("/manifest.json")) return { name: key.slice(0, -"/manifest.json".length), object: null };
  const depth = store.layout === "file" ? 2 : 1;
  const isOwn = key.slice(prefix.length).split("/").length === depth;
  return isOwn ? { name, object: null } : null;
}

function databaseOf(name: string, { byLevel, hasOthers, problem }: Found): WalkedDatabase {
  const objects = LEVELS.flatMap((level) => byLevel.get(level) ?? []);
  return { name, objects, hasOthers, problem };
}

function repeated(names: readonly string[]): Set<string> {
  const seen = new Set<string>();
  return new Set(names.filter((name) => seen.size === seen.add(name).size));
}
