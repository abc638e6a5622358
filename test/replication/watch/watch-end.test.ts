/**
 * The end of a watch right after the files of its database were replaced or lost, before any look has noticed
 * that: what is at the path is captured, or the log says that it is not.
 */
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, renameSync, rmSync } from "node:fs";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const ROWS = "SELECT id, v FROM t ORDER BY id";
const apps: SqliteProcess[] = [];

afterEach(async () => {
  for (const app of apps.splice(0)) await app.kill();
});

/** A watched database at rest, with a clock that stands still: no look notices that a file was replaced. */
async function watched(): Promise<{ path: string; app: SqliteProcess; store: MemoryStore; run: WatchRun }> {
  const { path, app } = await newDatabase();
  apps.push(app);
  const store = new MemoryStore();
  const { overrides } = new ShiftedClock();
  const frozenMs = overrides.monotonicMs?.() ?? 0;
  let isFrozen = false;
  const monotonicMs = (): number => (isFrozen ? frozenMs : (overrides.monotonicMs?.() ?? 0));
  const run = new WatchRun([targetOf(path)], store, {}, { monotonicMs });
  await run.uploaded(1);
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  isFrozen = true;
  return { path, app, store, run };
}

/** Another database, closed by its application. */
async function otherFile(rows: number, pragmas?: string): Promise<string> {
  const { path, app } = await newDatabase(pragmas);
  for (let row = 0; row < rows; row++) await app.must("INSERT INTO t(v) VALUES ('other')");
  await app.close();
  return path;
}

async function expectCaptured(store: MemoryStore, path: string): Promise<void> {
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
}

test("the state folder was deleted: what was committed since is captured", async () => {
  const { path, app, store, run } = await watched();
  rmSync(targetOf(path).paths.folder, { recursive: true });
  await app.must("INSERT INTO t(v) VALUES ('last')");
  expect(await run.stop()).toEqual({ stopped: [], undrained: [] });
  await expectCaptured(store, path);
});

test("another file was moved there: it is captured", async () => {
  const { path, app, store, run } = await watched();
  const from = await otherFile(3);
  await app.must("INSERT INTO t(v) VALUES ('last')");
  await app.close();
  for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix);
  renameSync(from, path);
  expect(await run.stop()).toEqual({ stopped: [], undrained: [] });
  await expectCaptured(store, path);
});

test("a file that cannot be watched was moved there: the log says that it is not captured", async () => {
  const { path, app, store, run } = await watched();
  const from = await otherFile(3);
  const rollback = await SqliteProcess.open(from);
  await rollback.must("PRAGMA journal_mode = DELETE");
  await rollback.close();
  await app.close();
  for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix);
  copyFileSync(from, `${path}.new`);
  renameSync(`${path}.new`, path);
  await run.stop();
  expect(run.isSaid("what was committed last is not captured")).toBe(true);
  expect(run.isSaid("it is not in WAL mode")).toBe(true);
  await provenHistory(store, "app");
});
