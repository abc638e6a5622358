/**
 * The readings of a soak, and the figures that are judged, each with the growth that a run tolerates. PURE.
 *
 * The allowances are bounds on the whole run, above the noise of sound runs. At 45 minutes and some 50,000
 * increments, 20 MB of memory are 400 bytes an increment, and 12 descriptors one in four minutes.
 */
import type { MetricFigures } from "../measure/metrics.ts";
import { median } from "../measure/statistics.ts";
import type { LineCounts } from "../measure/storage/fault-line.ts";
import type { Episode } from "../measure/storage/weather.ts";
import { type Allowance, judgeTrend, type Point, type Verdict } from "./trend.ts";

/** One reading. Counts run since the start of the process. */
export interface Reading extends MetricFigures {
  /** Time since the start of the load. */
  readonly atMs: number;
  readonly rssBytes: number;
  readonly anonymousBytes: number;
  readonly pssBytes?: number;
  readonly descriptorCount: number;
  readonly threadCount: number;
  readonly cpuMs: number;
  /** Bytes of walrust's local files without the uploaded copies: waiting captures, page sums, positions. */
  readonly spoolBytes: number;
  /** Bytes of the uploaded increments that walrust keeps on disk, up to a limit of its own. */
  readonly sentBytes: number;
  /** Bytes of all WAL files of the application. */
  readonly walBytes: number;
  readonly requests: LineCounts["requests"];
  readonly faults: LineCounts["faults"];
}

/** A figure that is judged. */
export interface Figure {
  readonly label: string;
  readonly unit: "MB" | "s" | "";
  readonly read: (reading: Reading) => number | undefined;
  readonly allowance: Allowance;
}

const MB = 1e6;
const MEDIAN = 0.5;
const FLOOR = 0.1;
/**
 * The heap reaches its level within some minutes, so the floors of a shorter run tolerate twice the growth.
 */
const SHORT_RUN_MS = 20 * 60_000;
const SHORT_RUN_FACTOR = 2;
/** Limit of the uploaded copies in watch-config.ts, which a run reaches. */
const COPIES_MB = 120;

/** The judged figures. */
export const FIGURES: readonly Figure[] = [
  memory("RSS", ({ rssBytes }) => rssBytes / MB),
  memory("anonymous memory", ({ anonymousBytes }) => anonymousBytes / MB),
  memory("Pss", ({ pssBytes }) => pssBytes && pssBytes / MB),
  figure("descriptors", "", ({ descriptorCount }) => descriptorCount, 12),
  figure("threads", "", ({ threadCount }) => threadCount, 2),
  figure("local files", "MB", ({ spoolBytes }) => spoolBytes / MB, 10),
  figure("uploaded copies", "MB", ({ sentBytes }) => sentBytes / MB, COPIES_MB),
  figure("WAL files", "MB", ({ walBytes }) => walBytes / MB, 25),
  figure("captures waiting", "", ({ pendingCount }) => pendingCount, 30),
  figure("lag", "s", ({ lagSeconds }) => lagSeconds, 3),
];

function figure(label: string, unit: Figure["unit"], read: Figure["read"], growth: number): Figure {
  return { label, unit, read, allowance: { quantile: MEDIAN, growth, step: 2 * growth } };
}

/** A figure with garbage in it: the floor of each window counts. */
function memory(label: string, read: Figure["read"]): Figure {
  return { label, unit: "MB", read, allowance: { quantile: FLOOR, growth: 20, step: 30 } };
}

/** A figure with its judgement. */
export interface Judgement {
  readonly figure: Figure;
  /** The allowance of the figure, or a looser one in a short run. */
  readonly allowance: Allowance;
  readonly verdict: Verdict;
}

/**
 * Judges all figures by their readings after the warm-up. A figure that this machine does not give has no
 * judgement; without any readings, every figure is too short.
 */
export function judgeReadings(readings: readonly Reading[], warmUpMs: number): Judgement[] {
  const judged = readings.filter(({ atMs }) => atMs >= warmUpMs);
  return FIGURES.flatMap((one) => {
    const points = judged
      .map((reading) => ({ atMs: reading.atMs, value: one.read(reading) }))
      .filter((point): point is Point => point.value !== undefined);
    const isMissing = points.length === 0 && judged.length > 0;
    const isShort = (points.at(-1)?.atMs ?? 0) - warmUpMs < SHORT_RUN_MS;
    const allowance = isShort ? looser(one.allowance) : one.allowance;
    return isMissing ? [] : [{ figure: one, allowance, verdict: judgeTrend(points, allowance) }];
  });
}

/** The allowance of a floor in a short run; medians keep theirs. */
function looser(allowance: Allowance): Allowance {
  if (allowance.quantile === MEDIAN) return allowance;
  const { growth, step } = allowance;
  return { ...allowance, growth: SHORT_RUN_FACTOR * growth, step: SHORT_RUN_FACTOR * step };
}

/** One row of the curve: medians of a slice of the run, and what happened in the slice. */
export interface Slice {
  readonly untilMs: number;
  /** Medians of the figures, in the order of FIGURES. */
  readonly medians: readonly (number | undefined)[];
  readonly maxLagSeconds: number;
  readonly incrementCount: number;
  readonly snapshotCount: number;
  readonly mergeCount: number;
  readonly requestCount: number;
  readonly faultCount: number;
  readonly episodes: readonly Episode[];
}

/** Cuts the readings into slices of equal length; a slice without readings is left out. */
export function sliceReadings(
  readings: readonly Reading[],
  episodes: readonly Episode[],
  durationMs: number,
  sliceCount: number,
): Slice[] {
  const sliceMs = durationMs / sliceCount;
  let before: Reading | undefined;
  return Array.from({ length: sliceCount }, (_, index): Slice | null => {
    const [fromMs, untilMs] = [index * sliceMs, (index + 1) * sliceMs];
    const isLast = index === sliceCount - 1;
    const inSlice = readings.filter(({ atMs }) => atMs >= fromMs && (atMs < untilMs || isLast));
    const last = inSlice.at(-1);
    if (last === undefined) return null;
    const since = before ?? inSlice[0]!;
    before = last;
    return {
      untilMs,
      medians: FIGURES.map(({ read }) => {
        const values = inSlice.map(read).filter((value) => value !== undefined);
        return values.length === 0 ? undefined : median(values);
      }),
      maxLagSeconds: Math.max(...inSlice.map(({ lagSeconds }) => lagSeconds)),
      incrementCount: last.incrementCount - since.incrementCount,
      snapshotCount: last.snapshotCount - since.snapshotCount,
      mergeCount: last.mergeCount - since.mergeCount,
      requestCount: totalOf(last.requests) - totalOf(since.requests),
      faultCount: totalOf(last.faults) - totalOf(since.faults),
      episodes: episodes.filter(({ startMs }) => startMs >= fromMs && startMs < untilMs),
    };
  }).filter((slice) => slice !== null);
}

function totalOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
