/**
 * Judges whether a figure of a running process grows without end. PURE.
 *
 * 1. The run is cut into windows of equal length, and each window counts with its median. Collections of
 *    garbage, snapshots and fault episodes are shorter than half a window, so they do not count.
 * 2. The slope is the median of the slopes between all pairs of windows (Theil–Sen). A warm-up that lasts too
 *    long, or one step, moves less than 29 % of the windows and leaves the slope alone.
 * 3. The projected growth is the slope times the length of the run. The growth of the thirds is the median of
 *    the last third less the median of the first, times 1.5: a straight line gives the same value for both.
 * 4. The figure grows when both exceed the allowance, and the slope of the second half alone still leads to
 *    half of the allowance over a whole run. A slope without a difference, or a difference without a slope,
 *    is noise; growth that has ended is a plateau. A difference of the thirds beyond the step is a failure by
 *    itself.
 */
import { median } from "../measure/statistics.ts";

/** A reading of a figure. */
export interface Point {
  readonly atMs: number;
  readonly value: number;
}

/** Tolerated growth over a run, however long: the leak that the run detects is the allowance per run. */
export interface Allowance {
  /** Tolerated growth along a slope. */
  readonly growth: number;
  /** Tolerated difference between the last and the first third without a slope. */
  readonly step: number;
}

/** The judgement of one figure. */
export interface Verdict {
  readonly kind: "steady" | "grows" | "stepped" | "too short";
  /** Median of the windows of the first third. */
  readonly first: number;
  /** Median of the windows of the last third. */
  readonly last: number;
  /** Theil–Sen slope in units an hour. */
  readonly slopePerHour: number;
  /** The slope times the length of the run. */
  readonly projected: number;
}

const WINDOW_COUNT = 30;
/** Fewer windows with readings than this carry no verdict. */
const MIN_WINDOWS = 12;
/** The centres of the first and the last third are two thirds of the run apart. */
const THIRDS_FACTOR = 1.5;
/** Half of the growth must continue in the second half. */
const HALF_FACTOR = 2;
const HOUR_MS = 3_600_000;

/** Judges the readings of one figure after the warm-up, in the order of time. */
export function judgeTrend(points: readonly Point[], allowance: Allowance): Verdict {
  const windows = mediansOfWindows(points);
  if (windows.length < MIN_WINDOWS) {
    return { kind: "too short", first: Number.NaN, last: Number.NaN, slopePerHour: 0, projected: 0 };
  }
  const third = Math.floor(windows.length / 3);
  const first = median(windows.slice(0, third).map(({ value }) => value));
  const last = median(windows.slice(-third).map(({ value }) => value));
  const slope = theilSenSlope(windows);
  const lengthMs = points.at(-1)!.atMs - points[0]!.atMs;
  const projected = slope * lengthMs;
  const continued = theilSenSlope(windows.slice(windows.length >> 1)) * lengthMs;
  const isGrowing =
    Math.min(projected, (last - first) * THIRDS_FACTOR, continued * HALF_FACTOR) > allowance.growth;
  const hasStepped = last - first > allowance.step;
  const kind = isGrowing ? "grows" : hasStepped ? "stepped" : "steady";
  return { kind, first, last, slopePerHour: slope * HOUR_MS, projected };
}

/** The median of each window, at the middle of the window; a window without readings is left out. */
export function mediansOfWindows(points: readonly Point[], windowCount = WINDOW_COUNT): Point[] {
  const startMs = points[0]?.atMs ?? 0;
  const windowMs = ((points.at(-1)?.atMs ?? 0) - startMs) / windowCount;
  if (windowMs <= 0) return [];
  const windows = Map.groupBy(points, ({ atMs }) =>
    Math.min(windowCount - 1, Math.floor((atMs - startMs) / windowMs)),
  );
  return [...windows]
    .sort(([left], [right]) => left - right)
    .map(([index, inWindow]) => ({
      atMs: startMs + (index + 0.5) * windowMs,
      value: median(inWindow.map(({ value }) => value)),
    }));
}

/** Median of the slopes between all pairs of points, in units a ms; 0 for fewer than two points. */
export function theilSenSlope(points: readonly Point[]): number {
  const slopes = points.flatMap((left, index) =>
    points.slice(index + 1).map((right) => (right.value - left.value) / (right.atMs - left.atMs)),
  );
  return slopes.length === 0 ? 0 : median(slopes);
}
