/**
 * The settings of upkeep: when snapshots are taken, how levels are compacted, what retention keeps.
 */

/** When snapshots are taken; 0 switches a trigger off. */
export interface SnapshotPolicy {
  readonly intervalMs: number;
  /** Frames captured since the last snapshot. */
  readonly maxChanges: number;
  /** Time since the first change after the last snapshot. */
  readonly maxIntervalMs: number;
  /** Time without a change, after there were some. */
  readonly onIdleMs: number;
  /** Whether one is taken at start when the newest is older than `intervalMs`. */
  readonly onStartup: boolean;
}

/** When and how levels are compacted. */
export interface CompactionPolicy {
  /** How often each of levels 1, 2, 3 is made, in ms; Infinity: that level is not made. */
  readonly intervalsMs: readonly [number, number, number];
  /** Level-0 objects that start a compaction early; 0: never. */
  readonly threshold: number;
  /** Bytes on level 0 that start a compaction early; 0: never. */
  readonly sizeBytes: number;
  /** Age of the oldest level-0 object that starts a compaction early, in ms; 0: never. */
  readonly maxIncrementalAgeMs: number;
  readonly preserveRecent: number;
  /** How long an object of level 0, 1, 2 lives after it was compacted, in ms. */
  readonly lifetimesMs: readonly [number, number, number];
}

/** How many snapshots of each kind are kept. */
export interface RetentionPolicy {
  readonly hourly: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
}

/** How objects are kept up. */
export interface MaintenanceOptions {
  readonly snapshots: SnapshotPolicy;
  /** Null: nothing is compacted. */
  readonly compaction: CompactionPolicy | null;
  readonly retention: RetentionPolicy;
  /** How often retention runs; 0: only after snapshots, if at all. */
  readonly retentionIntervalMs: number;
  readonly retainAfterSnapshot: boolean;
  /** How long uploaded increments stay in the spool; 0: not at all. */
  readonly cacheRetentionMs: number;
}

/** What compaction and retention need of the options. */
export type UpkeepPolicy = Pick<MaintenanceOptions, "compaction" | "retention">;
