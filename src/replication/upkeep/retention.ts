/**
 * Retention at work: what retention-plan.ts decides is deleted, once the snapshots that the rest relies on
 * were read back and found whole.
 *
 * Nothing is read back while nothing would be deleted, and nothing twice: what was found whole is remembered
 * as long as it is one of the newest two. A damaged snapshot is read again at each retention until newer ones
 * have taken its place; then it goes like every other.
 */
import type { RetentionConfig } from "../../config/config.ts";
import { hasCode, type WalrustError } from "../../errors.ts";
import { parseObjectKey, SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { checkListed } from "../../recovery/object/check-object.ts";
import { evidenceFindings, WitnessIndex } from "../../recovery/object/object-witnesses.ts";
import { keyOf, type LtxObject, listObjects, readHeader } from "../../storage/bucket/catalog.ts";
import { rebuildManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { CompactionProgress, CompactionTarget } from "./compaction.ts";
import { PROVEN_SNAPSHOTS, type Pruning, planPruning, type RetentionVerdict } from "./retention-plan.ts";

/** The database to prune. */
export type PruningTarget = Pick<CompactionTarget, "store" | "name" | "env">;

/** What retention did, or would do. */
export interface RetentionResult {
  readonly kept: readonly RetentionVerdict[];
  readonly deleted: readonly string[];
  readonly deletedBytes: number;
  /** Keys that the store refused to delete; absent when there are none. */
  readonly refused?: readonly string[];
}

/**
 * Applies the retention policy to a database's objects. Before anything is deleted, the snapshots that the
 * safety of it relies on (the newest two that stay) are read back, each once: a damaged one does not count.
 * @param isForced false: plan only, delete nothing and read nothing back
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
  const objects = await listObjects(store, name, signal);
  const times = await readTimes(target, objects, signal);
  let pruning = planPruning(objects, times, policy);
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
    forgetSnapshots(store, name, pruning, progress);
  }
  const isStillThere = new Set(refused);
  const deletions = pruning.deletions.filter(({ key }) => !isStillThere.has(key));
  const deletedBytes = deletions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const deleted = deletions.map(({ key }) => key);
  const result = { kept: pruning.keptSnapshots, deleted, deletedBytes };
  return refused.length === 0 ? result : { ...result, refused };
}

/** The capture times of the snapshots, by key. One whose header is damaged has none, and is left alone. */
async function readTimes(
  target: PruningTarget,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const { key, level } of objects) {
    if (level !== SNAPSHOT_LEVEL) continue;
    try {
      times.set(key, (await readHeader(target.store, key, signal)).timestampMs);
    } catch (error) {
      if (!hasCode(error, "corrupt")) throw error;
      warnOfDamage(target, key, error);
    }
  }
  return times;
}

function warnOfDamage({ name, env }: PruningTarget, key: string, error: WalrustError): void {
  const advice = `other ones stay in its stead; see \`walrust verify ${name} --read-data\``;
  env.log.warn(`retention does not count a damaged snapshot: ${error.message}; ${advice}`, {
    database: name,
    key,
  });
}

/** Reads back the snapshots that stay in any case. @returns the keys of those that are damaged */
async function damagedSnapshots(
  target: PruningTarget,
  objects: readonly LtxObject[],
  pruning: Pruning,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<string[]> {
  const { store, name } = target;
  const index = new WitnessIndex(objects);
  const damaged: string[] = [];
  for (const key of provenKeys(store, name, pruning)) {
    if (progress.verified.has(key)) continue;
    const snapshot = objects.find((object) => object.key === key)!;
    const problem = await problemOrNull(store, snapshot, index, signal);
    if (problem === null) progress.verified.add(key);
    else {
      damaged.push(key);
      warnOfDamage(target, key, problem);
    }
  }
  return damaged;
}

/** Why nothing may be deleted because of a snapshot, or null. @throws WalrustError with a storage code */
async function problemOrNull(
  store: ObjectStore,
  snapshot: LtxObject,
  index: WitnessIndex,
  signal?: AbortSignal,
): Promise<WalrustError | null> {
  try {
    const { facts, findings } = await checkListed(store, snapshot, {}, signal);
    if (facts === null || findings.length > 0) return findings[0]!.error;
    const evidence = await evidenceFindings(store, facts, index, signal);
    return evidence[0]?.error ?? null;
  } catch (error) {
    if (hasCode(error, "not-found")) return error;
    throw error;
  }
}

/** The keys of the snapshots that stay in any case, newest first. */
function provenKeys(store: ObjectStore, name: string, { keptSnapshots }: Pruning): string[] {
  return keptSnapshots
    .slice(0, PROVEN_SNAPSHOTS)
    .map(({ txid }) => keyOf(store, name, { level: SNAPSHOT_LEVEL, minTxid: 1 as Txid, maxTxid: txid }));
}

/** What the next retention cannot rely on needs no place in memory. */
function forgetSnapshots(
  store: ObjectStore,
  name: string,
  pruning: Pruning,
  progress: CompactionProgress,
): void {
  const proven = new Set(provenKeys(store, name, pruning));
  for (const key of progress.verified) {
    const isSnapshot = parseObjectKey(store.layout, key)?.level === SNAPSHOT_LEVEL;
    if (isSnapshot && !proven.has(key)) progress.verified.delete(key);
  }
}
