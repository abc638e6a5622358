/**
 * What to compact: pure decisions over a listing. Level 1 is made from level 0, level 2 from level 1, level 3
 * from level 2; each level is a sequence without overlaps, and without gaps but those of the level below it,
 * and ends at most where that ends.
 *
 * A source object may be deleted when all of these hold:
 * 1. A verified object of a higher level covers it.
 * 2. That was compacted at least the level's lifetime ago (an hour, a day, a week for levels 0, 1, 2).
 * 3. On level 0, it is none of the `preserveRecent` newest, and in no merge with one of them.
 */
import type { CompactionConfig } from "../../config/config.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { TxidRanges } from "./txid-ranges.ts";

/** The most objects one merge takes; what is left is merged the next time. */
export const MERGE_OBJECTS_MAX = 128;

/** The highest level that is compacted into. */
export const HIGHEST_LEVEL = 3;

/** One merge: contiguous sources of `level - 1`, oldest first, into one object of `level`. */
export interface Merge {
  readonly level: number;
  readonly sources: readonly LtxObject[];
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/**
 * The next merge into `level`, or null when there is nothing new.
 * @param below objects of the level below, at least all of them after `covered`
 * @param covered the TXID up to which `level` has been made, or 0
 */
export function planMergeOrNull(below: readonly LtxObject[], covered: number, level: number): Merge | null {
  const sources: LtxObject[] = [];
  let reached = covered;
  for (const object of sortedLevel(below, level - 1)) {
    if (object.minTxid === 1 || object.maxTxid <= reached) continue;
    const isFirst = sources.length === 0;
    // Begins inside what is merged already: two that compact at once make such objects, and they stay. What
    // begins after a hole (retention took what was not merged yet) begins anew, or nothing ever would.
    if (isFirst && object.minTxid <= covered) continue;
    if (!isFirst && object.minTxid !== reached + 1) break;
    sources.push(object);
    reached = object.maxTxid;
    if (sources.length === MERGE_OBJECTS_MAX) break;
  }
  const [first] = sources;
  const last = sources.at(-1);
  if (first === undefined || last === undefined) return null;
  return { level, sources, minTxid: first.minTxid, maxTxid: last.maxTxid };
}

/** The TXID up to which `level` has been made from the level below, or 0. */
export function coveredTxid(objects: readonly LtxObject[], level: number): Txid | 0 {
  return sortedLevel(objects, level).at(-1)?.maxTxid ?? 0;
}

/** A source that a higher object has replaced, and when its lifetime after that ends. */
export interface Replaced {
  readonly source: LtxObject;
  readonly expiresMs: number;
}

/**
 * Source objects of level 0 to 2 that verified objects of a higher level have replaced, oldest first. Objects
 * that one merge replaced go together or not at all: in between, those that stay would lead nowhere.
 */
export function planReplaced(
  objects: readonly LtxObject[],
  policy: CompactionConfig,
  isVerified: (object: LtxObject) => boolean,
): Replaced[] {
  const replaced: Replaced[] = [];
  const verified = Array.from({ length: HIGHEST_LEVEL + 1 }, (_, level) => {
    return new TxidRanges(objects.filter((object) => object.level === level && isVerified(object)));
  });
  for (let level = 0; level < HIGHEST_LEVEL; level++) {
    const sources = sortedLevel(objects, level);
    const preserved = level === 0 ? Math.max(1, policy.preserveRecent) : 1;
    const firstPreserved =
      sources[Math.max(0, sources.length - preserved)]?.minTxid ?? Number.POSITIVE_INFINITY;
    for (const source of sources) {
      const replacement = replacementOrNull(verified, source);
      if (replacement === null || replacement.maxTxid >= firstPreserved) continue;
      const storedMs = replacement.storedMs ?? replacement.modifiedMs;
      replaced.push({ source, expiresMs: storedMs + policy.lifetimesMs[level]! });
    }
  }
  return replaced;
}

/** The lowest object above a source that covers it. @param byLevel those that may replace others */
function replacementOrNull(byLevel: readonly TxidRanges<LtxObject>[], source: LtxObject): LtxObject | null {
  for (let level = source.level + 1; level <= HIGHEST_LEVEL; level++) {
    const found = byLevel[level]!.firstCoverOrNull(source);
    if (found !== null) return found;
  }
  return null;
}

/** What may be deleted now, oldest first. */
export function planExpiry(
  objects: readonly LtxObject[],
  policy: CompactionConfig,
  isVerified: (object: LtxObject) => boolean,
  nowMs: number,
): LtxObject[] {
  return planReplaced(objects, policy, isVerified)
    .filter(({ expiresMs }) => nowMs >= expiresMs)
    .map(({ source }) => source);
}

/** Whether `level` (1 to 3) is made at all. */
export function isLevelMade({ levelsMs }: CompactionConfig, level: number): boolean {
  return Number.isFinite(levelsMs[level - 1]);
}

/** Whether the level-0 objects after `covered` start a compaction before its time. */
export function isCompactionUrgent(
  waiting: { readonly count: number; readonly bytes: number; readonly oldestAgeMs: number },
  policy: CompactionConfig,
): boolean {
  const { threshold, sizeBytes, maxIncrementalAgeMs } = policy;
  if (threshold > 0 && waiting.count >= threshold) return true;
  if (sizeBytes > 0 && waiting.bytes >= sizeBytes) return true;
  return maxIncrementalAgeMs > 0 && waiting.count > 0 && waiting.oldestAgeMs >= maxIncrementalAgeMs;
}

function sortedLevel(objects: readonly LtxObject[], level: number): LtxObject[] {
  return objects
    .filter((object) => object.level === level)
    .sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
}
