/**
 * The end of a watch right after the files of its database were replaced or lost, before a poll notices. The
 * watch captures the file at the path, or logs that it does not.
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

/** An idle watched database with a clock that stands still, so no poll notices a replaced file. */
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

/** Another database that its application has closed. */
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

test("with a deleted state folder: the watch captures the commits since", async () => {
  const { path, app, store, run } = await watched();
  rmSync(targetOf(path).paths.folder, { recursive: true });
  await app.must("INSERT INTO t(v) VALUES ('last')");
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  await expectCaptured(store, path);
});

// The simulator's seed 198: the last attach began with a detach that forgot the TXIDs.
test("with a deleted state folder: the status keeps its TXIDs while the history is adopted", async () => {
  const { path, app, store, run } = await watched();
  const before = run.status();
  rmSync(targetOf(path).paths.folder, { recursive: true });
  await app.must("INSERT INTO t(v) VALUES ('last')");
  const seen: [txid: number, uploadedTxid: number][] = [];
  const list = store.list.bind(store);
  store.list = (...parameters) => {
    const { txid, uploadedTxid } = run.status();
    seen.push([txid, uploadedTxid]);
    return list(...parameters);
  };
  await run.stop();
  expect(before.uploadedTxid).toBeGreaterThan(0);
  expect(seen.length).toBeGreaterThan(0);
  for (const one of seen) expect(one).toEqual([before.txid, before.uploadedTxid]);
});

test("with another file at the path: the watch captures the file", async () => {
  const { path, app, store, run } = await watched();
  const from = await otherFile(3);
  await app.must("INSERT INTO t(v) VALUES ('last')");
  await app.close();
  for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix);
  renameSync(from, path);
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  await expectCaptured(store, path);
});

test("with an unwatchable file at the path: the log reports that it is not captured", async () => {
  const { path, app, store, run } = await watched();
  const from = await otherFile(3);
  const rollback = await SqliteProcess.open(from);
  await rollback.must("PRAGMA journal_mode = DELETE");
  await rollback.close();
  await app.close();
  for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix);
  copyFileSync(from, `${path}.new`);
  renameSync(`${path}.new`, path);
  const { uncaptured } = await run.stop();
  expect(uncaptured).toMatchObject([{ database: "app", error: { code: "not-wal" }, wasWatched: true }]);
  expect(run.isSaid("what was committed last is not captured")).toBe(true);
  expect(run.isSaid("it is not in WAL mode")).toBe(true);
  await provenHistory(store, "app");
});

test("with a file that was deleted in use: only commits that no file has count as not captured", async () => {
  for (const isLost of [false, true]) {
    const { path, app, run } = await watched();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
    if (isLost) await app.must("INSERT INTO t(v) VALUES ('lost')");
    const { uncaptured } = await run.stop();
    expect(uncaptured.map(({ error }) => error?.message)).toEqual(
      isLost ? [`${path} was deleted in use: no file has its commits after TXID 2`] : [],
    );
  }
});

test("with a database that was refused at the start: it does not count as not captured", async () => {
  const { path, app } = await newDatabase();
  apps.push(app);
  await app.must("PRAGMA journal_mode = DELETE");
  const { store, run } = await watched();
  await run.stop();
  const found = { ...targetOf(path, "found"), isDiscovered: true };
  const other = new WatchRun([found], store, {}, {}, { discover: () => new Promise(() => {}) });
  await other.until("the refusal", () => other.isSaid("it is not in WAL mode"));
  expect(await other.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
});
