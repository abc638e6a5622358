/**
 * The Markdown report of a chaos run. PURE.
 */
import { formatCounts, row, table } from "../measure/markdown.ts";
import {
  addObservations,
  formatObservations,
  type ObservationCounts,
} from "../measure/observed/observations.ts";
import { quantile } from "../measure/statistics.ts";

/** Everything that one life counts. */
export interface LifeResult {
  readonly seed: number;
  /** The command that repeats the life. */
  readonly replay: string;
  /** Time of the life until its end or its failure. */
  readonly livedMs: number;
  /** Spells of weather and troubles of the machine by kind. */
  readonly faults: Readonly<Record<string, number>>;
  /** Requests and connections that met a fault on the line. */
  readonly hits: Readonly<Record<string, number>>;
  /** Times to the first acknowledged capture after a kill in calm weather, for each database. */
  readonly recoveriesMs: readonly number[];
  /** The same after kills while other faults went on. */
  readonly stormyRecoveriesMs: readonly number[];
  /** Shares of a core while every request was refused. */
  readonly stormCpuShares: readonly number[];
  /** Shares of a core between two spells of weather. */
  readonly calmCpuShares: readonly number[];
  readonly memoryKillCount: number;
  readonly commitCount: number;
  readonly checkCount: number;
  readonly comparedCount: number;
  readonly warnings: readonly string[];
  /** The answers of the watches; null if nobody observed. */
  readonly observed: ObservationCounts | null;
  readonly failures: readonly string[];
}

/** Reasons why the run failed, each with the command that repeats it; empty if the run passed. */
export function failuresOf(lives: readonly LifeResult[], recoveryLimitMs: number): string[] {
  return lives.flatMap(({ failures, recoveriesMs, replay }) => {
    const slow = recoveriesMs.filter((recoveryMs) => recoveryMs > recoveryLimitMs).length;
    const tooSlow = `${slow} of ${recoveriesMs.length} recoveries took more than ${recoveryLimitMs} ms`;
    return [...failures, ...(slow === 0 ? [] : [tooSlow])].map((text) => `${text}\n  Repeat: \`${replay}\``);
  });
}

/** The report: lives, faults, times and failures. @param missing troubles that the machine does not permit */
export function formatReport(
  lives: readonly LifeResult[],
  missing: Readonly<Record<string, string>>,
  recoveryLimitMs: number,
  replay: string,
): string {
  const failures = failuresOf(lives, recoveryLimitMs);
  const observed = lives.flatMap((life) => life.observed ?? []);
  return [
    `Replay: \`${replay}\``,
    formatLives(lives),
    formatTimes(lives),
    `Faults: ${formatCounts(addCounts(lives.map(({ faults }) => faults)))}.`,
    `On the line: ${formatCounts(addCounts(lives.map(({ hits }) => hits)))}.`,
    ...Object.entries(missing).map(([kind, reason]) => `Left out: ${kind}: ${reason}.`),
    ...lives.flatMap(({ warnings }) => warnings.map((text) => `verify: ${text}`)),
    ...(observed.length === 0 ? [] : [formatObservations(addObservations(observed))]),
    formatMtbf(lives),
    failures.length === 0 ? "PASSED" : ["FAILED", ...failures.map((text) => `- ${text}`)].join("\n"),
  ].join("\n\n");
}

function formatLives(lives: readonly LifeResult[]): string {
  const rows = lives.map((life) =>
    row(
      ...[String(life.seed), (life.livedMs / 60_000).toFixed(1)],
      ...[life.commitCount, life.checkCount, life.comparedCount, life.memoryKillCount].map(String),
      life.failures.length === 0 ? "passed" : "FAILED",
    ),
  );
  const headings = ["seed", "minutes", "commits", "checks", "restores compared", "killed for memory", "end"];
  return table(headings, rows);
}

function formatTimes(lives: readonly LifeResult[]): string {
  const all = (pick: (life: LifeResult) => readonly number[]): number[] => lives.flatMap(pick);
  const ms = (value: number): string => value.toFixed(0);
  const percent = (value: number): string => (value * 100).toFixed(1);
  const line = (label: string, values: readonly number[], format: (value: number) => string): string => {
    const sorted = values.toSorted((left, right) => left - right);
    const shown = [0.5, 0.95, 1].map((share) =>
      sorted.length === 0 ? "–" : format(quantile(sorted, share)),
    );
    return row(label, String(sorted.length), ...shown);
  };
  return table(
    ["figure", "readings", "p50", "p95", "max"],
    [
      line(
        "recovery after a kill in calm weather, ms",
        all((life) => life.recoveriesMs),
        ms,
      ),
      line(
        "recovery among other faults, ms",
        all((life) => life.stormyRecoveriesMs),
        ms,
      ),
      line(
        "CPU while the store refuses everything, % of a core",
        all((life) => life.stormCpuShares),
        percent,
      ),
      line(
        "CPU between faults, % of a core",
        all((life) => life.calmCpuShares),
        percent,
      ),
    ],
  );
}

/** Mean time between failures; a run without a failure gives only a lower bound. */
export function formatMtbf(lives: readonly LifeResult[]): string {
  const minutes = lives.reduce((sum, { livedMs }) => sum + livedMs, 0) / 60_000;
  const failed = lives.filter(({ failures }) => failures.length > 0);
  if (failed.length === 0) return `MTBF: more than ${minutes.toFixed(1)} minutes, without a failure.`;
  const seeds = failed.map(({ seed }) => seed).join(", ");
  return `MTBF: ${(minutes / failed.length).toFixed(1)} minutes. Seeds that failed: ${seeds}.`;
}

function addCounts(parts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const part of parts) {
    for (const [name, count] of Object.entries(part)) sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}
