/**
 * What a destination holds of each database: snapshots, increments, sizes, and which points are restorable.
 */
import { hasCode } from "../errors.ts";
import { SNAPSHOT_LEVEL } from "../format/keys.ts";
import {
  type LtxObject,
  listDatabases,
  listObjects,
  newestObjectOrNull,
  readHeader,
} from "../storage/catalog.ts";
import {
  detectForeignLayoutOrNull,
  type ForeignLayout,
  findForeignDatabases,
} from "../storage/foreign-layout.ts";
import type { ObjectStore } from "../storage/store.ts";
import { planRestore } from "./plan.ts";

/** One restorable end of a range. */
export interface InventoryPoint {
  readonly txid: number;
  readonly timeMs: number;
}

/** What is stored of one database. */
export interface InventoryEntry {
  readonly name: string;
  readonly snapshots: readonly { readonly txid: number; readonly timeMs: number; readonly bytes: number }[];
  /** Level-0 objects. */
  readonly increments: number;
  /** Of all objects. */
  readonly bytes: number;
  readonly oldest: InventoryPoint | null;
  readonly newest: InventoryPoint | null;
  /** Restorable TXIDs by level. */
  readonly restorable: Readonly<Record<string, number>>;
  /** What is wrong with the listing, such as a gap; empty when nothing is. */
  readonly problems: readonly string[];
  /** Set when what lies there is not ours to read; everything else is empty then. */
  readonly foreign: ForeignLayout | null;
}

/** Takes stock of one database, or of all. */
export async function takeInventory(
  store: ObjectStore,
  name: string | null,
  signal?: AbortSignal,
): Promise<InventoryEntry[]> {
  const names = name === null ? await listDatabases(store, signal) : [name];
  const entries: InventoryEntry[] = [];
  for (const database of names) {
    const objects = await listObjects(store, database, signal);
    const entry = await entryOrForeign(store, database, objects, signal);
    if (entry !== null) entries.push(entry);
  }
  if (entries.length > 0 || name !== null) return entries;
  return (await findForeignDatabases(store, signal)).map(foreignEntry);
}

/** The entry of a database; where there are no objects that we can read, what lies there instead, or null. */
async function entryOrForeign(
  store: ObjectStore,
  database: string,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<InventoryEntry | null> {
  let failure: unknown = null;
  if (objects.length > 0) {
    try {
      return await entryOf(store, database, objects, signal);
    } catch (error) {
      if (!hasCode(error, "corrupt")) throw error;
      failure = error;
    }
  }
  const foreign = await detectForeignLayoutOrNull(store, database, signal);
  if (foreign !== null) return foreignEntry(foreign);
  if (failure !== null) throw failure;
  return null;
}

function foreignEntry(foreign: ForeignLayout): InventoryEntry {
  return {
    name: foreign.database,
    snapshots: [],
    increments: 0,
    bytes: 0,
    oldest: null,
    newest: null,
    restorable: {},
    problems: [`${foreign.title}, which walrust cannot read`],
    foreign,
  };
}

async function entryOf(
  store: ObjectStore,
  name: string,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<InventoryEntry> {
  const bases = objects.filter((object) => object.minTxid === 1).sort((a, b) => a.maxTxid - b.maxTxid);
  const timeOf = async (object: LtxObject): Promise<number> =>
    (await readHeader(store, object.key, signal)).timestampMs;
  const snapshots: { txid: number; timeMs: number; bytes: number }[] = [];
  for (const base of bases) {
    if (base.level !== SNAPSHOT_LEVEL && base !== bases[0]) continue;
    snapshots.push({ txid: base.maxTxid, timeMs: await timeOf(base), bytes: base.sizeBytes });
  }
  const newest = newestObjectOrNull(objects);
  const restorable: Record<string, number> = {};
  const points = new Set<number>();
  for (const object of [...objects].sort((a, b) => a.level - b.level)) {
    if (points.has(object.maxTxid)) continue;
    points.add(object.maxTxid);
    restorable[object.level] = (restorable[object.level] ?? 0) + 1;
  }
  const [oldest] = snapshots;
  return {
    name,
    snapshots,
    increments: objects.filter((object) => object.level === 0).length,
    bytes: objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    oldest: oldest === undefined ? null : { txid: oldest.txid, timeMs: oldest.timeMs },
    newest: newest === null ? null : { txid: newest.maxTxid, timeMs: await timeOf(newest) },
    restorable,
    problems: problemsOf(objects),
    foreign: null,
  };
}

function problemsOf(objects: readonly LtxObject[]): string[] {
  const plan = planRestore(objects, null);
  if (plan.kind !== "gap") return [];
  if (plan.afterTxid === 0) return ["no snapshot to begin with"];
  return [`a gap after TXID ${plan.afterTxid}`];
}
