/**
 * Work on many items with a limit on how many are under way; results come in the order of the items.
 */

/**
 * Yields `work` of each item. When the iteration is left, what is under way is aborted and awaited, its
 * failures dropped.
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
        // The failure is seen when it is this item's turn; until then it is nobody's.
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
