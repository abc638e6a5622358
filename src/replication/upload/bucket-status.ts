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

const OTHER_HISTORY = "the bucket holds another history";

/** How the bucket compares with the state: "ahead" means that the bucket holds a later state's objects. */
export type BucketStatus = "agrees" | "ahead" | "behind" | "empty";

/** The local history at one moment: the TXID of its state, and the files that wait. */
export interface LocalHistory {
  readonly txid: Txid;
  readonly pending: readonly SpoolFile[];
}

/**
 * Compares the bucket with the newest acknowledged TXID and the local history.
 * @param local called after each listing, because captures continue meanwhile
 */
export async function bucketStatus(
  store: ObjectStore,
  name: string,
  uploadedTxid: Txid,
  local: () => LocalHistory,
): Promise<BucketStatus> {
  // Sorts before every key whose min TXID is the acknowledged one, and after all keys with a smaller one.
  const startAfter = `${levelPrefix(store.layout, name, 0)}${formatTxid(uploadedTxid)}`;
  const increments = await orNothing(store, uploadedTxid, () => listLevel(store, name, 0, { startAfter }));
  const newest = newestObjectOrNull(increments);
  if (newest !== null && newest.maxTxid > local().txid) return "ahead";
  if (hasUnknownLink(increments, uploadedTxid, local().pending)) return "ahead";
  if (newest !== null && newest.maxTxid >= uploadedTxid && uploadedTxid > 1) return "agrees";
  const all = await orNothing(store, uploadedTxid, () => listObjects(store, name));
  const newestOfAll = newestObjectOrNull(all);
  if (newestOfAll === null) return "empty";
  if (newestOfAll.maxTxid > local().txid) return "ahead";
  return newestOfAll.maxTxid >= uploadedTxid ? "agrees" : "behind";
}

/**
 * Whether an object beyond the acknowledged TXID is none of the files that wait. A power cut may take a merge
 * back whose object is in the bucket: its sources beside that object would be a second history.
 */
function hasUnknownLink(
  increments: readonly LtxObject[],
  uploadedTxid: Txid,
  pending: readonly SpoolFile[],
): boolean {
  const rangeOf = ({ minTxid, maxTxid }: Pick<LtxObject, "minTxid" | "maxTxid">) => `${minTxid}-${maxTxid}`;
  const known = new Set(pending.map(rangeOf));
  return increments.some((object) => object.maxTxid > uploadedTxid && !known.has(rangeOf(object)));
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
  const local = (): LocalHistory => ({ txid: (live.state ?? state).txid, pending: live.pending });
  const status = await bucketStatus(store, name, uploadedTxid, local);
  if (status === "ahead") return "the bucket is ahead of the local state";
  if (status === "behind") return "the bucket lacks objects that were acknowledged";
  if (status === "empty" && uploadedTxid > 0) return "the bucket has lost every object of this database";
  return live.revivedTxid === undefined ? null : otherHistoryOrNull(live, state, uploadedTxid, store);
}

/**
 * After a power cut: why the bucket's newest object is not one that the state follows or that waits once
 * more, or null. The newest slot of the state may be torn: an older one has the chain from before a merge.
 */
async function otherHistoryOrNull(
  { name, pending }: Captured,
  state: DatabaseState,
  uploadedTxid: Txid,
  store: ObjectStore,
): Promise<string | null> {
  const newest = newestObjectOrNull(await listObjects(store, name));
  if (newest === null || newest.maxTxid < uploadedTxid) return null;
  const following = pending.filter((file) => isChainLink(file) && file.maxTxid > newest.maxTxid);
  return (await isFollowed(newest, state, following, store)) ? null : OTHER_HISTORY;
}

/** Whether the state, or the first capture that waits, follows the chain value of an object. */
async function isFollowed(
  { key }: LtxObject,
  state: DatabaseState,
  pending: readonly SpoolFile[],
  store: ObjectStore,
): Promise<boolean> {
  const first = pending.find(isChainLink);
  const { chain } = decodeMetadata(key, (await store.head(key)).metadata);
  return (chain ?? hex(CHAIN_ZERO)) === (first === undefined ? state.chain : hex(first.previousChain));
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
  const uploadedTxid = uploadedTxidOf(state.txid, pending);
  const all = await orNothing(store, uploadedTxid, () => listObjects(store, name));
  const newest = newestObjectOrNull(all);
  if (newest === null) return uploadedTxid === 0 ? null : "the bucket has lost every object of this database";
  if (newest.maxTxid > uploadedTxid) return "the bucket is ahead of the local state";
  if (newest.maxTxid < uploadedTxid) return "the bucket lacks objects that were acknowledged";
  return (await isFollowed(newest, state, pending, store)) ? null : OTHER_HISTORY;
}
