/**
 * From the times of commits and objects to lags: how long each commit took to its object, and how far the
 * databases were behind at a time. PURE.
 *
 * A commit is in the first object with a capture time at or after the commit. Both times are whole
 * milliseconds of the same clock. The commits and objects of a database are in the order of time.
 */
import type { ObjectTimes } from "../samples/objects.ts";

/** A range of the wall clock in ms. */
export interface Window {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * When each commit became visible; Infinity for a commit in no object. An object counts only after all
 * objects before it, because a restore needs all of them.
 */
export function visibleTimes(commitsMs: Float64Array, objects: readonly ObjectTimes[]): Float64Array {
  const times = new Float64Array(commitsMs.length);
  let index = 0;
  let visibleMs = objects[0]?.visibleMs ?? Number.POSITIVE_INFINITY;
  commitsMs.forEach((commitMs, at) => {
    while (index < objects.length && objects[index]!.captureMs < commitMs) {
      index++;
      visibleMs = Math.max(visibleMs, objects[index]?.visibleMs ?? Number.POSITIVE_INFINITY);
    }
    times[at] = visibleMs;
  });
  return times;
}

/**
 * Lags of the commits in a window, in ms and sorted. A commit that is not visible counts with its age at
 * `seenUntilMs`, which is less than its lag.
 */
export function lagsOf(
  commitsMs: readonly Float64Array[],
  visibleMs: readonly Float64Array[],
  { startMs, endMs }: Window,
  seenUntilMs: number,
): Float64Array {
  const lags: number[] = [];
  for (const [database, commits] of commitsMs.entries()) {
    for (let at = 0; at < commits.length; at++) {
      const commitMs = commits[at]!;
      if (commitMs < startMs || commitMs >= endMs) continue;
      lags.push(Math.max(0, Math.min(visibleMs[database]![at]!, seenUntilMs) - commitMs));
    }
  }
  return Float64Array.from(lags).sort();
}

/** Age of the oldest commit of a database that was not visible at a time, in ms; 0 without such a commit. */
export function behindAt(commitsMs: Float64Array, visibleMs: Float64Array, atMs: number): number {
  // Objects appear in order, so a binary search finds the first commit that was not visible yet.
  let low = 0;
  let high = commitsMs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (visibleMs[middle]! <= atMs) low = middle + 1;
    else high = middle;
  }
  const oldestMs = commitsMs[low] ?? Number.POSITIVE_INFINITY;
  return Math.max(0, atMs - oldestMs);
}

/** How far every database was behind at each time, in ms and sorted. */
export function behindOf(
  commitsMs: readonly Float64Array[],
  visibleMs: readonly Float64Array[],
  timesMs: readonly number[],
): Float64Array {
  const values = timesMs.flatMap((atMs) =>
    commitsMs.map((commits, database) => behindAt(commits, visibleMs[database]!, atMs)),
  );
  return Float64Array.from(values).sort();
}

/** Every `stepMs` of a window, its end included. */
export function ticksOf({ startMs, endMs }: Window, stepMs: number): number[] {
  return Array.from(
    { length: Math.floor((endMs - startMs) / stepMs) + 1 },
    (_, index) => endMs - index * stepMs,
  );
}
