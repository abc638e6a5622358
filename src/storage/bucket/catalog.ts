/**
 * Lists the LTX objects of a database by level, and reads the few bytes of an object that hold its time and
 * checksums. The listing is the truth; the manifest is an index that may be missing or stale.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import {
  formatTxid,
  type KeyLayout,
  levelPrefix,
  type ObjectName,
  objectKey,
  parseObjectKey,
  SNAPSHOT_LEVEL,
} from "../../format/keys.ts";
import type { LtxHeader, LtxTrailer } from "../../format/ltx.ts";
import { decodeLtxHeader, decodeLtxTrailer, LTX_HEADER_SIZE, LTX_TRAILER_SIZE } from "../../format/ltx.ts";
import type { Txid } from "../../format/types.ts";
import type { ListOptions, ObjectInfo, ObjectStore } from "../contract/store.ts";

/** The levels of LTX objects: increments, three levels of compactions, snapshots. */
export const LEVELS = [0, 1, 2, 3, SNAPSHOT_LEVEL] as const;

/** One LTX object of a database. */
export interface LtxObject {
  readonly key: string;
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** When the object was stored, if that is not `modifiedMs`. */
  readonly storedMs?: number;
}

/**
 * The objects of one level, by ascending min TXID, after `startAfter` if given.
 * @throws WalrustError code "integrity" when the store names an object twice, or a storage code
 */
export async function listLevel(
  store: ObjectStore,
  database: string,
  level: number,
  options: Pick<ListOptions, "startAfter" | "isRemembered" | "signal"> = {},
): Promise<LtxObject[]> {
  const objects: LtxObject[] = [];
  for await (const info of store.list(levelPrefix(store.layout, database, level), options)) {
    // Objects of other databases may lie below a folder that is a level of this one.
    const name = parseObjectKey(store.layout, info.key);
    if (name === null || name.database !== database || name.level !== level) continue;
    if (objects.at(-1)?.key === info.key) throw listedTwice(store, info.key);
    objects.push(ltxObjectOf(store.layout, name, info));
  }
  return objects;
}

/** The `startAfter` of a listing that begins with the objects whose min TXID is `minTxid`. */
export function levelBegin(store: ObjectStore, database: string, level: number, minTxid: Txid): string {
  return `${levelPrefix(store.layout, database, level)}${formatTxid(minTxid)}`;
}

/** The LTX object that an entry of a listing names. */
export function ltxObjectOf(layout: KeyLayout, name: ObjectName, info: ObjectInfo): LtxObject {
  const { database, level, minTxid, maxTxid } = name;
  return {
    // A new string: a substring of the listing would keep the whole page in memory.
    key: objectKey(layout, database, level, minTxid, maxTxid),
    level,
    minTxid,
    maxTxid,
    sizeBytes: info.sizeBytes,
    modifiedMs: info.modifiedMs,
    ...(info.storedMs === undefined ? {} : { storedMs: info.storedMs }),
  };
}

/** The error about a key or folder that a listing names twice: one of the two stands for another name. */
export function listedTwice(store: ObjectStore, key: string): WalrustError {
  return new WalrustError("integrity", `The listing of ${store.url} names ${JSON.stringify(key)} twice`, {
    hint: "The store changes names in its listings, so that one of the two objects is hidden",
    context: { key },
  });
}

/** All LTX objects of a database, level by level, from a listing of the store. */
export function listObjects(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<LtxObject[]> {
  return allLevels(store, database, { signal });
}

/**
 * All LTX objects of a database, level by level, as this process knows them: without a request, if the store
 * remembers them. They show where work is due, and prove nothing.
 */
export function rememberedObjects(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<LtxObject[]> {
  return allLevels(store, database, { signal, isRemembered: true });
}

async function allLevels(
  store: ObjectStore,
  database: string,
  options: Pick<ListOptions, "isRemembered" | "signal">,
): Promise<LtxObject[]> {
  const levels = await Promise.all(LEVELS.map((level) => listLevel(store, database, level, options)));
  return levels.flat();
}

/** The newest object over all levels (highest max TXID, then lowest level), or null. */
export function newestObjectOrNull(objects: readonly LtxObject[]): LtxObject | null {
  let newest: LtxObject | null = null;
  for (const object of objects) {
    const isNewer = newest === null || object.maxTxid > newest.maxTxid;
    const isFiner = newest !== null && object.maxTxid === newest.maxTxid && object.level < newest.level;
    if (isNewer || isFiner) newest = object;
  }
  return newest;
}

/** Reads an object's LTX header with a ranged get. @throws WalrustError code "corrupt" or a storage code */
export async function readHeader(store: ObjectStore, key: string, signal?: AbortSignal): Promise<LtxHeader> {
  const bytes = await readRange(store, key, 0, LTX_HEADER_SIZE, signal);
  return withKey(key, () => decodeLtxHeader(bytes));
}

/** Reads an object's LTX trailer with a ranged get. @throws WalrustError code "corrupt" or a storage code */
export async function readTrailer(
  store: ObjectStore,
  object: LtxObject,
  header: LtxHeader,
  signal?: AbortSignal,
): Promise<LtxTrailer> {
  const offset = object.sizeBytes - LTX_TRAILER_SIZE;
  const bytes = await readRange(store, object.key, Math.max(0, offset), LTX_TRAILER_SIZE, signal);
  return withKey(object.key, () => decodeLtxTrailer(bytes, header));
}

async function readRange(
  store: ObjectStore,
  key: string,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const body = await store.get(key, {
    range: { offset, length },
    signal,
  });
  return body.bytes();
}

/** Runs a decoder, and names the object in its error. */
export function withKey<T>(key: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!hasCode(error, "corrupt")) throw error;
    throw new WalrustError("corrupt", `${key}: ${error.message}`, { context: { key }, cause: error });
  }
}

/** The key of an object. */
export function keyOf(
  store: ObjectStore,
  database: string,
  object: { level: number; minTxid: Txid; maxTxid: Txid },
): string {
  return objectKey(store.layout, database, object.level, object.minTxid, object.maxTxid);
}
