/**
 * PURE: the points in time that can be restored under a configuration, as spans of age and as sentences.
 *
 * The rules are those of compaction-plan.ts and retention-plan.ts. An object stays for its lifetime after a
 * higher level has covered it, an object of the highest level until retention. The last TXID of each object
 * is a point. Retention keeps the history whole from the oldest kept snapshot on, on all levels, and deletes
 * the objects before it: kept snapshots are points that restore fast, not the only ones. Each age is a
 * minimum, because walrust checks for expired objects only every `EXPIRY_INTERVAL_MS`.
 *
 * A point exists where something was committed: "every hour" means each hour in which something changed.
 */
import type { CompactionConfig, DatabaseConfig, RetentionConfig, SyncConfig } from "../config/config.ts";
import { HIGHEST_LEVEL, isLevelMade } from "../replication/upkeep/compaction-plan.ts";
import { PROVEN_SNAPSHOTS } from "../replication/upkeep/retention-plan.ts";
import { keptSnapshots } from "./kept-snapshots.ts";

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** For texts only; retention itself uses the calendar. */
const MONTH_MS = 30 * DAY_MS;
/** Snapshots that follow the amount of changes, or idle times, may come this close together. */
const IRREGULAR_MS = 60_000;

/** Points of one kind, from the age at which the span before ends. */
export interface RestorableSpan {
  /** Points of "snapshots" lie among the others and restore without a long replay. */
  readonly kind: "captures" | "merges" | "snapshots";
  /** Least age in ms up to which these points stay; null: unknown. */
  readonly until: number | null;
  /** The end of these points. "never": they stay until somebody runs `walrust compact`. */
  readonly end: "age" | "oldest-snapshot" | "never";
  /** Most time in ms between two points while something changes; null: it depends on the changes. */
  readonly spacingMs: number | null;
  /** One sentence about the span. */
  readonly what: string;
}

/** All points that can be restored. */
export interface RestorablePoints {
  /** Captures and merges by age, then snapshots by kind. */
  readonly spans: readonly RestorableSpan[];
  /** The same as text. */
  readonly sentences: readonly string[];
}

/** The age at which retention ends the history. */
interface Horizon {
  readonly end: "oldest-snapshot" | "never";
  /** Least age of the oldest kept snapshot in ms; null: unknown. */
  readonly ageMs: number | null;
}

/** The points in time that stay restorable under these options. */
export function restorablePoints(config: DatabaseConfig): RestorablePoints {
  const horizon = horizonOf(config);
  const spans = [...historySpans(config, horizon), ...snapshotSpans(config, horizon)];
  return { spans, sentences: [...spans.map(({ what }) => what), ...closing(config, horizon)] };
}

// Captures and merges

function historySpans({ sync, compaction }: DatabaseConfig, horizon: Horizon): RestorableSpan[] {
  const spans: RestorableSpan[] = [];
  let reachedMs = 0;
  let spacingMs = sync.walSyncIntervalMs;
  for (let level = 0; level <= HIGHEST_LEVEL; level++) {
    if (level > 0 && compaction.enabled) spacingMs = spacingOf(compaction, level, spacingMs);
    const untilMs = isMade(compaction, level + 1) ? compaction.lifetimesMs[level]! : Number.POSITIVE_INFINITY;
    const isLast = untilMs >= (horizon.ageMs ?? Number.POSITIVE_INFINITY);
    // A finer level outlives this one, which then adds no points.
    if (untilMs <= reachedMs) continue;
    reachedMs = untilMs;
    const bounds: Pick<RestorableSpan, "until" | "end"> = isLast
      ? { until: horizon.ageMs, end: horizon.end }
      : { until: untilMs, end: "age" };
    const preserved = Math.max(1, compaction.enabled ? compaction.preserveRecent : 1);
    const what =
      level === 0
        ? captureSentence(sync, bounds, preserved)
        : `Then one point ${everyText(spacingMs)} ${boundsText(bounds)}.`;
    spans.push({ kind: level === 0 ? "captures" : "merges", spacingMs, ...bounds, what });
    if (isLast) break;
  }
  return spans;
}

/** Whether objects of this level are ever made. */
function isMade(compaction: CompactionConfig, level: number): boolean {
  if (!compaction.enabled || level > HIGHEST_LEVEL) return false;
  return Array.from({ length: level }, (_, below) => isLevelMade(compaction, below + 1)).every(Boolean);
}

