/**
 * A database after its application closed. The watch empties the WAL, as the application's last close does
 * without a pin. A later start can therefore prove that the database did not change.
 */
import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, readFileSync, statSync, utimesSync } from "node:fs";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { readState } from "../../../src/local/state.ts";
import { snapshotOnce } from "../../../src/replication/upkeep/snapshot-once.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

function walSize(path: string): number {
  return statSync(`${path}-wal`).size;
}

function restedNs(path: string): string | undefined {
  const reading = readState(targetOf(path).paths);
  return reading.kind === "state" ? reading.state.file?.restedNs : undefined;
}

async function untilAtRest(run: WatchRun, path: string): Promise<void> {
  await run.until("an empty WAL", () => walSize(path) === 0);
  // Rest is recorded some three seconds after the last capture.
  await run.until("rest", () => restedNs(path) !== undefined, 15_000);
}

test("watch empties the WAL when the application has closed, and not before", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES (1)");
  const second = await SqliteProcess.open(path);
  await second.must("SELECT count(*) FROM t");
  await app.close();
  await run.stop();
  expect(walSize(path)).toBeGreaterThan(0);

  const again = await watchOne(path, store);
  await second.close();
  await untilAtRest(again, path);
  await again.stop();
  expect(again.all("re-anchored")).toEqual([]);
  await provenHistory(store, "app");
});

test("watch empties the WAL at its first poll after a long idle application closed", async () => {
  const { path, app } = await newDatabase();
  let frozenMs: number | null = null;
  let ticks = 0;
  const monotonicMs = (): number => frozenMs ?? performance.now();
  const sleep = (_: number, signal?: AbortSignal): Promise<void> => {
    ticks++;
    return systemEnv(SILENT_LOG).sleep(1, signal);
  };
  const run = new WatchRun([targetOf(path)], new MemoryStore(), {}, { monotonicMs, sleep });
  await run.uploaded(1);
  await run.commit(app, "INSERT INTO t(v) VALUES (1)");
  frozenMs = performance.now() + 60_000;
  const before = ticks;
  await run.until("some looks", () => ticks > before + 5);
  expect(walSize(path)).toBeGreaterThan(0);
  // Time for one look, and not for periodic work.
  await app.close();
  frozenMs += 100;
  await run.until("an empty WAL", () => walSize(path) === 0);
  frozenMs = null;
  await run.stop();
});

test("the end of a watch empties the WAL though the application closed just before", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await app.must("INSERT INTO t(v) VALUES (1)");
  await app.close();
  const image = imageOf(path);
  await run.stop();
  expect([walSize(path), restedNs(path) !== undefined]).toEqual([0, true]);
  expect(readFileSync(path).equals(image)).toBe(true);
  const rows = "SELECT * FROM t";
  expect(rowsOf(await newestImage(store, "app"), rows)).toEqual(rowsOf(image, rows));
});

test("a snapshot without a watch empties the WAL", async () => {
  const { path, app } = await newDatabase();
  await app.must("INSERT INTO t(v) VALUES (1)");
  await app.kill();
  const env = systemEnv(SILENT_LOG);
  const context = { store: new MemoryStore(), env, version: "test", anchors: new Semaphore(1) };
  await snapshotOnce(targetOf(path), context, new AbortController().signal);
  expect([walSize(path), restedNs(path) !== undefined]).toEqual([0, true]);
});

/** A change to an idle database while no watch runs, and whether the next start reads the whole file. */
const MEANWHILE: readonly [string, (path: string) => Promise<void>, "read" | "known"][] = [
  ["nothing", async () => {}, "known"],
  ["a commit that is in the WAL when the application dies", (path) => commitAnd("kill", path), "known"],
  ["a commit that the last close wrote into the file", (path) => commitAnd("close", path), "read"],
  ["a file copied over with the same size and time", copyOver, "read"],
  ["another mode, which only costs a read", async (path) => chmodSync(path, 0o600), "read"],
];

async function commitAnd(end: "kill" | "close", path: string): Promise<void> {
  const app = await SqliteProcess.open(path);
  await app.must("UPDATE t SET v = 'new' WHERE id = 1");
  await app[end]();
}

/** Replaces the database by a copy with one changed byte in a row. */
async function copyOver(path: string): Promise<void> {
  const { atime, mtime } = statSync(path);
  copyFileSync(path, `${path}.copy`);
  const bytes = readFileSync(path);
  bytes[bytes.lastIndexOf("first")] = 0x46;
  await Bun.write(path, bytes);
  utimesSync(path, atime, mtime);
}

for (const [what, meanwhile, isRead] of MEANWHILE) {
  test(`a start after ${what} brings the history up to date`, async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const first = await watchOne(path, store);
    await app.close();
    await untilAtRest(first, path);
    await first.stop();
    await meanwhile(path);
    const image = imageOf(path);
    const second = await new WatchRun([targetOf(path)], store).watching();
    const rows = "SELECT id, v FROM t";
    const isChanged = rowsOf(image, rows)[0]?.[1] !== "first";
    if (isChanged) await second.uploaded(2);
    await second.stop();
    await provenHistory(store, "app");
    expect(rowsOf(await newestImage(store, "app"), rows)).toEqual(rowsOf(image, rows));
    const reasons = second.all("re-anchored").map(({ reason }) => reason);
    if (isRead === "known") expect(reasons).toEqual([]);
  });
}

test("watch and bucket lose nothing of an application that opens and closes for each commit", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await app.close();
  const random = seededRandom(5);
  for (let count = 0; count < 8; count++) {
    const one = await SqliteProcess.open(path);
    await one.must(`INSERT INTO t(v) VALUES (${count})`);
    await (random() < 0.3 ? one.kill() : one.close());
    // Sometimes longer than the absence after which the watch empties the WAL.
    if (random() < 0.3) await untilAtRest(run, path);
  }
  const image = imageOf(path);
  await run.stop();
  await provenHistory(store, "app");
  const rows = "SELECT id, v FROM t ORDER BY id";
  expect(rowsOf(image, rows)).toHaveLength(9);
  expect(rowsOf(await newestImage(store, "app"), rows)).toEqual(rowsOf(image, rows));
});
