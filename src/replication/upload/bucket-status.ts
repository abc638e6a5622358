/**
 * How the bucket stands to the local state: whether a history may be continued where the state says it is.
 *
 * It is asked when a database is attached. When the store cannot be asked then, captures go on, and it is
 * asked before the first upload: a machine that was set back to an old image would otherwise write beside
 * what a merge covers already, where no restore looks. A state that was copied has a say only where the
 * bucket confirms it: what the original has written since is nothing this one may go on from.
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

/** What of the bucket and the state is newer, or that they agree. */
export type BucketStatus = "agrees" | "ahead" | "behind" | "empty";

/**
 * How the bucket stands to the newest TXID it acknowledged and to the state's.
 * @param stateTxid asked after each listing: captures go on meanwhile
 */
export async function bucketStatus(
  store: ObjectStore,
  name: string,
  uploadedTxid: Txid,
  stateTxid: () => Txid,
): Promise<BucketStatus> {
  // Sorts before every key whose min TXID is the acknowledged one and after all smaller ones.
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
 * A listing. The first put makes a folder that does not exist. Until the store has acknowledged anything,
 * such a folder is not a disk that is not mounted.
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
 * Why what was captured while the bucket could not be looked at must not be uploaded after what is there, or
 * null.
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
 * Why the bucket does not confirm a copied state, or null: it has to end with just the object that the copy
 * knows as the newest one.
 * @param pending what the copy holds beyond that
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
