/**
 * Which points in time can be restored under a configuration: pure, as spans of age and as sentences.
 *
 * The rules are those of compaction-plan.ts and retention.ts. An object of a level stays for its lifetime
 * after a higher one has covered it, one of the highest level until retention; each level's last TXIDs are
 * points. Retention keeps the history whole from the oldest kept snapshot on, on all levels, and deletes
 * everything before it: kept snapshots are points that are restored fast, not the only ones. Every age is a
 * promise of at least: looks for what has expired are ten minutes apart.
 *
 * Points are where something was committed: "every hour" means of those hours in which something changed.
 */

import type { DatabaseOptions } from "../replication/context/database-options.ts";
import type {
  CompactionPolicy,
  MaintenanceOptions,
  RetentionPolicy,
  SnapshotPolicy,
} from "../replication/context/policies.ts";
import { HIGHEST_LEVEL } from "../replication/upkeep/compaction-plan.ts";
import { keptSnapshots } from "./kept-snapshots.ts";

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** For words only: what counts is the calendar. */
const MONTH_MS = 30 * DAY_MS;
/** Snapshots by amount of changes or on idle may come as close as this. */
const IRREGULAR_MS = 60_000;

/** Points of one kind, from the age at which the span before it ends. */
export interface RestorableSpan {
  /** "snapshot" beside the others: those are restored without a long replay. */
  readonly kind: "captures" | "merges" | "snapshots";
  /** Age up to which these points stay, at least; null: no age that can be told. */
  readonly until: number | null;
  /** What ends them. "never": only `walrust compact` by hand. */
  readonly end: "age" | "oldest-snapshot" | "never";
  /** Most time between two of them while something changes; null: snapshots that go by amount. */
  readonly spacingMs: number | null;
  readonly what: string;
}

/** What can be restored. */
export interface RestorablePoints {
  /** Captures and merges by age, then snapshots. */
  readonly spans: readonly RestorableSpan[];
  /** The same for people. */
  readonly sentences: readonly string[];
}

/** How far retention lets anything reach back. */
interface Horizon {
  readonly end: "oldest-snapshot" | "never";
  /** Least age of the oldest kept snapshot; null: it cannot be told. */
  readonly ageMs: number | null;
}

/** Which points in time stay restorable under these options. */
export function restorablePoints(options: DatabaseOptions): RestorablePoints {
  const { maintenance } = options;
  const horizon = horizonOf(maintenance);
  const spans = [
    ...historySpans(options, maintenance?.compaction ?? null, horizon),
    ...snapshotSpans(maintenance, horizon),
  ];
  return { spans, sentences: [...spans.map(({ what }) => what), ...closing(maintenance, horizon)] };
}

// Captures and merges

function historySpans(
  options: DatabaseOptions,
  compaction: CompactionPolicy | null,
  horizon: Horizon,
): RestorableSpan[] {
  const spans: RestorableSpan[] = [];
  let reachedMs = 0;
  let spacingMs = options.walSyncIntervalMs;
  for (let level = 0; level <= HIGHEST_LEVEL; level++) {
    if (level > 0 && compaction !== null) spacingMs = spacingOf(compaction, level, spacingMs);
    const untilMs = isMade(compaction, level + 1)
      ? compaction!.lifetimesMs[level]!
      : Number.POSITIVE_INFINITY;
    const isLast = untilMs >= (horizon.ageMs ?? Number.POSITIVE_INFINITY);
    // A finer level outlives this one: nothing is left to it.
    if (untilMs <= reachedMs) continue;
    reachedMs = untilMs;
    const bounds: Pick<RestorableSpan, "until" | "end"> = isLast
      ? { until: horizon.ageMs, end: horizon.end }
      : { until: untilMs, end: "age" };
    const preserved = Math.max(1, compaction?.preserveRecent ?? 1);
    const what =
      level === 0
        ? captureSentence(options, bounds, preserved)
        : `Then one point ${everyText(spacingMs)} ${boundsText(bounds)}.`;
    spans.push({ kind: level === 0 ? "captures" : "merges", spacingMs, ...bounds, what });
    if (isLast) break;
  }
  return spans;
}

/** Whether anything ever comes to be on this level. */
function isMade(compaction: CompactionPolicy | null, level: number): boolean {
  if (compaction === null || level > HIGHEST_LEVEL) return false;
  return compaction.intervalsMs.slice(0, level).every((intervalMs) => Number.isFinite(intervalMs));
}

/** Most time between two points of a level: no less than on the one below, of which it is made. */
function spacingOf(compaction: CompactionPolicy, level: number, belowMs: number): number {
  const { intervalsMs, maxIncrementalAgeMs } = compaction;
  const isEarly = level === 1 && maxIncrementalAgeMs > 0;
  const earlyMs = isEarly ? maxIncrementalAgeMs : Number.POSITIVE_INFINITY;
  return Math.max(belowMs, Math.min(intervalsMs[level - 1]!, earlyMs));
}

function captureSentence(
  options: DatabaseOptions,
  bounds: Pick<RestorableSpan, "until" | "end">,
  preserved: number,
): string {
  const { walSyncIntervalMs } = options;
  const often = walSyncIntervalMs > 0 ? ` (at most one ${everyText(walSyncIntervalMs)})` : "";
  const newest = preserved === 1 ? "the newest one" : `the ${preserved} newest`;
  const always = bounds.end === "age" ? `, and always ${newest}` : "";
  return `Every capture${often} ${boundsText(bounds)}${always}.`;
}

function boundsText({ until, end }: Pick<RestorableSpan, "until" | "end">): string {
  if (end === "never") return "for ever";
  if (end === "age") return `for at least ${durationText(until ?? 0)}`;
  return `back to the oldest snapshot that is kept${until === null ? "" : ` (${reachText(until)})`}`;
}

