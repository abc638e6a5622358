/**
 * The goals of the project as data: a row names one or more columns, each with a spec, a value of its result,
 * and a limit. PURE.
 */
import {
  describeSpec,
  type LagSpec,
  type LargeSpec,
  LOAD,
  LOOPBACK,
  type LoadSpec,
  type Spec,
} from "./spec.ts";

/** One figure of a goal. */
export interface GoalColumn {
  readonly spec: Spec;
  /** Name of the value; its end is the unit. */
  readonly key: string;
  /** Largest value that reaches the goal, in the unit of the value. */
  readonly limit: number;
}

/** One row of the table of goals. */
export interface Goal {
  readonly label: string;
  readonly columns: readonly GoalColumn[];
}

const MB = 1e6;
/** Memory counts in the fifth minute of the load: a heap grows before it settles. */
const LONG_MS = 240_000;
/** Long enough for the requests after a start, such as a listing, to be over. */
const SETTLED_MS = 60_000;

const counts = (count: number): LoadSpec => ({ ...LOAD, databaseCount: count, warmUpMs: LONG_MS });
const IDLE: LoadSpec = { ...LOAD, databaseCount: 500, commitsPerSecond: 0, warmUpMs: SETTLED_MS };
const FAST: LoadSpec = { ...LOAD, databaseCount: 400, commitsPerSecond: 40, end: "kill" };
const RARE: LoadSpec = {
  ...LOAD,
  databaseCount: 3,
  commitsPerSecond: 0.1,
  warmUpMs: SETTLED_MS,
  durationMs: 120_000,
};
const LAG: LagSpec = { ...LOOPBACK, case: "lag", commitCount: 40 };
const LARGE: LargeSpec = { ...LOOPBACK, case: "large", sizeBytes: 513e6, rounds: 3 };
const LARGEST: LargeSpec = { ...LOOPBACK, case: "large", sizeBytes: 4e9, rounds: 1 };

const far = (databaseCount: number, delayMs: number): GoalColumn => ({
  spec: { ...LOAD, databaseCount, delayMs, end: "kill" },
  key: "behindEndMs",
  limit: 1_200,
});

const commit = (walFrames: number): GoalColumn => ({
  spec: { case: "commit", walFrames, commitCount: 300 },
  key: "commitFactor",
  limit: 1.1,
});

/** All goals, in the order of the design. */
export const GOALS: readonly Goal[] = [
  {
    label: "RSS, 1 / 10 / 100 / 500 databases of 100 KB, 1 commit/s each",
    columns: [28, 30, 34, 42].map((megabytes, index) => ({
      spec: counts([1, 10, 100, 500][index]!),
      key: "rssMedianBytes",
      limit: megabytes * MB,
    })),
  },
  {
    label: "of it anonymous",
    columns: [8, 9, 12, 18].map((megabytes, index) => ({
      spec: counts([1, 10, 100, 500][index]!),
      key: "anonymousMedianBytes",
      limit: megabytes * MB,
    })),
  },
  {
    label: "RSS as the user nobody, 1 / 500 databases, 1 commit/s each",
    columns: [1, 500].map((count) => ({
      spec: { ...counts(count), user: "nobody" },
      key: "rssMedianBytes",
      limit: (count === 1 ? 28 : 42) * MB,
    })),
  },
  {
    label: "peak RSS at the start, 500 databases",
    columns: [{ spec: counts(500), key: "startPeakRssBytes", limit: 70 * MB }],
  },
  {
    label: "500 idle: RSS, CPU, requests/s, descriptors, threads",
    columns: [
      { spec: IDLE, key: "rssMedianBytes", limit: 36 * MB },
      { spec: IDLE, key: "cpuShare", limit: 0.005 },
      { spec: IDLE, key: "requestsPerSecond", limit: 0 },
      { spec: IDLE, key: "descriptorCount", limit: 1_100 },
      { spec: IDLE, key: "threadCount", limit: 10 },
    ],
  },
  {
    label: "CPU and system calls per uploaded increment, 500 databases, 1 commit/s each",
    columns: [
      { spec: counts(500), key: "cpuPerIncrementMs", limit: 0.3 },
      { spec: counts(500), key: "callsPerIncrement", limit: 12 },
    ],
  },
  {
    label: "commit → object, isolated, p50 / p95, and PUTs of level 0 for it",
    columns: [
      { spec: LAG, key: "lagP50Ms", limit: 15 },
      { spec: LAG, key: "lagP95Ms", limit: 30 },
      { spec: LAG, key: "incrementsPerCommit", limit: 1.1 },
    ],
  },
  {
    label: "seconds behind, 1 commit/s each, storage far away: 500 at 50 ms, 500 at 200 ms, 1,000 at 50 ms",
    columns: [far(500, 25), far(500, 100), far(1_000, 25)],
  },
  {
    label: "seconds behind at SIGKILL, 400 databases, 40 commits/s each",
    columns: [{ spec: FAST, key: "behindEndMs", limit: 1_200 }],
  },
  {
    label: "LIST requests a database and month at 0.1 commits/s",
    columns: [{ spec: RARE, key: "listsPerDatabaseMonth", limit: 1_000 }],
  },
  {
    label: "snapshot of 513 MB, wall / peak RSS",
    columns: [
      { spec: LARGE, key: "snapshotWallMs", limit: 4_000 },
      { spec: LARGE, key: "snapshotPeakRssBytes", limit: 50 * MB },
    ],
  },
  {
    label: "restore of it, with integrity check",
    columns: [
      { spec: LARGE, key: "checkedRestoreWallMs", limit: 2_200 },
      { spec: LARGE, key: "checkedRestorePeakRssBytes", limit: 60 * MB },
    ],
  },
  {
    label: "4 GB: peak RSS of snapshot / restore",
    columns: [
      { spec: LARGEST, key: "snapshotPeakRssBytes", limit: 50 * MB },
      { spec: LARGEST, key: "checkedRestorePeakRssBytes", limit: 60 * MB },
    ],
  },
  {
    label: "the application's commit beside the tool, p50 at 1,000 / 10,000 / 100,000 WAL frames",
    columns: [1_000, 10_000, 100_000].map(commit),
  },
  {
    label: "restored databases that are wrong, after load and SIGKILL",
    columns: [
      { spec: counts(500), key: "wrongCount", limit: 0 },
      { spec: FAST, key: "wrongCount", limit: 0 },
    ],
  },
];

/** Goals whose label contains a text, with each spec replaced by `adjust`. */
export function selectGoals(text: string, adjust: (spec: Spec) => Spec): Goal[] {
  return GOALS.filter(({ label }) => label.includes(text)).map(({ label, columns }) => ({
    label,
    columns: columns.map((column) => ({ ...column, spec: adjust(column.spec) })),
  }));
}

/** The specs that goals need, each once. */
export function goalSpecs(goals: readonly Goal[]): Spec[] {
  const specs = goals.flatMap(({ columns }) => columns.map(({ spec }) => spec));
  return [...new Map(specs.map((spec) => [describeSpec(spec), spec])).values()];
}
