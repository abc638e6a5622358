/**
 * Merged objects of another history: of two writers, the one that was stopped may have merged what it had put
 * before the other one replaced or passed it. Nothing can go on from such an object. Taken for ours it would
 * make the level lead nowhere, and what it covers would be deleted below it.
 *
 * The level below decides: it is what both wrote, and one of them was stopped for. An object is a stray if
 * the level below covers it without a gap, goes on after it, and is another history at its end. Then nothing
 * is lost with it. It is removed only when it is old enough: of two writers that still run, neither may
 * remove what the other has just verified.
 */
import { WalrustError } from "../../errors.ts";
import { type LtxObject, listLevel } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { CompactionTarget } from "./compaction.ts";

/** By then one of two writers has been stopped, but for a store that was away. */
export const STRAY_AGE_MS = 900_000;

/** The chain value at the end of an object, or null if its metadata says nothing. */
export async function chainOf(store: ObjectStore, key: string, signal?: AbortSignal): Promise<string | null> {
  const { metadata } = await store.head(key, signal === undefined ? {} : { signal });
  return decodeMetadata(key, metadata).chain;
}

/**
 * The object of the level below that ends where `merged` ends, if that level covers it without a gap.
 * @param below objects of the level below
 */
export function lastCoveredOrNull(merged: LtxObject, below: readonly LtxObject[]): LtxObject | null {
  let reached = merged.minTxid - 1;
  let last: LtxObject | null = null;
  for (const object of [...below].sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid)) {
    if (object.maxTxid > merged.maxTxid || object.minTxid !== reached + 1) continue;
    reached = object.maxTxid;
    last = object;
  }
  return reached === merged.maxTxid ? last : null;
}

/**
 * Removes the newest object of a level if it is a stray.
 * @param merged the newest object of the level
 * @param nextPreviousChain what the object after it, on the level below, says that it follows
 * @returns whether it is gone; false while it is too new for that
 * @throws WalrustError code "integrity" when nothing tells which of them is wrong, or a storage code
 */
export async function removeStray(
  { store, name, env }: Pick<CompactionTarget, "store" | "name" | "env">,
  merged: LtxObject,
  nextPreviousChain: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const options = signal === undefined ? {} : { signal };
  const below = await listLevel(store, name, merged.level - 1, options);
  const last = lastCoveredOrNull(merged, below);
  if (last === null || (await chainOf(store, last.key, signal)) !== nextPreviousChain) {
    throw new WalrustError(
      "integrity",
      `${merged.key} does not lead to what follows it; nothing is compacted beyond it`,
      { hint: `\`walrust verify ${name}\` tells what can be restored`, context: { key: merged.key } },
    );
  }
  const storedMs = merged.storedMs ?? merged.modifiedMs;
  if (env.nowMs() - storedMs < STRAY_AGE_MS) return false;
  await store.delete([merged.key], options);
  env.log.warn(`${merged.key} was merged from another writer's history; it is removed and made again`, {
    database: name,
  });
  return true;
}
