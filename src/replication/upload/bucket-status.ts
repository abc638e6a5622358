/**
 * Compares the bucket with the local state: may the history continue where the state ends?
 *
 * The attach compares first. If the store does not answer, captures continue, and the first upload compares.
 * A machine that was set back to an old image would otherwise upload beside TXIDs that a merge already
 * covers, where no restore finds them. A copied state counts only if the bucket confirms it: this database
 * must not continue from objects that the original has written since.
 */
import { hasCode } from "../../errors.ts";
import { CHAIN_ZERO, hex, isChainLink } from "../../format/chain.ts";
import { formatTxid, levelPrefix } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { type SpoolFile, uploadedTxidOf } from "../../local/spool.ts";
import type { DatabaseState } from "../../local/state.ts";
import { type LtxObject, listLevel, listObjects, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Captured } from "../capture/live-database.ts";

/** How the bucket compares with the state: "ahead" means that the bucket is newer. */
export type BucketStatus = "agrees" | "ahead" | "behind" | "empty";

/**
 * Compares the bucket with the newest acknowledged TXID and the TXID of the state.
 * @param stateTxid called after each listing, because captures continue meanwhile
 */
export async function bucketStatus(
  store: ObjectStore,
  name: string,
  uploadedTxid: Txid,
  stateTxid: () => Txid,
): Promise<BucketStatus> {
  // Sorts before every key whose min TXID is the acknowledged one, and after all keys with a smaller one.
  const startAfter = `${levelPrefix(store.layout, name, 0)}${formatTxid(uploadedTxid)}`;
  const increments = await orNothing(store, uploadedTxid, () => listLevel(store, name, 0, { startAfter }));
  const newest = newestObjectOrNull(increments);
  if (newest !== null && newest.maxTxid > stateTxid()) return "ahead";
  if (newest !== null && newest.maxTxid >= uploadedTxid && uploadedTxid > 1) return "agrees";
  const all = await orNothing(store, uploadedTxid, () => listObjects(store, name));
  const newestOfAll = newestObjectOrNull(all);
  if (newestOfAll === null) return "empty";
  if (newestOfAll.maxTxid > stateTxid()) return "ahead";
  return newestOfAll.maxTxid >= uploadedTxid ? "agrees" : "behind";
}

/**
 * Lists objects. A missing destination folder counts as empty until something is acknowledged there, because
 * the first put creates it. After that, the folder is on a disk that is not mounted.
 */
async function orNothing(
  store: ObjectStore,
  uploadedTxid: Txid,
  list: () => Promise<LtxObject[]>,
): Promise<LtxObject[]> {
  try {
    return await list();
  } catch (error) {
    const isToBeMade = store.layout === "file" && uploadedTxid === 0 && hasCode(error, "missing-bucket");
    if (isToBeMade) return [];
    throw error;
  }
}

/**
 * Why captures that were made while the bucket did not answer must not be uploaded, or null.
 */
export async function contradictionOrNull(live: Captured, store: ObjectStore): Promise<string | null> {
  const { state, name, pending } = live;
  if (state === null) return null;
  if (live.isUnconfirmedCopy === true) return copyProblemOrNull(live.name, state, pending, store);
  const uploadedTxid = uploadedTxidOf(state.txid, pending);
  const status = await bucketStatus(store, name, uploadedTxid, () => (live.state ?? state).txid);
  if (status === "ahead") return "the bucket is ahead of the local state";
  if (status === "behind") return "the bucket lacks objects that were acknowledged";
  const isLost = status === "empty" && uploadedTxid > 0;
  return isLost ? "the bucket has lost every object of this database" : null;
}

/**
 * Why the bucket does not confirm a copied state, or null. The bucket has to end with the very object that
 * the copy knows as the newest acknowledged one.
 * @param pending captures of the copy beyond that object
 */
export async function copyProblemOrNull(
  name: string,
  state: DatabaseState,
  pending: readonly SpoolFile[],
  store: ObjectStore,
): Promise<string | null> {
  const first = pending.find(isChainLink);
  const uploadedTxid = uploadedTxidOf(state.txid, pending);
  const all = await orNothing(store, uploadedTxid, () => listObjects(store, name));
  const newest = newestObjectOrNull(all);
  if (newest === null) return uploadedTxid === 0 ? null : "the bucket has lost every object of this database";
  if (newest.maxTxid > uploadedTxid) return "the bucket is ahead of the local state";
  if (newest.maxTxid < uploadedTxid) return "the bucket lacks objects that were acknowledged";
  const { chain } = decodeMetadata(newest.key, (await store.head(newest.key)).metadata);
  const known = first === undefined ? state.chain : hex(first.previousChain);
  return (chain ?? hex(CHAIN_ZERO)) === known ? null : "the bucket holds another history";
}
