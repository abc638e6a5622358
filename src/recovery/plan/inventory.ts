/**
 * Takes the inventory of a destination: snapshots, increments, sizes and restorable points of each database.
 *
 * When a part of one database cannot be read, that is a problem of this database; the others are listed all
 * the same.
 */
import { errorMessage, hasCode, type WalrustError } from "../../errors.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { type LtxObject, listObjects, newestObjectOrNull, readHeader } from "../../storage/bucket/catalog.ts";
import { walkDatabases } from "../../storage/bucket/database-walk.ts";
import { concernsOneDatabase } from "../../storage/bucket/error-scope.ts";
import {
  detectForeignLayoutOrNull,
  type ForeignLayout,
  findForeignDatabases,
} from "../../storage/bucket/foreign-layout.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { planRestore } from "./restore-plan.ts";

/** The oldest or the newest restorable point. */
export interface InventoryPoint {
  readonly txid: number;
  /** Null when the object cannot be read. */
  readonly timeMs: number | null;
}

/** A snapshot. */
export interface InventorySnapshot extends InventoryPoint {
  readonly bytes: number;
}

/** The stored objects of one database. */
export interface InventoryEntry {
  readonly name: string;
  readonly snapshots: readonly InventorySnapshot[];
  /** The number of level-0 objects. */
  readonly increments: number;
  /** The size of all objects. */
  readonly bytes: number;
  readonly oldest: InventoryPoint | null;
  readonly newest: InventoryPoint | null;
  /** Restorable TXIDs by level. */
  readonly restorable: Readonly<Record<string, number>>;
  /** Defects of the listing, such as a gap. */
  readonly problems: readonly string[];
  /** Set when another tool wrote the folder; all other fields are empty then. */
  readonly foreign: ForeignLayout | null;
}

/**
 * Takes the inventory of one database, or of all.
 * @throws WalrustError with a storage code when the destination cannot be read
 */
export async function takeInventory(
  store: ObjectStore,
  name: string | null,
  signal?: AbortSignal,
): Promise<InventoryEntry[]> {
  if (name !== null) {
    const objects = await listObjects(store, name, signal);
    const entry = await entryOrForeign(store, name, objects, signal);
    return entry === null ? [] : [entry];
  }
  const entries: InventoryEntry[] = [];
  for await (const { name: database, objects, hasOthers, problem } of walkDatabases(store, signal)) {
    if (problem !== null) entries.push(problemEntry(database, objects, problem));
    else if (objects.length > 0 || hasOthers) {
      const entry = await entryOrForeign(store, database, objects, signal);
      if (entry !== null) entries.push(entry);
    }
  }
  if (entries.length > 0) return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return (await findForeignDatabases(store, signal)).map(foreignEntry);
}

/** The entry of a database, or of another tool's folder in its place, or null when neither is there. */
async function entryOrForeign(
  store: ObjectStore,
  database: string,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<InventoryEntry | null> {
  try {
    const failures: WalrustError[] = [];
    const entry = objects.length === 0 ? null : await entryOf(store, database, objects, failures, signal);
    const isDoubtful = entry === null || failures.some((failure) => hasCode(failure, "corrupt"));
    const foreign = isDoubtful ? await detectForeignLayoutOrNull(store, database, signal) : null;
    return foreign === null ? entry : foreignEntry(foreign);
  } catch (error) {
    if (!concernsOneDatabase(error)) throw error;
    return problemEntry(database, objects, error);
  }
}

/** The entry of a database whose objects cannot be read: only its listing counts. */
function problemEntry(name: string, objects: readonly LtxObject[], problem: WalrustError): InventoryEntry {
  return { ...listedEntry(name, objects), problems: [errorMessage(problem)] };
}

function foreignEntry(foreign: ForeignLayout): InventoryEntry {
  return {
    ...listedEntry(foreign.database, []),
    problems: [`${foreign.title}, which walrust cannot read`],
    foreign,
  };
}

/** @param failures takes the errors of objects that cannot be read */
async function entryOf(
  store: ObjectStore,
  name: string,
  objects: readonly LtxObject[],
  failures: WalrustError[],
  signal?: AbortSignal,
): Promise<InventoryEntry> {
  const timeOf = async (object: LtxObject): Promise<number | null> => {
    try {
      return (await readHeader(store, object.key, signal)).timestampMs;
    } catch (error) {
      if (!concernsOneDatabase(error)) throw error;
      failures.push(error);
      return null;
    }
  };
  const bases = objects.filter((object) => object.minTxid === 1).sort((a, b) => a.maxTxid - b.maxTxid);
  const snapshots: InventorySnapshot[] = [];
  for (const base of bases) {
    if (base.level !== SNAPSHOT_LEVEL && base !== bases[0]) continue;
    snapshots.push({ txid: base.maxTxid, timeMs: await timeOf(base), bytes: base.sizeBytes });
  }
  const newest = newestObjectOrNull(objects);
  const [oldest] = snapshots;
  return {
    ...listedEntry(name, objects),
    snapshots,
    oldest: oldest === undefined ? null : { txid: oldest.txid, timeMs: oldest.timeMs },
    newest: newest === null ? null : { txid: newest.maxTxid, timeMs: await timeOf(newest) },
    problems: [...problemsOf(objects), ...new Set(failures.map(errorMessage))],
  };
}

/** The part of an entry that follows from the listing alone. */
function listedEntry(name: string, objects: readonly LtxObject[]): InventoryEntry {
  const restorable: Record<string, number> = {};
  const points = new Set<number>();
  for (const object of [...objects].sort((a, b) => a.level - b.level)) {
    if (points.has(object.maxTxid)) continue;
    points.add(object.maxTxid);
    restorable[object.level] = (restorable[object.level] ?? 0) + 1;
  }
  return {
    name,
    snapshots: [],
    increments: objects.filter((object) => object.level === 0).length,
    bytes: objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    oldest: null,
    newest: null,
    restorable,
    problems: [],
    foreign: null,
  };
}

function problemsOf(objects: readonly LtxObject[]): string[] {
  const plan = planRestore(objects, null);
  if (plan.kind !== "gap") return [];
  if (plan.afterTxid === 0) return ["no snapshot to begin with"];
  return [`a gap after TXID ${plan.afterTxid}`];
}
