/** Works on many items in parallel, with a limit, and yields the results in the order of the items. */

/**
 * Yields the result of `work` for each item. When the caller leaves the iteration, unfinished work is aborted
 * and awaited, and its failures are dropped.
 */
export async function* mapInOrder<T, R>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): AsyncGenerator<R> {
  const leaving = new AbortController();
  const either = signal === undefined ? leaving.signal : AbortSignal.any([signal, leaving.signal]);
  const underWay: Promise<R>[] = [];
  let next = 0;
  try {
    for (;;) {
      while (underWay.length < limit && next < items.length) {
        const result = work(items[next++]!, either);
        // The failure is thrown at this item's turn. Until then it must not count as unhandled.
        result.catch(() => {});
        underWay.push(result);
      }
      const first = underWay[0];
      if (first === undefined) return;
      yield await first;
      underWay.shift();
    }
  } finally {
    leaving.abort();
    await Promise.allSettled(underWay);
  }
}
