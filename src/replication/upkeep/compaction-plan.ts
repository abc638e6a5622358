/**
 * Decides what to compact and what has expired: pure functions of a listing.
 *
 * Level 1 is made from level 0, level 2 from level 1, level 3 from level 2. Each level is a sequence without
 * overlaps. It has no gaps except those of the level below, and ends at most where that level ends.
 *
 * The source of a merge expires if and only if
 * 1. a verified object of a higher level covers it (the source is superseded),
 * 2. that object is as old as the lifetime of the source's level (level 0: an hour; 1: a day; 2: a week), and
 * 3. on level 0, it is none of the `preserve_recent` newest, and no source of one merge with one of them.
 */
import type { CompactionConfig } from "../../config/config.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { TxidRanges } from "./txid-ranges.ts";

/** The most sources of one merge; the next merge takes the rest. */
export const MERGE_OBJECTS_MAX = 128;

/**
 * The sources of one merge are no larger together, so that a merge never needs the room of a database on the
 * disk. A larger source is alone in its merge.
 */
export const MERGE_BYTES_MAX = 1024 ** 3;

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
  let bytes = 0;
  for (const object of sortedLevel(below, level - 1)) {
    if (object.minTxid === 1 || object.maxTxid <= reached) continue;
    const isFirst = sources.length === 0;
    // Two processes that compact at once make objects that begin inside merged ones; those stay. An object
    // after a hole, where retention deleted unmerged sources, begins anew, or the level would end.
    if (isFirst && object.minTxid <= covered) continue;
    if (!isFirst && object.minTxid !== reached + 1) break;
    if (!isFirst && bytes + object.sizeBytes > MERGE_BYTES_MAX) break;
    sources.push(object);
    reached = object.maxTxid;
    bytes += object.sizeBytes;
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

/** A superseded source, the verified object that covers it, and the end of its lifetime. */
export interface Replaced {
  readonly source: LtxObject;
  readonly replacement: LtxObject;
  readonly expiresMs: number;
}

/**
 * The superseded objects of levels 0 to 2, oldest first. The sources of one merge expire together, because a
 * part of them would lead nowhere.
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
      replaced.push({ source, replacement, expiresMs: storedMs + policy.lifetimesMs[level]! });
    }
  }
  return replaced;
}

/**
 * The object of the lowest higher level that covers a source. @param byLevel objects that may supersede
 * others
 */
function replacementOrNull(byLevel: readonly TxidRanges<LtxObject>[], source: LtxObject): LtxObject | null {
  for (let level = source.level + 1; level <= HIGHEST_LEVEL; level++) {
    const found = byLevel[level]!.firstCoverOrNull(source);
    if (found !== null) return found;
  }
  return null;
}

/** The superseded objects that have expired now, oldest first. */
export function planExpiry(
  objects: readonly LtxObject[],
  policy: CompactionConfig,
  isVerified: (object: LtxObject) => boolean,
  nowMs: number,
): Replaced[] {
  return planReplaced(objects, policy, isVerified).filter(({ expiresMs }) => nowMs >= expiresMs);
}

/** Whether compaction makes `level` (1 to 3). */
export function isLevelMade({ levelsMs }: CompactionConfig, level: number): boolean {
  return Number.isFinite(levelsMs[level - 1]);
}

/** Whether the waiting level-0 objects start a compaction before its interval ends. */
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
