/**
 * A database that changes its size: VACUUM to a smaller and to a larger file, auto_vacuum, incremental
 * vacuum. Increments follow each change; nothing is anchored anew. While no watch runs, a difference follows.
 */
import { expect, test } from "bun:test";
import { imageOf } from "../../support/oracles/database-image.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { loggedAnchors, provenEnd, UNWATCHED } from "../../support/runs/event-run.ts";
import { newDatabase, type WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO t(v) SELECT randomblob(1500) FROM n`;
const EMPTY = "DELETE FROM t WHERE id % 10 > 0";

/** Each change is one commit; the history must hold the size after each of them. */
async function sizesOf(
  run: WatchRun,
  app: SqliteProcess,
  path: string,
  changes: string[],
): Promise<number[]> {
  const sizes: number[] = [];
  for (const change of changes) {
    await run.commit(app, change);
    sizes.push(imageOf(path).length);
  }
  return sizes;
}

test.each([
  ["off, checkpoints by the application", 0, 1_000_000],
  ["off, checkpoints by walrust", 0, 20],
  ["full", 1, 20],
  ["incremental", 2, 20],
] as const)("VACUUM and deletions with auto_vacuum %s", async (_, autoVacuum, minCheckpointPageCount) => {
  const { path, app } = await newDatabase(`auto_vacuum = ${autoVacuum}`);
  const store = new MemoryStore();
  const run = await watchOne(path, store, { sync: { minCheckpointPageCount } });
  const shrinking = autoVacuum === 2 ? ["PRAGMA incremental_vacuum(20)", "PRAGMA incremental_vacuum"] : [];
  // The last VACUUM switches auto_vacuum on, whose map of pointers makes a full file larger.
  const growing = autoVacuum === 0 ? ["PRAGMA auto_vacuum = 1", FILL, "VACUUM"] : [FILL];
  const sizes = await sizesOf(run, app, path, [FILL, EMPTY, ...shrinking, "VACUUM"]);
  if (growing[0] !== FILL) await app.must(growing.shift()!);
  const grown = await sizesOf(run, app, path, growing);
  expect(Math.min(...sizes)).toBeLessThan(sizes[0]! / 4);
  expect(grown.toSorted((a, b) => a - b)).toEqual(grown);
  if (autoVacuum === 0) expect(grown.at(-1)).toBeGreaterThan(grown[0]!);
  expect(loggedAnchors(run)).toEqual([]);
  const history = await provenEnd(run, path, store);
  expect(history.map(({ image }) => image.length)).toEqual(expect.arrayContaining([...sizes, ...grown]));
  await app.close();
});

test.each([
  ["shrinks", [FILL], [EMPTY, "VACUUM"]],
  ["grows", ["SELECT 1"], [FILL, "PRAGMA auto_vacuum = 1", "VACUUM"]],
] as const)(
  "a database that %s by VACUUM while no watch runs is anchored by difference",
  async (_, before, after) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must(...before);
    await (await watchOne(path, store)).stop();
    await app.must(...after, "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(v) VALUES ('last')");
    const run = await watchOne(path, store);
    await run.uploaded(2);
    expect(loggedAnchors(run)).toMatchObject([{ mode: "difference" }]);
    expect(loggedAnchors(run)[0]!.reason).toMatch(UNWATCHED);
    await provenEnd(run, path, store);
    await app.close();
  },
);
