/** PURE: the line of an hour's values, as the data of an SVG path. */

/** The values of an hour, oldest first; null where there is none. */
export type Values = readonly (number | null)[];

/** Gaps up to this many steps are bridged: a page in the background asks once a minute. */
const BRIDGED_STEPS = 3;

/** The size of a line, and the steps of its whole width. */
export interface SparkSize {
  readonly width: number;
  readonly height: number;
  readonly stepCount: number;
}

/**
 * The path, at the right edge of its area. @param least the top of the area is at least this much, so that
 * noise is no mountain
 */
export function sparkPath(values: Values, { width, height, stepCount }: SparkSize, least: number): string {
  const top = Math.max(least, ...values.map((value) => value ?? 0));
  const first = stepCount - values.length;
  let path = "";
  let lastIndex = Number.NEGATIVE_INFINITY;
  values.forEach((value, index) => {
    if (value === null) return;
    const x = (((first + index + 0.5) / stepCount) * width).toFixed(1);
    const y = (height - 1 - (value / top) * (height - 2)).toFixed(1);
    // A zero-length line has round ends: a single value is a dot.
    path += index - lastIndex > BRIDGED_STEPS ? `M${x} ${y}L${x} ${y}` : `L${x} ${y}`;
    lastIndex = index;
  });
  return path;
}

/** The largest value, or null without any. */
export function largest(values: Values): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}
