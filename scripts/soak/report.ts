/**
 * The Markdown report of a soak. PURE.
 */

import { formatCounts, row, table } from "../measure/markdown.ts";
import { formatObservations, type ObservationCounts } from "../measure/observed/observations.ts";
import type { RestoreOutcome } from "../measure/restores.ts";
import type { Episode } from "../measure/storage/weather.ts";
import type { ActionCounts } from "./application.ts";
import { FIGURES, type Figure, type Judgement, type Reading, sliceReadings } from "./figures.ts";

/** Everything that a finished run reports. */
export interface SoakResult {
  readonly replay: string;
  readonly readings: readonly Reading[];
  readonly episodes: readonly Episode[];
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly actions: ActionCounts;
  readonly judgements: readonly Judgement[];
  readonly restores: RestoreOutcome;
  /** The answers of the watch; null if nobody observed. */
  readonly observed: ObservationCounts | null;
  /** The rules that these answers broke. */
  readonly violations: readonly string[];
}

const SLICE_COUNT = 12;

/** Reasons why the run failed; empty if it passed. */
export function failuresOf({ judgements, restores, violations }: SoakResult): string[] {
  const trends = judgements
    .filter(({ verdict }) => verdict.kind !== "steady")
    .map((judgement) => `${judgement.figure.label}: ${describeVerdict(judgement)}`);
  return [...trends, ...restores.failures, ...violations];
}

/** The report: the curve, the verdicts, the work of the run and its failures. */
export function formatReport(result: SoakResult): string {
  const failures = failuresOf(result);
  return [
    `Replay: \`${result.replay}\``,
    formatCurve(result),
    formatVerdicts(result.judgements),
    formatWork(result),
    failures.length === 0 ? "PASSED" : ["FAILED", ...failures.map((text) => `- ${text}`)].join("\n"),
  ].join("\n\n");
}

function formatCurve({ readings, episodes, durationMs }: SoakResult): string {
  const headings = FIGURES.map(({ label, unit }) => (unit === "" ? label : `${label}, ${unit}`));
  const rows = sliceReadings(readings, episodes, durationMs, SLICE_COUNT).map((slice) => {
    const medians = slice.medians.map((value, index) => formatNumber(FIGURES[index]!, value));
    const kinds = Map.groupBy(slice.episodes, ({ kind }) => kind);
    const faults = [...kinds].map(([kind, all]) => (all.length === 1 ? kind : `${all.length} ${kind}`));
    return row(
      (slice.untilMs / 60_000).toFixed(1),
      ...medians,
      slice.maxLagSeconds.toFixed(1),
      ...[slice.incrementCount, slice.snapshotCount, slice.mergeCount, slice.requestCount].map(String),
      `${slice.faultCount}${faults.length === 0 ? "" : ` (${faults.join(", ")})`}`,
    );
  });
  return table(
    ["until min", ...headings, "longest lag, s", "increments", "snapshots", "merges", "requests", "faults"],
    rows,
  );
}

function formatVerdicts(judgements: readonly Judgement[]): string {
  return table(
    ["figure", "first third", "last third", "slope an hour", "projected growth", "allowed", "verdict"],
    judgements.map(({ figure, allowance, verdict }) => {
      const label = figure.unit === "" ? figure.label : `${figure.label}, ${figure.unit}`;
      return row(
        label,
        ...[verdict.first, verdict.last, verdict.slopePerHour, verdict.projected].map((value) =>
          formatNumber(figure, value),
        ),
        `${allowance.growth}`,
        verdict.kind,
      );
    }),
  );
}

function formatWork({ readings, actions, restores, observed, durationMs }: SoakResult): string {
  const last = readings.at(-1);
  if (last === undefined) return "";
  const lines: [string, Readonly<Record<string, number>>][] = [
    ["Application", actions],
    ["walrust", { increments: last.incrementCount, snapshots: last.snapshotCount, ...last.events }],
    ["Requests", last.requests],
    ["Faults", last.faults],
  ];
  const cpuShare = (last.cpuMs - (readings[0]?.cpuMs ?? 0)) / durationMs;
  return [
    ...lines.map(([label, counts]) => `${label}: ${formatCounts(counts)}.`),
    `CPU: ${(cpuShare * 100).toFixed(1)} % of a core. Restored and compared: ${restores.restoredCount}.`,
    ...(observed === null ? [] : [formatObservations(observed)]),
    ...restores.warnings.map((text) => `verify: ${text}`),
  ].join("\n\n");
}

function describeVerdict({ figure, allowance, verdict }: Judgement): string {
  const { kind, first, last, projected } = verdict;
  if (kind === "too short") return "too few readings for a verdict";
  const unit = figure.unit === "" ? "" : ` ${figure.unit}`;
  const value = (number: number): string => `${formatNumber(figure, number)}${unit}`;
  if (kind === "stepped") return `stepped from ${value(first)} to ${value(last)}`;
  const ends = `from ${value(first)} to ${value(last)}`;
  return `grows by ${value(projected)} (${ends}), more than ${value(allowance.growth)}`;
}

function formatNumber({ unit }: Figure, value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  return unit === "" ? String(Math.round(value)) : value.toFixed(1);
}
