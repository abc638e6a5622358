/**
 * Presets of the benchmark, and the specs that the options select. PURE.
 *
 * - `table`: the table of the project's README.
 * - `quick`: a little of each case, in three minutes.
 * - `scalability`: 1, 10, 50 and 100 databases at 10, 100 and 1,000 commits/s each.
 * - `goals`: all specs of goals.ts.
 * - `full`: every combination of count, rate, size, delay and scheme that a machine may have room for.
 */
import { GOALS, goalSpecs } from "./goals.ts";
import { LOAD, LOOPBACK, type LoadSpec, type Spec } from "./spec.ts";

/** Names of the presets. */
export const PRESET_NAMES = ["table", "quick", "scalability", "goals", "full"] as const;

/** Name of a preset. */
export type PresetName = (typeof PRESET_NAMES)[number];

/** Lists of which `loadsOf` makes all combinations. */
export interface Axes {
  readonly databaseCounts: readonly number[];
  readonly rates: readonly number[];
  readonly sizesBytes: readonly number[];
  readonly delaysMs: readonly number[];
  readonly schemes: readonly LoadSpec["scheme"][];
}

/** Values that replace those of every spec with such a value. */
export interface Overrides {
  readonly warmUpMs?: number;
  readonly durationMs?: number;
  readonly end?: LoadSpec["end"];
  readonly verifyCount?: number;
  readonly lineRate?: number;
  readonly user?: string;
  readonly commitCount?: number;
  readonly rounds?: number;
  readonly incrementCount?: number;
  readonly isObserved?: boolean;
}

const KB_100 = 100_000;
const MB_500 = 500e6;

const ONE_OF_EACH: Axes = {
  ...{ databaseCounts: [1], rates: [1], sizesBytes: [KB_100], delaysMs: [0], schemes: ["http"] },
};

/** Axes of a single load, for those that the options leave out. */
export const DEFAULT_AXES: Axes = { ...ONE_OF_EACH, databaseCounts: [1, 100] };

const BRIEF = { warmUpMs: 2_000, durationMs: 8_000 };

const QUICK: readonly Spec[] = [
  { ...LOAD, databaseCount: 1, ...BRIEF, verifyCount: 1 },
  { ...LOAD, databaseCount: 100, ...BRIEF, delayMs: 25, end: "kill", verifyCount: 5 },
  { ...LOAD, databaseCount: 10, commitsPerSecond: 10, ...BRIEF, scheme: "https", verifyCount: 3 },
  { ...LOOPBACK, case: "lag", commitCount: 15 },
  { case: "commit", walFrames: 10_000, commitCount: 100 },
  { ...LOOPBACK, case: "large", sizeBytes: 100e6, rounds: 1 },
  { case: "history", incrementCount: 300 },
];

const SCALABILITY: Axes = { ...ONE_OF_EACH, databaseCounts: [1, 10, 50, 100], rates: [10, 100, 1_000] };

const FULL: Axes = {
  databaseCounts: [1, 10, 100, 500, 1_000],
  rates: [0, 1, 10, 40, 100],
  sizesBytes: [KB_100, MB_500, 4e9],
  delaysMs: [0, 25, 100],
  schemes: ["http", "https"],
};

/** The specs of a preset. */
export function presetSpecs(name: PresetName): readonly Spec[] {
  switch (name) {
    case "table":
      return tableSpecs();
    case "quick":
      return QUICK;
    case "scalability":
      return loadsOf({ ...LOAD, durationMs: 30_000, end: "kill" }, SCALABILITY);
    case "goals":
      return goalSpecs(GOALS);
    case "full":
      return [...loadsOf(LOAD, FULL), ...tableSpecs().filter((spec) => spec.case !== "load"), largest()];
  }
}

function tableSpecs(): Spec[] {
  return [
    ...[1, 10, 100, 500].map((databaseCount): Spec => ({ ...LOAD, databaseCount })),
    { ...LOAD, databaseCount: 500, commitsPerSecond: 0 },
    { ...LOAD, databaseCount: 500, delayMs: 25, end: "kill" },
    { ...LOOPBACK, case: "lag", commitCount: 40 },
    { case: "commit", walFrames: 10_000, commitCount: 200 },
    { ...LOOPBACK, case: "large", sizeBytes: MB_500, rounds: 3 },
    { case: "history", incrementCount: 10_000 },
  ];
}

function largest(): Spec {
  return { ...LOOPBACK, case: "large", sizeBytes: 4e9, rounds: 1 };
}

/** A load for each combination of the axes; the first axis turns slowest. */
export function loadsOf(base: LoadSpec, axes: Axes): LoadSpec[] {
  const { databaseCounts, rates, sizesBytes, delaysMs, schemes } = axes;
  return schemes.flatMap((scheme) =>
    delaysMs.flatMap((delayMs) =>
      sizesBytes.flatMap((sizeBytes) =>
        databaseCounts.flatMap((databaseCount) =>
          rates.map((commitsPerSecond) => ({
            ...base,
            ...{ scheme, delayMs, sizeBytes, databaseCount, commitsPerSecond },
          })),
        ),
      ),
    ),
  );
}

/** The spec with every override whose value it has. */
export function override(spec: Spec, overrides: Overrides): Spec {
  const known = Object.entries(overrides).filter(([key, value]) => value !== undefined && key in spec);
  return { ...spec, ...Object.fromEntries(known) };
}

/** A shorter run of the same work, for a check of the benchmark itself. */
export function shorten(spec: Spec): Spec {
  return override(spec, {
    ...{
      warmUpMs: 3_000,
      durationMs: 10_000,
      verifyCount: 3,
      commitCount: 20,
      rounds: 1,
      incrementCount: 500,
    },
  });
}