/** Most time between two points of a level: no less than on the level below, which it is merged from. */
function spacingOf(compaction: CompactionConfig, level: number, belowMs: number): number {
  const { levelsMs, maxIncrementalAgeMs } = compaction;
  const isEarly = level === 1 && maxIncrementalAgeMs > 0;
  const earlyMs = isEarly ? maxIncrementalAgeMs : Number.POSITIVE_INFINITY;
  return Math.max(belowMs, Math.min(levelsMs[level - 1] ?? Number.POSITIVE_INFINITY, earlyMs));
}

function captureSentence(
  { walSyncIntervalMs }: SyncConfig,
  bounds: Pick<RestorableSpan, "until" | "end">,
  preserved: number,
): string {
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

/** The far end of the history. */
function horizonOf({ sync, retention }: DatabaseConfig): Horizon {
  const never: Horizon = { end: "never", ageMs: null };
  if (!isRetentionApplied(sync) || !areSnapshotsTaken(sync)) return never;
  const periodMs = periodOf(sync);
  if (periodMs === null) return { end: "oldest-snapshot", ageMs: null };
  const periods = isIrregular(sync) ? [periodMs, Math.min(periodMs, IRREGULAR_MS)] : [periodMs];
  const ages = periods.map((each) => keptSnapshots(retention, each).reachMinMs);
  return { end: "oldest-snapshot", ageMs: Math.min(...ages) };
}

function isRetentionApplied({ compactAfterSnapshot, compactIntervalMs }: SyncConfig): boolean {
  return compactAfterSnapshot || (compactIntervalMs > 0 && Number.isFinite(compactIntervalMs));
}

function areSnapshotsTaken(sync: SyncConfig): boolean {
  return periodOf(sync) !== null || isIrregular(sync);
}

/** Whether snapshots follow the writes, not only the clock. */
function isIrregular({ maxChanges, onIdleMs }: SyncConfig): boolean {
  return isOn(maxChanges) || isOn(onIdleMs);
}

/** Most time between two snapshots of a database that always changes; null: no snapshot follows the clock. */
function periodOf({ snapshotIntervalMs, maxIntervalMs }: SyncConfig): number | null {
  const periods = [snapshotIntervalMs, maxIntervalMs].filter(isOn);
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
] as const satisfies readonly (readonly [keyof RetentionConfig, number, string])[];

function snapshotSpans({ sync, retention }: DatabaseConfig, horizon: Horizon): RestorableSpan[] {
  if (!areSnapshotsTaken(sync)) return [];
  const periodMs = periodOf(sync);
  if (horizon.end === "never") {
    const what = `Every snapshot (${snapshotText(sync)}) for ever.`;
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

function snapshotText(sync: SyncConfig): string {
  const { snapshotIntervalMs, maxIntervalMs, maxChanges, onIdleMs } = sync;
  const triggers = [
    isOn(snapshotIntervalMs) ? everyText(snapshotIntervalMs) : "",
    isOn(maxIntervalMs) ? `${durationText(maxIntervalMs)} after the first change` : "",
    isOn(maxChanges) ? `after ${maxChanges} frames` : "",
    isOn(onIdleMs) ? `after ${durationText(onIdleMs)} without a change` : "",
  ];
  return triggers.filter((trigger) => trigger !== "").join(", ");
}

/** The closing sentence, about all spans. */
function closing({ sync }: DatabaseConfig, horizon: Horizon): string[] {
  if (!areSnapshotsTaken(sync)) {
    return [
      "Only the first snapshot is taken: nothing is ever deleted, and a restore replays the whole history.",
    ];
  }
  if (horizon.end === "never") {
    return ["Retention does not run: the bucket grows until you run `walrust compact --force`."];
  }
  return [
    `The ${PROVEN_SNAPSHOTS} newest snapshots always stay.` +
      " Nothing before the oldest kept snapshot can be restored.",
  ];
}

// Words

/** An age as text, in whole days where the calendar decides. */
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

/** An interval as text: "every hour", "every 5 minutes". */
function everyText(intervalMs: number): string {
  return `every ${durationText(intervalMs).replace(/^1 /, "")}`;
}

/** A duration in the largest unit that fits: "30 seconds", "1 week", "1.5 hours". */
function durationText(durationMs: number): string {
  if (!Number.isFinite(durationMs)) return "ever";
  const exact = UNITS.find(([, unitMs]) => durationMs >= unitMs && durationMs % unitMs === 0);
  const [word, unitMs] = exact ?? UNITS.find(([, unit]) => durationMs >= 2 * unit) ?? UNITS.at(-1)!;
  const count = Number((durationMs / unitMs).toPrecision(3));
  return count === 1 ? `1 ${word}` : `${count} ${word}s`;
}
