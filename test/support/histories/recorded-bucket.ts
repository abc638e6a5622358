/** A bucket with a history whose images were recorded as it grew, and copies of the bucket to damage. */

import type { ObjectMetadata, ObjectStore } from "../../../src/storage/contract/store.ts";
import { imageOf } from "../oracles/database-image.ts";
import { allKeys, keysAt, provenHistory, readObject } from "../oracles/history-oracle.ts";
import { waitUntil } from "../processes/sqlite-process.ts";
import { newDatabase, watchOne } from "../runs/watch-run.ts";
import { MemoryStore } from "../servers/memory-store.ts";

/** The history of a database in a store: its bytes and its time at each TXID. */
export interface RecordedBucket {
  readonly store: MemoryStore;
  readonly images: ReadonlyMap<number, Buffer>;
  readonly times: ReadonlyMap<number, number>;
}

/** Records a history: the first snapshot, then one TXID for each statement, each with its own time. */
export async function recordBucket(
  statements: readonly string[],
  layout: "s3" | "file" = "s3",
): Promise<RecordedBucket> {
  const { path, app } = await newDatabase();
  const store = new MemoryStore({ layout });
  const run = await watchOne(path, store);
  const images = new Map([[1, imageOf(path)]]);
  for (const statement of statements) {
    const lastMs = Date.now();
    await waitUntil(() => Date.now() > lastMs + 2);
    images.set(await run.commit(app, statement), imageOf(path));
  }
  await run.stop();
  await app.close();
  const times = new Map((await provenHistory(store, "app")).map(({ txid, timeMs }) => [txid, timeMs]));
  return { store, images, times };
}

/** A copy of an object, for putting it back changed. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
}

/** Copies a store into memory. */
export async function cloneStore(store: ObjectStore): Promise<MemoryStore> {
  const copy = new MemoryStore({ layout: store.layout, url: store.url });
  for (const key of await allKeys(store)) await putObject(copy, key, await readObject(store, key));
  return copy;
}

/** Puts an object under a key, replacing any object there. */
export async function putObject(store: ObjectStore, key: string, object: StoredObject): Promise<void> {
  await store.put(key, { kind: "bytes", bytes: object.bytes }, { metadata: object.metadata });
}

/** Copies a store with one object changed; the copy lacks the object if `change` returns null. */
export async function withChanged(
  store: ObjectStore,
  key: string,
  change: (object: StoredObject) => StoredObject | null,
): Promise<MemoryStore> {
  const copy = await cloneStore(store);
  const changed = change(await readObject(store, key));
  if (changed === null) await copy.delete([key]);
  else await putObject(copy, key, changed);
  return copy;
}

/** The keys of all LTX objects of a database. */
export async function ltxKeys(store: ObjectStore, name: string): Promise<string[]> {
  const levels = await Promise.all([9, 0, 1, 2, 3].map((level) => keysAt(store, name, level)));
  return levels.flat();
}
