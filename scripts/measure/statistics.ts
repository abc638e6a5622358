/**
 * Percentiles and medians.
 */

/** Percentile of sorted values by nearest rank; NaN without values. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const index = Math.ceil(share * sorted.length) - 1;
  return sorted[Math.max(0, index)] ?? Number.NaN;
}

/** Median, the lower of two middle values; NaN without values. */
export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}
