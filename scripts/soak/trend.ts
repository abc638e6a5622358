/**
 * Judges whether a figure of a running process grows without end. PURE.
 *
 * 1. The run is cut into nine windows of equal length, five minutes each in a run of 45. Each window counts
 *    with one quantile of its readings. Bursts of upkeep and fault episodes are shorter than half a window,
 *    so the median does not see them. Memory counts with its floor, the lowest decile: garbage between two
 *    collections is no state, and walrust shrinks its heap every five minutes. A leak lifts the floor.
 * 2. The slope is the median of the slopes between all pairs of windows (Theil–Sen). A warm-up that lasts too
 *    long, or one step, moves less than 29 % of the windows and leaves the slope alone.
 * 3. The projected growth is the slope times the length of the run. The growth of the thirds is the median of
 *    the last third less the median of the first, times 1.5: a straight line gives the same value for both.
 * 4. The figure grows when both exceed the allowance, and the slope of the second half alone still leads to
 *    half of the allowance over a whole run. A slope without a difference, or a difference without a slope,
 *    is noise; growth that has ended is a plateau. A difference of the thirds beyond the step is a failure by
 *    itself.
 */
import { median, quantile } from "../measure/statistics.ts";

/** A reading of a figure. */
export interface Point {
  readonly atMs: number;
  readonly value: number;
}

/** Tolerated growth over a run, however long: the leak that the run detects is the allowance per run. */
export interface Allowance {
  /** Share of the readings of a window that are at or below its value: 0.5 is the median. */
  readonly quantile: number;
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

const WINDOW_COUNT = 9;
/** Fewer readings than these in each window carry no verdict. */
const MIN_READINGS = 2;
/** The centres of the first and the last third are two thirds of the run apart. */
const THIRDS_FACTOR = 1.5;
/** Half of the growth must continue in the second half. */
const HALF_FACTOR = 2;
const HOUR_MS = 3_600_000;

/** Judges the readings of one figure after the warm-up, in the order of time. */
export function judgeTrend(points: readonly Point[], allowance: Allowance): Verdict {
  const windows = windowsOf(points, allowance.quantile);
  if (windows.length < WINDOW_COUNT || points.length < WINDOW_COUNT * MIN_READINGS) {
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

/** The quantile of each window, at the middle of the window; a window without readings is left out. */
export function windowsOf(points: readonly Point[], share: number, windowCount = WINDOW_COUNT): Point[] {
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
      value: quantile(
        inWindow.map(({ value }) => value).sort((left, right) => left - right),
        share,
      ),
    }));
}

/** Median of the slopes between all pairs of points, in units a ms; 0 for fewer than two points. */
export function theilSenSlope(points: readonly Point[]): number {
  const slopes = points.flatMap((left, index) =>
    points.slice(index + 1).map((right) => (right.value - left.value) / (right.atMs - left.atMs)),
  );
  return slopes.length === 0 ? 0 : median(slopes);
}