// Snapshots

/** What ends the history at its far side. */
function horizonOf(maintenance: MaintenanceOptions | undefined): Horizon {
  const never: Horizon = { end: "never", ageMs: null };
  if (maintenance === undefined || !isRetentionApplied(maintenance)) return never;
  const { snapshots, retention } = maintenance;
  if (!areSnapshotsTaken(snapshots)) return never;
  const periodMs = periodOf(snapshots);
  if (periodMs === null) return { end: "oldest-snapshot", ageMs: null };
  const periods = isIrregular(snapshots) ? [periodMs, Math.min(periodMs, IRREGULAR_MS)] : [periodMs];
  const ages = periods.map((each) => keptSnapshots(retention, each).reachMinMs);
  return { end: "oldest-snapshot", ageMs: Math.min(...ages) };
}

function isRetentionApplied({ retainAfterSnapshot, retentionIntervalMs }: MaintenanceOptions): boolean {
  return retainAfterSnapshot || (retentionIntervalMs > 0 && Number.isFinite(retentionIntervalMs));
}

function areSnapshotsTaken(policy: SnapshotPolicy): boolean {
  return periodOf(policy) !== null || isIrregular(policy);
}

/** Whether snapshots come by what is written, not by the clock alone. */
function isIrregular({ maxChanges, onIdleMs }: SnapshotPolicy): boolean {
  return isOn(maxChanges) || isOn(onIdleMs);
}

/** Most time between two snapshots of a database that changes all the time, or null. */
function periodOf({ intervalMs, maxIntervalMs }: SnapshotPolicy): number | null {
  const periods = [intervalMs, maxIntervalMs].filter(isOn);
  return periods.length === 0 ? null : Math.min(...periods);
}

function isOn(value: number): boolean {
  return value > 0 && Number.isFinite(value);
}

const TIERS = [
  ["hourly", HOUR_MS, "hour"],
  ["daily", DAY_MS, "day"],
  ["weekly", 7 * DAY_MS, "week"],
  ["monthly", MONTH_MS, "month"],
] as const satisfies readonly (readonly [keyof RetentionPolicy, number, string])[];

function snapshotSpans(maintenance: MaintenanceOptions | undefined, horizon: Horizon): RestorableSpan[] {
  if (maintenance === undefined || !areSnapshotsTaken(maintenance.snapshots)) return [];
  const { snapshots, retention } = maintenance;
  const periodMs = periodOf(snapshots);
  if (horizon.end === "never") {
    const what = `Every snapshot (${snapshotText(snapshots)}) for ever.`;
    return [{ kind: "snapshots", until: null, end: "never", spacingMs: periodMs, what }];
  }
  return TIERS.filter(([tier]) => retention[tier] > 0).map(([tier, tierMs, word]) => {
    const count = retention[tier];
    const which = count === 1 ? `the last ${word}` : `each of the last ${count} ${word}s`;
    const what = `The newest snapshot of ${which} that ${count === 1 ? "has" : "have"} one.`;
    const spacingMs = periodMs === null ? null : Math.max(tierMs, periodMs);
    return { kind: "snapshots", until: count * tierMs, end: "age", spacingMs, what };
  });
}

function snapshotText({ intervalMs, maxIntervalMs, maxChanges, onIdleMs }: SnapshotPolicy): string {
  const triggers = [
    isOn(intervalMs) ? everyText(intervalMs) : "",
    isOn(maxIntervalMs) ? `${durationText(maxIntervalMs)} after the first change` : "",
    isOn(maxChanges) ? `after ${maxChanges} changed pages` : "",
    isOn(onIdleMs) ? `after ${durationText(onIdleMs)} without a change` : "",
  ];
  return triggers.filter((trigger) => trigger !== "").join(", ");
}

/** What has to be said beside the spans. */
function closing(maintenance: MaintenanceOptions | undefined, horizon: Horizon): string[] {
  if (maintenance === undefined || !areSnapshotsTaken(maintenance.snapshots)) {
    return ["No snapshot is taken but the first: nothing is ever deleted, and a restore replays it all."];
  }
  if (horizon.end === "never") {
    return ["Retention is not applied: the bucket grows until `walrust compact` is run."];
  }
  return ["The two newest snapshots always; nothing from before the oldest one that is kept."];
}

// Words

/** How far back something reaches, where the calendar decides about days. */
function reachText(ageMs: number): string {
  if (ageMs < 2 * DAY_MS) return `at least ${durationText(Math.floor(ageMs / HOUR_MS) * HOUR_MS || ageMs)}`;
  const days = Math.floor(ageMs / DAY_MS);
  return days < 90 ? `at least ${days} days` : `at least ${Math.floor(ageMs / MONTH_MS)} months`;
}

const UNITS = [
  ["week", 7 * DAY_MS],
  ["day", DAY_MS],
  ["hour", HOUR_MS],
  ["minute", 60_000],
  ["second", SECOND_MS],
] as const;

/** How often: "every hour", "every 5 minutes". */
function everyText(intervalMs: number): string {
  return `every ${durationText(intervalMs).replace(/^1 /, "")}`;
}

/** A duration in the largest unit that suits it: "30 seconds", "1 week", "1.5 hours". */
function durationText(durationMs: number): string {
  if (!Number.isFinite(durationMs)) return "ever";
  const exact = UNITS.find(([, unitMs]) => durationMs >= unitMs && durationMs % unitMs === 0);
  const [word, unitMs] = exact ?? UNITS.find(([, unit]) => durationMs >= 2 * unit) ?? UNITS.at(-1)!;
  const count = Number((durationMs / unitMs).toPrecision(3));
  return count === 1 ? `1 ${word}` : `${count} ${word}s`;
}
