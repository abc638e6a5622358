/**
 * A database whose file another one replaces under a watch: deleted and created again, or restored over by a
 * copy. The history goes on with a difference, and a WARN names the reason.
 */
import { expect, test } from "bun:test";
import { copyFileSync, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { type LoggedAnchor, loggedAnchors, provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, type WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
  INSERT INTO t(v) SELECT randomblob(900) FROM n`;

/** A watched database whose application has closed it, with a copy of an earlier state. */
async function watched(): Promise<{ path: string; copy: string; store: MemoryStore; run: WatchRun }> {
  const { path, app } = await newDatabase();
  await app.must(FILL, "PRAGMA wal_checkpoint(TRUNCATE)");
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "UPDATE t SET v = 'after the copy' WHERE id < 5");
  await app.close();
  await run.until("an empty WAL", () => statSync(`${path}-wal`).size === 0);
  return { path, copy, store, run };
}

async function anchored(run: WatchRun): Promise<LoggedAnchor> {
  await run.until("the anchor", () => loggedAnchors(run).length > 0, 15_000);
  const { txid } = run.all("re-anchored")[0]!;
  await run.uploaded(txid);
  return loggedAnchors(run)[0]!;
}

test("a database that is deleted and created again goes on as the same history", async () => {
  const { path, store, run } = await watched();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await app.must("INSERT INTO t(v) VALUES ('of the new one')");
  const { mode, reason } = await anchored(run);
  expect([mode, reason]).toEqual(["difference", expect.stringMatching(/file was replaced|not watched/)]);
  await run.commit(app, "INSERT INTO t(v) VALUES ('captured')");
  await app.close();
  const history = await provenEnd(run, path, store);
  expect(history.at(-1)!.image.length).toBeLessThan(history[0]!.image.length / 4);
});

test("a database that is deleted shows as failing until it exists again", async () => {
  const { path, store, run } = await watched();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  await run.until("the failure", () => run.status().state === "failing", 15_000);
  expect(run.all("failed").length).toBe(1);
  expect(existsSync(path)).toBe(false);
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await anchored(run);
  await run.until("the recovery", () => run.status().state === "watching");
  await app.close();
  await provenEnd(run, path, store);
});

test.each([
  ["cp", (copy: string, path: string) => copyFileSync(copy, path)],
  ["mv", (copy: string, path: string) => renameSync(copy, path)],
] as const)("a database that is restored over by %s goes back with a difference", async (_, put) => {
  const { path, copy, store, run } = await watched();
  put(copy, path);
  const { mode, pageCount, reason } = await anchored(run);
  expect([mode, pageCount < 10]).toEqual(["difference", true]);
  expect(reason).toMatch(/file was replaced|overwritten by something that is not SQLite/);
  const app = await SqliteProcess.open(path);
  expect((await app.must("SELECT count(*) FROM t WHERE v = 'after the copy'")).rows).toEqual([[0]]);
  await run.commit(app, "INSERT INTO t(v) VALUES ('after the restore')");
  await app.close();
  await provenEnd(run, path, store);
});

test.each([
  ["-shm", ["-shm"]],
  ["-wal", ["-wal"]],
  ["-wal and -shm", ["-wal", "-shm"]],
])("a removed %s of a closed database is named, and the database is pinned again", async (_, suffixes) => {
  const { path, store, run } = await watched();
  for (const suffix of suffixes) rmSync(path + suffix);
  await run.until("another pin", () => run.all("watching").length === 2, 15_000);
  expect(run.isSaid("file was replaced; pinning again")).toBe(true);
  for (const { mode } of loggedAnchors(run)) expect(mode).toBe("difference");
  const app = await SqliteProcess.open(path);
  await run.commit(app, "INSERT INTO t(v) VALUES ('after the removal')");
  await app.close();
  await provenEnd(run, path, store);
});
