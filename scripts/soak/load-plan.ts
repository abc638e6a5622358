/**
 * Plans the databases of a soak and the load on each. PURE: the same seed gives the same plan.
 *
 * The plan goes through the rates, sizes and habits in turn, with periods that share no factor, so 50
 * databases hold most combinations. The seed moves the times of all actions.
 */
import { seededRandom } from "../measure/databases.ts";

/** A checkpoint that another process of the application makes. */
export type CheckpointMode = "PASSIVE" | "FULL" | "RESTART" | "TRUNCATE";

/** Rate of the commits to one database. */
export type Rate = "idle" | "rare" | "steady" | "fast" | "bursts";

/** One database, its load, and the settings of walrust for it. */
export interface DatabasePlan {
  /** File stem, and name in the bucket. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly rate: Rate;
  /** SQLite's own autocheckpoint in pages; 0 is off. */
  readonly autocheckpointPages: number;
  /** A checkpoint from another process; null for none. */
  readonly checkpoint: { readonly mode: CheckpointMode; readonly everyMs: number } | null;
  /** A transaction over half of the rows; null for none. */
  readonly largeEveryMs: number | null;
  /** A table that grows the file, is dropped, and leaves a VACUUM; null for none. */
  readonly vacuumEveryMs: number | null;
  /** The last connection closes and opens again a second later; null for never. */
  readonly reopenEveryMs: number | null;
  /** Part of all intervals that passes before the first action, 0 to 1. */
  readonly phase: number;
  readonly settings: DatabaseSettings;
}

/** Settings of walrust in the `[[databases]]` entry, by their keys. */
export interface DatabaseSettings {
  readonly snapshot_interval: number;
  readonly compact_after_snapshot: boolean;
  readonly on_idle: number;
  readonly max_changes: number;
  readonly validation_interval: number;
}

const KB = 1_000;
const MB = 1_000_000;
const SIZES = [100 * KB, 100 * KB, 300 * KB, 100 * KB, 1 * MB, 100 * KB, 300 * KB, 4 * MB, 100 * KB];
/** Two of fifty are large, by their index. */
const LARGE_SIZES: ReadonlyMap<number, number> = new Map([
  [7, 15 * MB],
  [23, 30 * MB],
]);
const RATES: readonly Rate[] = ["steady", "rare", "bursts", "idle", "steady", "fast", "rare"];
const AUTOCHECKPOINTS = [1000, 1000, 1, 100, 0];
const MODES: readonly (CheckpointMode | null)[] = [
  "PASSIVE",
  null,
  "FULL",
  "RESTART",
  null,
  "TRUNCATE",
  null,
  null,
];
const SECOND_MS = 1_000;
/**
 * A database without retention keeps all objects until the sources of merges expire, after an hour. Memory
 * follows the number of objects: with 17 such databases, garbage grew by 18 MB in 45 minutes, and a new
 * process on the same bucket began with the same memory. So only a few databases are without retention.
 */
const WITHOUT_RETENTION_EVERY = 10;

/** Plans `count` databases. */
export function planLoad(seed: number, count: number): DatabasePlan[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => planDatabase(index, random));
}

function planDatabase(index: number, random: () => number): DatabasePlan {
  const pick = <Item>(items: readonly Item[]): Item => items[index % items.length]!;
  const between = (min: number, max: number): number => Math.round(min + random() * (max - min));
  const every = (isPlanned: boolean, minSeconds: number, maxSeconds: number): number | null => {
    const everyMs = between(minSeconds * SECOND_MS, maxSeconds * SECOND_MS);
    return isPlanned ? everyMs : null;
  };
  const sizeBytes = LARGE_SIZES.get(index % 50) ?? pick(SIZES);
  const isLarge = sizeBytes >= 10 * MB;
  const rate = pick(RATES);
  const isWritten = rate !== "idle";
  const mode = pick(MODES);
  const autocheckpointPages = pick(AUTOCHECKPOINTS);
  const checkpointEveryMs = between(3 * SECOND_MS, 20 * SECOND_MS);
  return {
    name: `soak-${String(index + 1).padStart(3, "0")}`,
    ...{ sizeBytes, rate, autocheckpointPages },
    checkpoint: mode === null || !isWritten ? null : { mode, everyMs: checkpointEveryMs },
    largeEveryMs: every(isWritten && index % 4 === 3, isLarge ? 90 : 20, isLarge ? 150 : 60),
    vacuumEveryMs: every(isWritten && index % 9 === 4, 40, 90),
    reopenEveryMs: every(index % 5 === 2, 10, 40),
    phase: random(),
    settings: {
      snapshot_interval: isLarge ? 120 : between(20, 60),
      compact_after_snapshot: index % WITHOUT_RETENTION_EVERY !== 0,
      on_idle: index % 11 === 1 ? 5 : 0,
      max_changes: index % 13 === 5 ? 2_000 : 0,
      validation_interval: index % 10 === 6 ? between(45, 90) : 0,
    },
  };
}
