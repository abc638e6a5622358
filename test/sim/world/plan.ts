/**
 * The plan of a run: everything that the seed decides before the run begins. A profile bounds the kinds of
 * trouble, so that some runs can demand more: without crashes and without meddling, for example, walrust may
 * never anchor a history anew.
 */

import type { Config } from "../../../src/config/config.ts";
import { type ConfigChange, configWith } from "../../support/config.ts";
import type { Chance } from "./chance.ts";
import type { DatabasePlan } from "./databases.ts";
import type { StoreRates } from "./store-faults.ts";

/**
 * `clean`: transactions and checkpoints at any moment, and a store that fails. `crash`: walrust is killed
 * between any two operations. `power`: the power is cut, too. `disk`: operations on files fail. `meddling`:
 * somebody removes, replaces and recreates files. `all`: everything.
 */
export type Profile = "clean" | "crash" | "power" | "disk" | "meddling" | "all";

/** The plan of one run. */
export interface Plan {
  readonly seed: number;
  readonly profile: Profile;
  readonly config: Config;
  readonly databases: readonly DatabasePlan[];
  readonly store: StoreRates;
  /** Whether walrust learns of writes by events. */
  readonly hasEvents: boolean;
  /** How long the run goes on before everything is healed, in ms of its clock. */
  readonly durationMs: number;
  /** Mean time between two actions of the application. */
  readonly actionMeanMs: number;
  /** Mean number of operations between two interventions. */
  readonly interventionMean: number;
  readonly mayCrash: boolean;
  readonly mayCutPower: boolean;
  readonly mayFailDisk: boolean;
  readonly mayMeddle: boolean;
  /** Whether another writer takes the prefix of the first database. */
  readonly hasIntruder: boolean;
  /** Whether somebody asks for syncs. */
  readonly hasSyncs: boolean;
  /** Whether somebody deletes objects from the bucket. */
  readonly mayLoseObjects: boolean;
}

const PROFILES: readonly (readonly [weight: number, profile: Profile])[] = [
  [25, "clean"],
  [25, "crash"],
  [15, "power"],
  [10, "disk"],
  [15, "meddling"],
  [10, "all"],
];

/** One of so many seeds has an intruder. */
const INTRUDED_SEEDS = 3;

/** One of so many seeds has syncs. */
const SYNCED_SEEDS = 2;

/** The plan of a seed. @param folder holds the databases */
export function planOf(seed: number, chance: Chance, folder: string): Plan {
  const profile = chance.weighted(PROFILES);
  const has = (...profiles: Profile[]): boolean => profile === "all" || profiles.includes(profile);
  const databaseCount = chance.weighted([
    [5, 1],
    [3, 2],
    [1, 3],
  ]);
  const databases = Array.from({ length: databaseCount }, (_, index) => databaseOf(index, chance, folder));
  const hasIntruder = profile === "clean" && seed % INTRUDED_SEEDS === 0;
  const hasSyncs = seed % SYNCED_SEEDS === 0;
  return {
    seed,
    profile,
    config: configWith(configOf(chance)),
    databases,
    store: { failure: chance.of([0, 0.02, 0.1, 0.3]), latencyMs: chance.of([1, 10, 60]) },
    hasEvents: chance.is(0.6),
    durationMs: chance.of([6_000, 12_000, 25_000]),
    actionMeanMs: chance.of([60, 150, 400]),
    interventionMean: chance.of([40, 150, 600]),
    mayCrash: has("crash", "power", "disk", "meddling"),
    mayCutPower: has("power"),
    mayFailDisk: has("disk"),
    mayMeddle: has("meddling"),
    hasIntruder,
    hasSyncs,
    mayLoseObjects: profile === "clean" && hasSyncs && !hasIntruder,
  };
}

function databaseOf(index: number, chance: Chance, folder: string): DatabasePlan {
  const name = ["app", "data", "logs"][index] ?? `db${index}`;
  return {
    name,
    path: `${folder}/${name}/app.db`,
    pageSizeBytes: chance.of([512, 1024, 4096, 4096]),
    autocheckpoint: chance.of([1, 10, 50, 1000]),
    isFullySynced: chance.is(0.3),
  };
}

function configOf(chance: Chance): ConfigChange {
  const isShortLived = chance.is(0.5);
  return {
    sync: {
      walSyncIntervalMs: chance.of([1, 100, 1_000]),
      checkpointIntervalMs: chance.of([1_000, 10_000, 60_000]),
      minCheckpointPageCount: chance.of([5, 40, 1_000]),
      walTruncateThresholdPages: chance.of([10, 200, 100_000]),
      snapshotIntervalMs: chance.of([0, 3_000, 3_600_000]),
      onStartup: chance.is(0.5),
      compactAfterSnapshot: chance.is(0.4),
      compactIntervalMs: chance.of([0, 0, 4_000]),
      shutdownTimeoutMs: 5_000,
    },
    compaction: {
      enabled: chance.is(0.8),
      levelsMs: isShortLived ? [500, 2_000, 6_000] : [30_000, 300_000, 3_600_000],
      lifetimesMs: isShortLived ? [1_500, 4_000, 12_000] : [3_600_000, 86_400_000, 604_800_000],
    },
    cache: {
      enabled: chance.is(0.75),
      retentionMs: chance.of([0, 2_000, 86_400_000]),
      maxSizeBytes: chance.of([5 << 30, 5 << 30, 20_000]),
      uploaderConcurrency: chance.of([4, 16]),
    },
    retry: {
      maxRetries: chance.of([0, 2, 5]),
      baseDelayMs: 50,
      maxDelayMs: 1_000,
      circuitBreakerEnabled: chance.is(0.7),
      circuitBreakerThreshold: chance.of([2, 5]),
      circuitBreakerCooldownMs: 2_000,
    },
  } as ConfigChange;
}
