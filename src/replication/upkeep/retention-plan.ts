/**
 * Decides which snapshots are retained (grandfather, father, son) and which objects are deleted: pure
 * functions of a listing.
 *
 * Rules, in this order:
 * 1. The newest two snapshots are always retained. A damaged snapshot does not count, and is not deleted: its
 *    time is missing in the plan's input.
 * 2. Hourly N retains the newest snapshot of each of the last N hours that have one; daily, weekly and
 *    monthly likewise. Hours, days, ISO weeks and months are UTC.
 * 3. From the oldest retained snapshot on, the history has no gap. Increments and merged objects that end at
 *    or before it are deleted; all others stay until they expire after a merge.
 */
import type { RetentionConfig } from "../../config/config.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { TxidRanges } from "./txid-ranges.ts";

/** A snapshot to be judged. */
export interface SnapshotPoint {
  readonly txid: Txid;
  readonly timeMs: number;
}

/** A snapshot with the reasons to retain it; without a reason it is deleted. */
export interface RetentionVerdict extends SnapshotPoint {
  readonly reasons: readonly string[];
}

/** The number of snapshots that are always retained, and read back before older ones are deleted. */
export const PROVEN_SNAPSHOTS = 2;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The first Monday since the epoch, 1970-01-05. */
const FIRST_WEEK_MS = 4 * DAY_MS;

/** The kinds of periods, each with the start of the period that a time lies in. All times are UTC. */
export const RETENTION_PERIODS = [
  ["hourly", hourStartMs],
  ["daily", dayStartMs],
  ["weekly", weekStartMs],
  ["monthly", monthStartMs],
] as const satisfies readonly (readonly [keyof RetentionConfig, (timeMs: number) => number])[];

/** Judges every snapshot, newest first. */
export function planRetention(
  snapshots: readonly SnapshotPoint[],
  policy: RetentionConfig,
): RetentionVerdict[] {
  const newestFirst = [...snapshots].sort((a, b) => b.txid - a.txid);
  const reasons = newestFirst.map((_, index) =>
    index === 0 ? ["newest"] : index < PROVEN_SNAPSHOTS ? ["at least two"] : [],
  );
  for (const [tier, startOf] of RETENTION_PERIODS) {
    const seen = new Set<number>();
    for (let i = 0; i < newestFirst.length && seen.size < policy[tier]; i++) {
      const period = startOf(newestFirst[i]!.timeMs);
      if (seen.has(period)) continue;
      seen.add(period);
      reasons[i]!.push(tier);
    }
  }
  return newestFirst.map((snapshot, index) => ({ ...snapshot, reasons: reasons[index]! }));
}

function hourStartMs(timeMs: number): number {
  return Math.floor(timeMs / HOUR_MS) * HOUR_MS;
}

function dayStartMs(timeMs: number): number {
  return Math.floor(timeMs / DAY_MS) * DAY_MS;
}

/** Weeks begin on Monday. */
function weekStartMs(timeMs: number): number {
  return Math.floor((timeMs - FIRST_WEEK_MS) / (7 * DAY_MS)) * 7 * DAY_MS + FIRST_WEEK_MS;
}

function monthStartMs(timeMs: number): number {
  const date = new Date(timeMs);
  date.setUTCDate(1);
  return date.setUTCHours(0, 0, 0, 0);
}

/** The snapshots that retention keeps, and the objects that it deletes. */
export interface Pruning {
  readonly keptSnapshots: readonly RetentionVerdict[];
  /** Objects to delete, in a safe order: at any moment every retained point is restorable. */
  readonly deletions: readonly LtxObject[];
}

/**
 * Plans the deletions of a retention.
 * @param timeOf the capture time of each snapshot that counts, by key, in ms
 */
export function planPruning(
  objects: readonly LtxObject[],
  timeOf: ReadonlyMap<string, number>,
  policy: RetentionConfig,
): Pruning {
  const snapshots = objects.filter((object) => object.level === SNAPSHOT_LEVEL && timeOf.has(object.key));
  const verdicts = planRetention(
    snapshots.map((object) => ({ txid: object.maxTxid, timeMs: timeOf.get(object.key)! })),
    policy,
  );
  const kept = verdicts.filter(({ reasons }) => reasons.length > 0);
  const oldest = kept.at(-1);
  if (oldest === undefined) return { keptSnapshots: [], deletions: [] };
  const keptTxids = new Set(kept.map(({ txid }) => txid));
  const bridges = bridgingTxids(objects, snapshots, keptTxids);
  const goneSnapshots = snapshots.filter(({ maxTxid }) => !keptTxids.has(maxTxid) && !bridges.has(maxTxid));
  const goneIncrements = objects.filter(
    (object) => object.level !== SNAPSHOT_LEVEL && object.maxTxid <= oldest.txid,
  );
  // Oldest first: if deleting stops halfway, the rest is a shorter history without a hole.
  const byAge = (a: LtxObject, b: LtxObject): number => a.maxTxid - b.maxTxid || b.level - a.level;
  return { keptSnapshots: kept, deletions: [...goneSnapshots, ...goneIncrements].sort(byAge) };
}

/**
 * The snapshots that no rule retains, but that alone lead over a hole in the increments to later points. A
 * person or a lifecycle rule made the hole.
 */
function bridgingTxids(
  objects: readonly LtxObject[],
  snapshots: readonly LtxObject[],
  keptTxids: ReadonlySet<number>,
): Set<number> {
  const increments = new TxidRanges(objects.filter(({ level }) => level !== SNAPSHOT_LEVEL));
  const bridges = new Set<number>();
  let reached = 0;
  for (const { maxTxid } of [...snapshots].sort((a, b) => a.maxTxid - b.maxTxid)) {
    const isKept = keptTxids.has(maxTxid);
    const isOnlyWay = reached > 0 && reached < maxTxid && increments.leadsOn(maxTxid);
    if (!isKept && isOnlyWay) bridges.add(maxTxid);
    if (isKept || bridges.has(maxTxid)) reached = Math.max(reached, increments.reachFrom(maxTxid));
  }
  return bridges;
}
