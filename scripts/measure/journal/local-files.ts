/**
 * Judges the names of walrust's local files after the end of a watch. PURE.
 */

/** Temporary files, and captures that wait for their upload. */
const UNFINISHED = /\.tmp$|^(?!.*\/sent\/).*\.ltx$/;
/** The index of objects of one process: it lies there until the next start removes it. */
const INDEX = /^(.*\/objects-\d)\.[0-9a-f]{16}\.tmp$/;

/** Files that a watch which uploaded everything has no use for, among paths below the state folder. */
export function unfinishedFiles(paths: readonly string[]): string[] {
  const indexes = Map.groupBy(
    paths.filter((path) => INDEX.test(path)),
    (path) => INDEX.exec(path)![1]!,
  );
  const earlier = [...indexes.values()].flatMap((same) => same.slice(1));
  return [...paths.filter((path) => UNFINISHED.test(path) && !INDEX.test(path)), ...earlier];
}
