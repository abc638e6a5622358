/** The verdict of `checkObject` on an object of a store, as compaction requests it. */
import { parseObjectKey } from "../../src/format/keys.ts";
import { checkListed } from "../../src/recovery/object/check-object.ts";
import type { LtxObject } from "../../src/storage/bucket/catalog.ts";
import type { ObjectStore } from "../../src/storage/contract/store.ts";

/** An object as a listing gives it. */
export async function listedObject(store: ObjectStore, key: string): Promise<LtxObject> {
  const { sizeBytes, modifiedMs } = await store.head(key);
  const { level, minTxid, maxTxid } = parseObjectKey(store.layout, key)!;
  return { key, level, minTxid, maxTxid, sizeBytes, modifiedMs };
}

/** Reads an object and judges it. @throws WalrustError for the first finding */
export async function assertSoundObject(store: ObjectStore, key: string): Promise<void> {
  const { findings } = await checkListed(store, await listedObject(store, key), {}, undefined);
  if (findings[0] !== undefined) throw findings[0].error;
}
