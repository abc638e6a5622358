/**
 * Finds the databases of a destination from its folders.
 *
 * A name may be anything that a key can be, `0001`, `ltx` and `manifest.json` among them, and databases may
 * lie below one another. So no folder is taken for a level because of its name: everything below a folder
 * that could be one is listed, and each LTX key there says itself which database it belongs to. All other
 * folders are walked.
 *
 * A fault of one name comes with that name; only a destination that cannot be read at all throws.
 */
import { WalrustError } from "../../errors.ts";
import { isLevelFolder, type ObjectName, parseObjectKey } from "../../format/keys.ts";
import { keyProblemOrNull } from "../contract/object-rules.ts";
import type { ObjectStore } from "../contract/store.ts";
import { LEVELS, type LtxObject, listedTwice, ltxObjectOf } from "./catalog.ts";
import { concernsOneDatabase } from "./error-scope.ts";

/** How deep folders are walked: as deep as a folder destination is. */
const DEPTH_MAX = 64;
/** A destination with more folders is no destination, or goes in circles. */
const FOLDERS_MAX = 500_000;
/** Folders that are looked into at once. */
const CONCURRENCY = 8;

/** Something below a destination that is or may be a database. */
export interface WalkedDatabase {
  readonly name: string;
  /** Its LTX objects, as `listObjects` gives them; none: see the others. */
  readonly objects: readonly LtxObject[];
  /** Whether something lies in its level folders that is no LTX object of ours: perhaps a foreign backup. */
  readonly hasOthers: boolean;
  /** Why it cannot be said what it holds, or null. */
  readonly problem: WalrustError | null;
}

/** A folder whose turn comes. */
interface Turn {
  readonly name: string;
  readonly depth: number;
  /** What is known to be wrong with it already, or null. */
  readonly problem: WalrustError | null;
}

/** What one turn found. */
interface TurnResult {
  readonly databases: readonly WalkedDatabase[];
  readonly turns: readonly Turn[];
}

/**
 * Walks the destination, and gives each folder that it walks as a database, most of them with nothing in it.
 * Each name comes once, in no order.
 * @throws WalrustError with a storage code when the destination cannot be read
 */
export async function* walkDatabases(
  store: ObjectStore,
  signal?: AbortSignal,
): AsyncGenerator<WalkedDatabase> {
  let waiting: Turn[] = [{ name: "", depth: 0, problem: null }];
  for (let folderCount = 0; waiting.length > 0; ) {
    const batch = waiting.slice(0, CONCURRENCY);
    waiting = waiting.slice(CONCURRENCY);
    const results = await Promise.all(batch.map((turn) => takeTurn(store, turn, signal)));
    for (const { databases, turns } of results) {
      yield* databases.filter(({ name }) => name !== "");
      waiting.push(...turns);
      folderCount += turns.length;
    }
    if (folderCount > FOLDERS_MAX) {
      throw new WalrustError("storage", `Cannot list ${store.url}: it has more than ${FOLDERS_MAX} folders`, {
        hint: "Give a destination that holds nothing but backups",
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

async function takeTurn(
  store: ObjectStore,
  { name, depth, problem }: Turn,
  signal: AbortSignal | undefined,
): Promise<TurnResult> {
  const prefix = name === "" ? "" : `${name}/`;
  const found = new Map<string, Found>();
  const own = foundOf(found, name);
  own.problem = problem;
  const turns: Turn[] = [];
  try {
    const folders = await store.listFolders(prefix, signal === undefined ? {} : { signal });
    const twice = repeated(folders);
    for (const folder of new Set(folders)) {
      // A folder whose name can be no key holds nobody's backup and hides no other one.
      if (keyProblemOrNull(folder) !== null) continue;
      const path = prefix + folder;
      const doubt = twice.has(folder) ? listedTwice(store, `${path}/`) : null;
      // Directly below the destination there are only names.
      if (name !== "" && isLevelFolder(store.layout, folder)) {
        own.problem ??= doubt;
        await listBelow(store, name, `${path}/`, found, signal);
      } else if (depth < DEPTH_MAX) turns.push({ name: path, depth: depth + 1, problem: doubt });
    }
  } catch (error) {
    // The destination itself has to be readable.
    if (name === "" || !concernsOneDatabase(error)) throw error;
    own.problem = error;
  }
  return { databases: [...found].map(([database, one]) => databaseOf(database, one)), turns };
}

/** What is known of one name so far. */
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

/** Sorts every key below a folder that may be a level of `name` to the database it belongs to. */
async function listBelow(
  store: ObjectStore,
  name: string,
  prefix: string,
  found: Map<string, Found>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let last = "";
  for await (const info of store.list(prefix, signal === undefined ? {} : { signal })) {
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

/** Whose key it is, or null: nobody's that a listing shows. */
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
