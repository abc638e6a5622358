/**
 * The cases of the benchmark as data: the work of each, and the line to the storage. PURE: `plan.ts` and
 * `goals.ts` make specs, `run.ts` carries them out, and the tables find the results of a spec by its words.
 */

/** Names of the cases. */
export const CASE_NAMES = ["load", "lag", "commit", "large", "history"] as const;

/** Name of a case. */
export type CaseName = (typeof CASE_NAMES)[number];

/** The line between a tool and the storage. */
export interface Link {
  readonly scheme: "http" | "https";
  /** Delay in each direction; 0 without a proxy. */
  readonly delayMs: number;
  /** Upload rate in bytes a second; 0 is no limit. */
  readonly lineRate: number;
}

/** Many databases under an even load. */
export interface LoadSpec extends Link {
  readonly case: "load";
  readonly databaseCount: number;
  readonly sizeBytes: number;
  /** To each database; 0 is idle. */
  readonly commitsPerSecond: number;
  /** Load before the measurement. */
  readonly warmUpMs: number;
  /** Duration of the measurement. */
  readonly durationMs: number;
  /** The end of the tool: SIGTERM after the last commit, or SIGKILL under load. */
  readonly end: "stop" | "kill";
  /** Number of databases to restore and compare. */
  readonly verifyCount: number;
  /** User to run the tools as; null for the user of the benchmark. */
  readonly user: string | null;
  /** Whether walrust's dashboard, metrics, health and status are polled, and the answers judged. */
  readonly isObserved: boolean;
}

/** Isolated commits to one database. */
export interface LagSpec extends Link {
  readonly case: "lag";
  readonly commitCount: number;
}

/** Commits of an application with a long WAL. */
export interface CommitSpec {
  readonly case: "commit";
  readonly walFrames: number;
  readonly commitCount: number;
}

/** Snapshot and restore of one large database. */
export interface LargeSpec extends Link {
  readonly case: "large";
  readonly sizeBytes: number;
  readonly rounds: number;
}

/** Restore of a long history. */
export interface HistorySpec {
  readonly case: "history";
  readonly incrementCount: number;
}

/** One case. */
export type Spec = LoadSpec | LagSpec | CommitSpec | LargeSpec | HistorySpec;

/** Storage on the same machine, over http. */
export const LOOPBACK: Link = { scheme: "http", delayMs: 0, lineRate: 0 };

/** A load of 100 KB databases on loopback, for a minute, all of them restored at the end. */
export const LOAD: LoadSpec = {
  ...LOOPBACK,
  case: "load",
  databaseCount: 1,
  sizeBytes: 100_000,
  commitsPerSecond: 1,
  warmUpMs: 10_000,
  durationMs: 60_000,
  end: "stop",
  verifyCount: Number.POSITIVE_INFINITY,
  user: null,
  isObserved: false,
};

/** A case in words: the title of its table, and the key of its results. */
export function describeSpec(spec: Spec): string {
  switch (spec.case) {
    case "load": {
      const { databaseCount, sizeBytes, commitsPerSecond, warmUpMs, durationMs, end, user, isObserved } =
        spec;
      const load = commitsPerSecond === 0 ? "idle" : `${commitsPerSecond} commits/s to each`;
      const ending = end === "kill" ? ", ended by SIGKILL" : "";
      const owner = user === null ? "" : `, as the user ${user}`;
      const time = `${durationMs / 1000} s after ${warmUpMs / 1000} s`;
      const databases = `databases: ${databaseCount} of ${formatSize(sizeBytes)}`;
      const observed = isObserved ? ", walrust observed" : "";
      return `${databases}, ${load}, ${time}${describeLink(spec)}${ending}${owner}${observed}`;
    }
    case "lag":
      return `${spec.commitCount} isolated commits${describeLink(spec)}`;
    case "commit":
      return `an application with ${spec.walFrames} frames in its WAL`;
    case "large":
      return `database of ${formatSize(spec.sizeBytes)}${describeLink(spec)}`;
    case "history":
      return `${spec.incrementCount} increments`;
  }
}

function describeLink({ scheme, delayMs, lineRate }: Link): string {
  const delay = delayMs === 0 ? "" : `, storage ${delayMs} ms away each way`;
  const rate = lineRate === 0 ? "" : `, ${formatSize(lineRate)}/s upwards`;
  return `${delay}${rate}${scheme === "https" ? ", https" : ""}`;
}

/** A size such as 100 KB, 500 MB or 4 GB. */
export function formatSize(sizeBytes: number): string {
  const [unit, unitBytes] =
    sizeBytes >= 1e9 ? (["GB", 1e9] as const) : sizeBytes >= 1e6 ? (["MB", 1e6] as const) : ["KB", 1e3];
  return `${Number((sizeBytes / Number(unitBytes)).toPrecision(3))} ${unit}`;
}

/** Parses a size such as 100KB, 500 MB or 4GB. @throws Error for any other text */
export function parseSize(text: string): number {
  const [, amount, unit = ""] = text.trim().match(/^(\d+(?:\.\d+)?)\s*([KMG]?B)$/i) ?? [];
  const unitBytes = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9 }[unit.toUpperCase()];
  if (amount === undefined || unitBytes === undefined) {
    throw new Error(`${text} is no size, expected a number with B, KB, MB or GB`);
  }
  return Number(amount) * unitBytes;
}
