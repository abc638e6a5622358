/**
 * Removes stray merges: merged objects of another history. Of two writers, the stopped one may have merged
 * its own objects before the other replaced or passed them. No object continues a stray. If a stray counted
 * as ours, no path would lead beyond it on its level, and the objects that the stray covers would expire.
 *
 * The level below decides. An object is a stray if and only if the level below covers it without a gap,
 * continues after it, and has another chain value at its end. Then its removal loses nothing. A stray is
 * removed only at an age of 15 minutes: of two writers that still run, neither may remove an object that the
 * other has just verified.
 */
import { WalrustError } from "../../errors.ts";
import { checkListed, type PathPoint } from "../../recovery/object/check-object.ts";
import { type LtxObject, listLevel } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { CompactionTarget } from "./compaction.ts";

/** At this age one of two writers has stopped, unless the store was away. */
export const STRAY_AGE_MS = 900_000;

/** The chain value at the end of an object, or null if its metadata has none. */
export async function chainOf(store: ObjectStore, key: string, signal?: AbortSignal): Promise<string | null> {
  const { metadata } = await store.head(key, signal === undefined ? {} : { signal });
  return decodeMetadata(key, metadata).chain;
}

/**
 * The objects of the level below that hold all TXIDs of `merged` without a gap, oldest first, or null.
 * @param below objects of the level below
 */
export function coveringOrNull(merged: LtxObject, below: readonly LtxObject[]): readonly LtxObject[] | null {
  const covering: LtxObject[] = [];
  let reached = merged.minTxid - 1;
  for (const object of [...below].sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid)) {
    if (object.maxTxid > merged.maxTxid || object.minTxid !== reached + 1) continue;
    reached = object.maxTxid;
    covering.push(object);
  }
  return reached === merged.maxTxid ? covering : null;
}

/**
 * Removes the newest object of a level if it is a stray.
 * @param merged the newest object of the level
 * @param nextPreviousChain the chain value before the next object on the level below
 * @returns whether the stray is removed; false while it is too new
 * @throws WalrustError code "integrity" when the level below does not show which of the two is wrong, or a
 * storage code
 */
export async function removeStray(
  { store, name, env }: Pick<CompactionTarget, "store" | "name" | "env">,
  merged: LtxObject,
  nextPreviousChain: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const options = signal === undefined ? {} : { signal };
  const below = await listLevel(store, name, merged.level - 1, options);
  const covering = coveringOrNull(merged, below) ?? [];
  if ((await soundEndOrNull(store, covering, signal)) !== nextPreviousChain) {
    throw new WalrustError(
      "integrity",
      `${merged.key} does not lead to what follows it; nothing is compacted beyond it`,
      { hint: `\`walrust verify ${name}\` shows what can be restored`, context: { key: merged.key } },
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

/** The chain value that objects lead to. Each is read and judged; null when one is unsound. */
async function soundEndOrNull(
  store: ObjectStore,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<string | null> {
  let after: PathPoint = { txid: 0, chain: null };
  for (const object of objects) {
    const { facts, findings } = await checkListed(store, object, { after }, signal);
    if (facts === null || findings.length > 0) return null;
    after = { txid: object.maxTxid, chain: facts.metadata.chain };
  }
  return after.chain;
}
