/**
 * How many snapshots retention keeps in the long run, and how far back the oldest reaches: pure, from the
 * policy and the time between two snapshots.
 *
 * The kept ones are those of `planRetention` (retention.ts) over snapshots at equal distances that go back
 * without end. Only the newest of each period can be kept, so only they are looked at. One snapshot is often
 * the newest of an hour, a day, a week and a month at once: 24 + 7 + 12 + 12 are some 50 snapshots, not 55.
 * The calendar shifts the number from day to day, hence the mean over many moments of two years.
 */
import type { RetentionPolicy } from "../replication/context/policies.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
/** Monday, 1970-01-05. */
const FIRST_WEEK_MS = 4 * DAY_MS;
/** A snapshot a year at most has each month to itself. */
const LONELY_MS = 366 * DAY_MS;
const SNAPSHOTS_MIN = 2;

/** Moments that are looked at: some two weeks and seven hours apart, so that all phases of a week come up. */
const START_MS = Date.UTC(2026, 0, 1, 0, 17);
const STEP_MS = 1_234_567_891;
const MOMENTS_MAX = 53;
const MOMENTS_MIN = 4;
/** Snapshots that are looked at over all moments. */
const WORK_MAX = 40_000;

/** What retention leaves once it has been applied for as long as it reaches back. */
export interface KeptSnapshots {
  /** Snapshots right after retention, on average. */
  readonly count: number;
  /** Age of the oldest, on average. */
  readonly reachMs: number;
  /** Age of the oldest when it is least. */
  readonly reachMinMs: number;
}

/** What is kept of snapshots that are taken every `periodMs`. */
export function keptSnapshots(policy: RetentionPolicy, periodMs: number): KeptSnapshots {
  const { hourly, daily, weekly, monthly } = policy;
  if (periodMs >= LONELY_MS) {
    const count = Math.max(SNAPSHOTS_MIN, hourly, daily, weekly, monthly);
    const reachMs = (count - 1) * periodMs;
    return { count, reachMs, reachMinMs: reachMs };
  }
  const moments = Math.min(MOMENTS_MAX, Math.ceil(WORK_MAX / (1 + hourly + daily + weekly + monthly)));
  const sampleCount = Math.max(MOMENTS_MIN, moments);
  let count = 0;
  let reachMs = 0;
  let reachMinMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < sampleCount; i++) {
    const kept = keptAt(policy, periodMs, START_MS + i * STEP_MS);
    count += kept.count / sampleCount;
    reachMs += kept.reachMs / sampleCount;
    reachMinMs = Math.min(reachMinMs, kept.reachMs);
  }
  return { count, reachMs, reachMinMs };
}

/** What is kept when a snapshot was just taken at `nowMs`. */
function keptAt(
  policy: RetentionPolicy,
  periodMs: number,
  nowMs: number,
): Pick<KeptSnapshots, "count" | "reachMs"> {
  // Snapshots by how many others are newer.
  const kept = new Set<number>();
  for (let index = 0; index < SNAPSHOTS_MIN; index++) kept.add(index);
  const tiers = [
    [policy.hourly, hourStart],
    [policy.daily, dayStart],
    [policy.weekly, weekStart],
    [policy.monthly, monthStart],
  ] as const;
  for (const [count, startOf] of tiers) {
    let index = 0;
    for (let i = 0; i < count; i++) {
      kept.add(index);
      const startMs = startOf(nowMs - index * periodMs);
      // The newest before this period.
      index = Math.max(index, Math.floor((nowMs - startMs) / periodMs)) + 1;
    }
  }
  let oldest = 0;
  for (const index of kept) oldest = Math.max(oldest, index);
  return { count: kept.size, reachMs: oldest * periodMs };
}

function hourStart(timeMs: number): number {
  return Math.floor(timeMs / HOUR_MS) * HOUR_MS;
}

function dayStart(timeMs: number): number {
  return Math.floor(timeMs / DAY_MS) * DAY_MS;
}

function weekStart(timeMs: number): number {
  return Math.floor((timeMs - FIRST_WEEK_MS) / WEEK_MS) * WEEK_MS + FIRST_WEEK_MS;
}

function monthStart(timeMs: number): number {
  const date = new Date(timeMs);
  date.setUTCDate(1);
  return date.setUTCHours(0, 0, 0, 0);
}
