/**
 * PURE: how many snapshots retention keeps in the long run, and how far back the oldest reaches, from the
 * policy and the time between two snapshots.
 *
 * The periods and the number of snapshots that always stay are those of retention-plan.ts. This file applies
 * them to snapshots at equal distances that go back without end, and considers only the newest of each
 * period. One snapshot is often the newest of an hour, a day, a week and a month at once: 24 + 7 + 12 + 12
 * keep about 50 snapshots, not 55. The calendar moves the number from day to day, so it is a mean over two
 * years.
 */
import type { RetentionConfig } from "../config/config.ts";
import { PROVEN_SNAPSHOTS, RETENTION_PERIODS } from "../replication/upkeep/retention-plan.ts";

/** Snapshots this far apart have each month to themselves. */
const LONELY_MS = 366 * 86_400_000;

/** Sampled moments lie about two weeks and seven hours apart, so that they meet each phase of a week. */
const START_MS = Date.UTC(2026, 0, 1, 0, 17);
const STEP_MS = 1_234_567_891;
const MOMENTS_MAX = 53;
const MOMENTS_MIN = 4;
/** The most snapshots to consider, over all moments. */
const WORK_MAX = 40_000;

/** The snapshots that stay once retention has run for as long as it reaches back. */
export interface KeptSnapshots {
  /** Snapshots right after retention, on average. */
  readonly count: number;
  /** Age of the oldest in ms, on average. */
  readonly reachMs: number;
  /** Age of the oldest in ms, at its least. */
  readonly reachMinMs: number;
}

/** The snapshots that a policy keeps if one is taken every `periodMs`. */
export function keptSnapshots(policy: RetentionConfig, periodMs: number): KeptSnapshots {
  const counts = RETENTION_PERIODS.map(([kind]) => policy[kind]);
  if (periodMs >= LONELY_MS) {
    const count = Math.max(PROVEN_SNAPSHOTS, ...counts);
    const reachMs = (count - 1) * periodMs;
    return { count, reachMs, reachMinMs: reachMs };
  }
  const countMax = counts.reduce((sum, count) => sum + count, 1);
  const momentCount = Math.max(MOMENTS_MIN, Math.min(MOMENTS_MAX, Math.ceil(WORK_MAX / countMax)));
  let count = 0;
  let reachMs = 0;
  let reachMinMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < momentCount; i++) {
    const kept = keptAt(policy, periodMs, START_MS + i * STEP_MS);
    count += kept.count / momentCount;
    reachMs += kept.reachMs / momentCount;
    reachMinMs = Math.min(reachMinMs, kept.reachMs);
  }
  return { count, reachMs, reachMinMs };
}

/** The snapshots that are kept right after one was taken at `nowMs`. */
function keptAt(
  policy: RetentionConfig,
  periodMs: number,
  nowMs: number,
): Pick<KeptSnapshots, "count" | "reachMs"> {
  /** Kept snapshots, each by the number of newer ones. */
  const kept = new Set<number>();
  for (let index = 0; index < PROVEN_SNAPSHOTS; index++) kept.add(index);
  for (const [kind, startOf] of RETENTION_PERIODS) {
    let index = 0;
    for (let i = 0; i < policy[kind]; i++) {
      kept.add(index);
      const startMs = startOf(nowMs - index * periodMs);
      // The newest snapshot before this period.
      index = Math.max(index, Math.floor((nowMs - startMs) / periodMs)) + 1;
    }
  }
  let oldest = 0;
  for (const index of kept) oldest = Math.max(oldest, index);
  return { count: kept.size, reachMs: oldest * periodMs };
}
