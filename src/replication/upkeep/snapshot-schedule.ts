/**
 * Decides when a snapshot is due, from the changes since the last one. Intervals are measured on the
 * monotonic clock, so a wall clock that jumps neither delays nor repeats snapshots. Only the age of the
 * newest snapshot at the attach is wall time, and it is read once.
 */
import type { SyncConfig } from "../../config/config.ts";

/** The settings of the triggers; 0 switches a trigger off. */
export type SnapshotTriggers = Pick<
  SyncConfig,
  "snapshotIntervalMs" | "maxChanges" | "maxIntervalMs" | "onIdleMs" | "onStartup"
>;

/** The changes since the last snapshot; times on the monotonic clock, in ms. */
export interface SnapshotFacts {
  /** The time of the last snapshot, or of the attach if that was later. */
  readonly lastSnapshotMs: number;
  /** Frames captured since then. */
  readonly changes: number;
  /** The first and the last capture since then, or null when there was none. */
  readonly firstChangeMs: number | null;
  readonly lastChangeMs: number | null;
  /**
   * Whether the newest snapshot was older than the interval at the attach, and none was taken since.
   */
  readonly isStaleAtStart: boolean;
}

/** Why a snapshot is due now, or null. Without a change since the last one, none is due. */
export function dueSnapshotOrNull(
  policy: SnapshotTriggers,
  facts: SnapshotFacts,
  nowMs: number,
): string | null {
  if (policy.onStartup && facts.isStaleAtStart) return "startup";
  if (facts.firstChangeMs === null || facts.lastChangeMs === null) return null;
  const { snapshotIntervalMs, maxChanges, maxIntervalMs, onIdleMs } = policy;
  if (snapshotIntervalMs > 0 && nowMs - facts.lastSnapshotMs >= snapshotIntervalMs) return "interval";
  if (maxChanges > 0 && facts.changes >= maxChanges) return "max-changes";
  if (maxIntervalMs > 0 && nowMs - facts.firstChangeMs >= maxIntervalMs) return "max-interval";
  if (onIdleMs > 0 && nowMs - facts.lastChangeMs >= onIdleMs) return "on-idle";
  return null;
}

/**
 * When the next snapshot is due without further captures, on the monotonic clock: now, later, or null for
 * never.
 */
export function nextSnapshotMsOrNull(
  policy: SnapshotTriggers,
  facts: SnapshotFacts,
  nowMs: number,
): number | null {
  if (dueSnapshotOrNull(policy, facts, nowMs) !== null) return nowMs;
  const { lastSnapshotMs, firstChangeMs, lastChangeMs } = facts;
  if (firstChangeMs === null || lastChangeMs === null) return null;
  const { snapshotIntervalMs, maxIntervalMs, onIdleMs } = policy;
  const triggers = [
    [lastSnapshotMs, snapshotIntervalMs],
    [firstChangeMs, maxIntervalMs],
    [lastChangeMs, onIdleMs],
  ] as const;
  const times = triggers.filter(([, intervalMs]) => intervalMs > 0).map(([sinceMs, ms]) => sinceMs + ms);
  return times.length === 0 ? null : Math.min(...times);
}

/** The facts of one database. */
export class SnapshotSchedule {
  #lastSnapshotMs: number;
  #changes = 0;
  #firstChangeMs: number | null = null;
  #lastChangeMs: number | null = null;
  #isStaleAtStart = false;

  constructor(nowMs: number) {
    this.#lastSnapshotMs = nowMs;
  }

  /**
   * Begins with the age of the newest snapshot at the attach.
   * @param ageMs by the wall clock; null when there is no snapshot. A clock that went back counts as age 0
   * @param hasChanges whether the history continues after the snapshot
   */
  begin(nowMs: number, ageMs: number | null, hasChanges: boolean, policy: SnapshotTriggers): void {
    const age = ageMs === null ? Number.POSITIVE_INFINITY : Math.max(0, ageMs);
    this.#isStaleAtStart = hasChanges && policy.snapshotIntervalMs > 0 && age >= policy.snapshotIntervalMs;
    // Without a snapshot at start, the interval begins anew, or a snapshot would be due at once all the same.
    const isLate = age >= policy.snapshotIntervalMs && !policy.onStartup;
    this.#lastSnapshotMs = isLate ? nowMs : nowMs - Math.min(age, policy.snapshotIntervalMs);
    if (!hasChanges) return;
    this.#firstChangeMs = nowMs;
    this.#lastChangeMs = nowMs;
  }

  captured(nowMs: number, frameCount: number): void {
    this.#changes += frameCount;
    this.#firstChangeMs ??= nowMs;
    this.#lastChangeMs = nowMs;
  }

  /** A snapshot was taken. */
  taken(nowMs: number): void {
    this.#lastSnapshotMs = nowMs;
    this.#changes = 0;
    this.#firstChangeMs = null;
    this.#lastChangeMs = null;
    this.#isStaleAtStart = false;
  }

  dueOrNull(policy: SnapshotTriggers, nowMs: number): string | null {
    return dueSnapshotOrNull(policy, this.#facts, nowMs);
  }

  /** When the next snapshot is due, see `nextSnapshotMsOrNull`. */
  nextMs(policy: SnapshotTriggers, nowMs: number): number | null {
    return nextSnapshotMsOrNull(policy, this.#facts, nowMs);
  }

  get #facts(): SnapshotFacts {
    return {
      lastSnapshotMs: this.#lastSnapshotMs,
      changes: this.#changes,
      firstChangeMs: this.#firstChangeMs,
      lastChangeMs: this.#lastChangeMs,
      isStaleAtStart: this.#isStaleAtStart,
    };
  }
}
