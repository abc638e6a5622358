/**
 * The Markdown report of a drill. PURE.
 */
import { row, table } from "../measure/markdown.ts";
import { formatObservations, type ObservationCounts } from "../measure/observed/observations.ts";
import { quantile } from "../measure/statistics.ts";

/** Everything that the drill of one destination counts. */
export interface LaneResult {
  readonly label: string;
  /** Kills of `watch` by their moment. */
  readonly kills: Readonly<Record<"starting" | "working", number>>;
  readonly writerKillCount: number;
  /** Times to the first acknowledged capture, one for each database and restart. */
  readonly recoveriesMs: readonly number[];
  readonly commitCount: number;
  readonly objectCount: number;
  readonly checkCount: number;
  readonly comparedCount: number;
  readonly verbs: Readonly<Record<VerbName, VerbCounts>>;
  /** Warnings of `verify` at the last check: temporary files of killed uploads, which stay for a day. */
  readonly temporaryObjectCount: number;
  /** The answers of the watches; null if nobody observed. */
  readonly observed: ObservationCounts | null;
  readonly failures: readonly string[];
}

/** A verb that is killed besides `watch`. */
export type VerbName = "restore" | "restore --force" | "snapshot" | "compact" | "replicate";

/** Kills of one verb: in the middle of the work, or after its end. */
export interface VerbCounts {
  readonly killed: number;
  readonly finished: number;
}

/** Reasons why the drill failed; empty if it passed. */
export function failuresOf(lanes: readonly LaneResult[], recoveryLimitMs: number): string[] {
  return lanes.flatMap(({ label, failures, recoveriesMs }) => {
    const slow = recoveriesMs.filter((recoveryMs) => recoveryMs > recoveryLimitMs).length;
    const tooSlow = `${slow} of ${recoveriesMs.length} recoveries took more than ${recoveryLimitMs} ms`;
    return [...failures, ...(slow === 0 ? [] : [tooSlow])].map((text) => `${label}: ${text}`);
  });
}

/** The report: the kills, the recoveries, the comparisons and the failures. */
export function formatReport(lanes: readonly LaneResult[], recoveryLimitMs: number, replay: string): string {
  const failures = failuresOf(lanes, recoveryLimitMs);
  return [
    `Replay: \`${replay}\``,
    formatWatch(lanes),
    formatVerbs(lanes),
    failures.length === 0 ? "PASSED" : ["FAILED", ...failures.map((text) => `- ${text}`)].join("\n"),
  ].join("\n\n");
}

function formatWatch(lanes: readonly LaneResult[]): string {
  const rows = lanes.map((lane) => {
    const sorted = lane.recoveriesMs.toSorted((left, right) => left - right);
    const times = [0.5, 0.95, 1].map((share) => (sorted.length === 0 ? "–" : `${quantile(sorted, share)}`));
    const { starting, working } = lane.kills;
    return row(
      lane.label,
      ...[starting, working, lane.writerKillCount, lane.commitCount, lane.objectCount].map(String),
      ...times,
      ...[lane.checkCount, lane.comparedCount].map(String),
    );
  });
  return table(
    [
      ...["destination", "killed while starting", "killed while working", "writers killed", "commits"],
      ...["objects", "recovery p50, ms", "p95", "max", "checks", "restores compared"],
    ],
    rows,
  );
}

function formatVerbs(lanes: readonly LaneResult[]): string {
  const rows = lanes.flatMap(({ label, verbs }) =>
    Object.entries(verbs).map(([verb, { killed, finished }]) => row(label, verb, `${killed}`, `${finished}`)),
  );
  const temporary = lanes.filter(({ temporaryObjectCount }) => temporaryObjectCount > 0);
  const observed = lanes.flatMap((lane) =>
    lane.observed === null ? [] : [`${lane.label}: ${formatObservations(lane.observed)}`],
  );
  return [
    table(["destination", "verb", "killed at work", "had finished"], rows),
    ...temporary.map((lane) => `${lane.label}: ${lane.temporaryObjectCount} warnings of verify.`),
    ...observed,
  ].join("\n\n");
}
