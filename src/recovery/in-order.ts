/**
 * Work on many items with a limit on how many are under way; results come in the order of the items.
 */

/** Yields `work` of each item. What is under way when the iteration is left is awaited, its failures dropped. */
export async function* mapInOrder<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = [];
  let next = 0;
  try {
    for (;;) {
      while (underWay.length < limit && next < items.length) {
        const result = work(items[next++]!);
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
    await Promise.allSettled(underWay);
  }
}
