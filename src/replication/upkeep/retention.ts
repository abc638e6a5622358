/**
 * Applies retention: deletes the objects that retention-plan.ts chooses, after the retained snapshots that
 * the deletions rely on (the newest two and the oldest) were read back and found sound. The remembered
 * objects show that something is to be deleted; a listing of the store decides what.
 *
 * No snapshot is read back while nothing would be deleted. A sound snapshot is read back once; later a HEAD
 * shows that it is still the one that was judged. A damaged one of the newest two is read again at each
 * retention until newer snapshots supersede it; then it is deleted like any other.
 */
import type { RetentionConfig } from "../../config/config.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { checkListed, readTime } from "../../recovery/object/check-object.ts";
import { evidenceFindings, WitnessIndex } from "../../recovery/object/object-witnesses.ts";
import { keyOf, type LtxObject, listObjects, rememberedObjects } from "../../storage/bucket/catalog.ts";
import { rebuildManifest } from "../../storage/bucket/manifest.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { type CompactionProgress, type CompactionTarget, isMarkOf, markOrNull } from "./compaction.ts";
import { PROVEN_SNAPSHOTS, type Pruning, planPruning, type RetentionVerdict } from "./retention-plan.ts";

/** The database to prune. */
export type PruningTarget = Pick<CompactionTarget, "store" | "name" | "env" | "isListedAnew">;

/** The result of retention, or of its plan. */
export interface RetentionResult {
  readonly kept: readonly RetentionVerdict[];
  readonly deleted: readonly string[];
  readonly deletedBytes: number;
  /** Keys that the store refused to delete; absent when there are none. */
  readonly refused?: readonly string[];
}

/**
 * Applies the retention policy to the objects of a database. Before any deletion, the newest two
 * retained snapshots and the oldest are read back; a damaged one does not count.
 * @param isForced false: plans only, and deletes and reads back nothing
 * @throws WalrustError with a storage code
 */
export async function applyRetention(
  target: PruningTarget,
  policy: RetentionConfig,
  isForced: boolean,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<RetentionResult> {
  const { store, name } = target;
  let objects = await (target.isListedAnew ? listObjects : rememberedObjects)(store, name, signal);
  let times = await readTimes(target, objects, progress, signal);
  let pruning = planPruning(objects, times, policy);
  if (isForced && pruning.deletions.length > 0 && !target.isListedAnew) {
    // A snapshot may go or not depending on the objects beside it, so remembered objects are not enough.
    const listed = await listObjects(store, name, signal);
    const known = new Map(objects.map(({ key, sizeBytes }) => [key, sizeBytes]));
    const isSame = ({ key, sizeBytes }: LtxObject): boolean => known.get(key) === sizeBytes;
    if (listed.length !== objects.length || !listed.every(isSame)) {
      times = await readTimes(target, listed, progress, signal);
      pruning = planPruning(listed, times, policy);
    }
    objects = listed;
  }
  if (isForced) {
    while (pruning.deletions.length > 0) {
      const damaged = await damagedSnapshots(target, objects, pruning, progress, signal);
      if (damaged.length === 0) break;
      for (const key of damaged) times.delete(key);
      pruning = planPruning(objects, times, policy);
    }
  }
  const planned = pruning.deletions.map(({ key }) => key);
  let refused: string[] = [];
  if (isForced && planned.length > 0) {
    const kept = await store.delete(planned, signal === undefined ? {} : { signal });
    refused = kept.map(({ key }) => key);
    if (refused.length < planned.length) await rebuildManifest(store, name, signal);
    const gone = new Set(planned);
    forgetSnapshots(
      objects.filter(({ key }) => !gone.has(key)),
      progress,
    );
  }
  const isStillThere = new Set(refused);
  const deletions = pruning.deletions.filter(({ key }) => !isStillThere.has(key));
  const deletedBytes = deletions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const deleted = deletions.map(({ key }) => key);
  const result = { kept: pruning.keptSnapshots, deleted, deletedBytes };
  return refused.length === 0 ? result : { ...result, refused };
}

/** The capture times of the snapshots, by key. A snapshot without a sound time has none, and is retained. */
async function readTimes(
  target: PruningTarget,
  objects: readonly LtxObject[],
  { snapshots }: CompactionProgress,
  signal?: AbortSignal,
): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const object of objects) {
    if (object.level !== SNAPSHOT_LEVEL) continue;
    try {
      const { key, minTxid, maxTxid, sizeBytes } = object;
      const known = minTxid === 1 ? snapshots.times.get(maxTxid) : undefined;
      const isSame = known?.sizeBytes === sizeBytes;
      const timeMs = isSame ? known.timeMs : await readTime(target.store, object, signal);
      times.set(key, timeMs);
      if (minTxid === 1) snapshots.times.set(maxTxid, { timeMs, sizeBytes });
    } catch (error) {
      if (!hasCode(error, "corrupt") && !hasCode(error, "integrity")) throw error;
      warnOfDamage(target, object.key, error);
    }
  }
  return times;
}

