/**
 * The few statistics that the benchmark needs.
 */

/** The value below which this share of the sorted values lies, by nearest rank; NaN without values. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const index = Math.ceil(share * sorted.length) - 1;
  return sorted[Math.max(0, index)] ?? Number.NaN;
}

/** The middle value (the lower one of two); NaN without values. */
export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}