function warnOfDamage({ name, env }: PruningTarget, key: string, error: WalrustError): void {
  const advice = `others are retained in its place; see \`walrust verify ${name} --read-data\``;
  env.log.warn(`retention does not count a damaged snapshot: ${error.message}; ${advice}`, {
    database: name,
    key,
  });
}

/** Reads back the snapshots that the deletions rely on. @returns the keys of damaged ones */
async function damagedSnapshots(
  target: PruningTarget,
  objects: readonly LtxObject[],
  pruning: Pruning,
  { snapshots }: CompactionProgress,
  signal?: AbortSignal,
): Promise<string[]> {
  const { store, name } = target;
  const index = new WitnessIndex(objects);
  const damaged: string[] = [];
  for (const { txid, isNewest } of reliedOn(pruning)) {
    const key = keyOf(store, name, { level: SNAPSHOT_LEVEL, minTxid: 1 as Txid, maxTxid: txid });
    const mark = snapshots.sound.get(txid);
    if (mark !== undefined && (await isStillThere(store, key, mark, signal))) continue;
    snapshots.sound.delete(txid);
    if (!isNewest && snapshots.damaged.has(txid)) {
      damaged.push(key);
      continue;
    }
    const snapshot = objects.find((object) => object.key === key)!;
    const outcome = await judgeSnapshot(store, snapshot, index, signal);
    if (!(outcome instanceof WalrustError)) {
      if (outcome !== null) snapshots.sound.set(txid, outcome);
      continue;
    }
    snapshots.damaged.add(txid);
    damaged.push(key);
    warnOfDamage(target, key, outcome);
  }
  return damaged;
}

/** Whether a snapshot is still the one that this process has judged. @throws WalrustError, a storage code */
async function isStillThere(
  store: ObjectStore,
  key: string,
  mark: number,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    const head = await store.head(key, { signal });
    return isMarkOf(mark, decodeMetadata(key, head.metadata).sha256, head);
  } catch (error) {
    if (hasCode(error, "not-found") || hasCode(error, "integrity")) return false;
    throw error;
  }
}

/**
 * Reads a snapshot back.
 * @returns its mark, null for a sound one that cannot be recognized, or why retention cannot rely on it
 * @throws WalrustError with a storage code
 */
async function judgeSnapshot(
  store: ObjectStore,
  snapshot: LtxObject,
  index: WitnessIndex,
  signal?: AbortSignal,
): Promise<number | null | WalrustError> {
  try {
    const { facts, findings } = await checkListed(store, snapshot, {}, signal);
    if (facts === null || findings.length > 0) return findings[0]!.error;
    const evidence = await evidenceFindings(store, facts, index, signal);
    if (evidence[0] !== undefined) return evidence[0].error;
    return markOrNull(facts.metadata.sha256, snapshot.sizeBytes, undefined);
  } catch (error) {
    if (hasCode(error, "not-found")) return error;
    throw error;
  }
}

/**
 * The retained snapshots that the deletions rely on: the newest two, for the newest state, and the oldest,
 * with which the retained history begins.
 */
function reliedOn({ keptSnapshots }: Pruning): { readonly txid: Txid; readonly isNewest: boolean }[] {
  const newest = keptSnapshots.slice(0, PROVEN_SNAPSHOTS).map(({ txid }) => ({ txid, isNewest: true }));
  const oldest = keptSnapshots.slice(PROVEN_SNAPSHOTS).at(-1);
  return oldest === undefined ? newest : [...newest, { txid: oldest.txid, isNewest: false }];
}

/** Forgets the snapshots that are not retained any more. */
function forgetSnapshots(objects: readonly LtxObject[], { snapshots }: CompactionProgress): void {
  const retained = new Set(objects.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid));
  for (const txids of [snapshots.sound, snapshots.damaged, snapshots.times]) {
    for (const txid of txids.keys()) if (!retained.has(txid)) txids.delete(txid);
  }
}
