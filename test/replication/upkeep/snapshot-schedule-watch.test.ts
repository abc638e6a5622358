/** Scheduled snapshots in a running watch, under fake clocks that jump. */
import { expect, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import type { SnapshotTriggers } from "../../../src/replication/upkeep/snapshot-schedule.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { DAY_MS, HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

/** TXIDs of the snapshots in the bucket. */
function snapshotsOf(run: WatchRun, database?: string): number[] {
  const uploads = run.all("uploaded", database).filter(({ kind }) => kind === "snapshot");
  return uploads.map(({ txid }) => txid);
}

/** A watched database with these triggers, and a clock that the test moves. */
async function watchWith(triggers: Partial<SnapshotTriggers>) {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  const run = new WatchRun(
    [targetOf(path)],
    store,
    { sync: { onStartup: true, ...triggers } },
    clock.overrides,
  );
  await run.watching();
  await run.uploaded(1);
  const taken = async (...txids: number[]): Promise<void> => {
    await run.until(`snapshots ${txids}`, () => snapshotsOf(run).join() === txids.join());
  };
  const commit = (): Promise<number> => run.commit(app, "INSERT INTO t(v) VALUES (randomblob(2000))");
  const end = async (): Promise<void> => {
    await run.stop();
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
    await app.close();
  };
  return { path, app, store, clock, run, taken, commit, end };
}

/** Waits for two more captured commits, after which a due snapshot would have begun. */
async function settled({ commit }: { commit: () => Promise<number> }): Promise<number> {
  await commit();
  return commit();
}

test("watch takes a snapshot each interval in which something changed, and none without", async () => {
  const watched = await watchWith({ snapshotIntervalMs: HOUR_MS });
  const { clock, commit, taken, end } = watched;
  await settled(watched);
  clock.pass(HOUR_MS);
  await taken(1, 3);
  clock.pass(100 * HOUR_MS);
  expect(await commit()).toBe(4);
  await taken(1, 3, 4);
  await settled(watched);
  await taken(1, 3, 4);
  await end();
});

test("watch ignores a wall clock that jumps by days", async () => {
  const watched = await watchWith({ snapshotIntervalMs: HOUR_MS });
  const { clock, run, store, taken, end } = watched;
  for (const jumpMs of [30 * DAY_MS, -90 * DAY_MS, 10 * DAY_MS]) {
    clock.jump(jumpMs);
    await settled(watched);
  }
  await taken(1);
  clock.jump(-400 * DAY_MS);
  clock.pass(HOUR_MS);
  await taken(1, 7);
  await end();
  const times = (await provenHistory(store, "app")).map(({ timeMs }) => timeMs);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(run.all("failed")).toEqual([]);
});

test("watch takes a snapshot after max-changes frames, over captures", async () => {
  const watched = await watchWith({ maxChanges: 2 });
  await settled(watched);
  await watched.run.until("a snapshot", () => snapshotsOf(watched.run).length >= 2);
  await settled(watched);
  await watched.run.until("another", () => snapshotsOf(watched.run).length >= 3);
  await watched.end();
});

test("watch takes one snapshot when the application pauses", async () => {
  const watched = await watchWith({ onIdleMs: 60_000 });
  const { clock, taken, end } = watched;
  await settled(watched);
  await taken(1);
  clock.pass(60_000);
  await taken(1, 3);
  clock.pass(600_000);
  await settled(watched);
  await taken(1, 3);
  await end();
});

test.each([
  ["an hour later", HOUR_MS, true],
  ["half an hour later", HOUR_MS / 2, false],
  ["with the clock set back", -DAY_MS, false],
  ["with the clock set ahead", DAY_MS, true],
] as const)("watch that starts again %s", async (_, laterMs, isDue) => {
  const watched = await watchWith({ snapshotIntervalMs: HOUR_MS });
  const { path, app, store, clock, run, commit } = watched;
  await commit();
  await run.stop();
  clock.jump(laterMs);
  const again = new WatchRun(
    [targetOf(path)],
    store,
    { sync: { snapshotIntervalMs: HOUR_MS, onStartup: true } },
    clock.overrides,
  );
  await again.watching();
  await app.must("INSERT INTO t(v) VALUES (1)");
  await again.uploaded(3);
  await app.must("INSERT INTO t(v) VALUES (2)");
  await again.uploaded(4);
  await again.until("what is due", () => snapshotsOf(again).length === (isDue ? 1 : 0));
  await again.stop();
  await app.close();
});

test("watch of ten databases reads at most two of them for snapshots at a time", async () => {
  const databases = await Promise.all(Array.from({ length: 10 }, () => newDatabase("page_size = 512")));
  const names = databases.map((_, index) => `db${index}`);
  const clock = new ShiftedClock();
  let reading = 0;
  let most = 0;
  const turn = async (): Promise<void> => {
    // The loop over the databases gives way, too, and reads none of them.
    const isReader = new Error("a turn").stack?.includes("watch-loop.ts") !== true;
    if (isReader) most = Math.max(most, ++reading);
    await new Promise((resolve) => setImmediate(resolve));
    if (isReader) reading--;
  };
  const run = new WatchRun(
    databases.map(({ path }, index) => targetOf(path, names[index]!)),
    new MemoryStore(),
    { sync: { snapshotIntervalMs: HOUR_MS, onStartup: true } },
    { ...clock.overrides, turn },
  );
  await run.watching(10);
  for (const [index, { app }] of databases.entries()) {
    await app.must("INSERT INTO t(v) VALUES (zeroblob(3000000))");
    await run.uploaded(2, names[index]!);
  }
  most = 0;
  clock.pass(HOUR_MS);
  await run.until("all snapshots", () => names.every((name) => snapshotsOf(run, name).length === 2), 15_000);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(2);
  await run.stop();
  await Promise.all(databases.map(({ app }) => app.close()));
}, 30_000);

test("watch answers a snapshot request, also twice at once and without a change between", async () => {
  const watched = await watchWith({});
  const { path, store, taken, end } = watched;
  await settled(watched);
  const both = await Promise.all([askForSnapshot(path, store), askForSnapshot(path, store)]);
  expect(both.map((result) => result?.txid)).toEqual([3, 3]);
  await taken(1, 3);
  expect((await askForSnapshot(path, store))?.key).toBe("app/0009/0000000000000001-0000000000000003.ltx");
  await end();
});

test("watch whose file is replaced during a snapshot request takes the new file", async () => {
  const watched = await watchWith({});
  const { path, app, store, run } = watched;
  await settled(watched);
  await app.must(`VACUUM INTO '${path}.new'`);
  await app.close();
  rmSync(`${path}-wal`, { force: true });
  rmSync(`${path}-shm`, { force: true });
  renameSync(`${path}.new`, path);
  const other = await SqliteProcess.open(path);
  const asked = askForSnapshot(path, store);
  asked.catch(() => {});
  await other.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('of the new file')");
  const before = run.uploadedTxid();
  await run.until("the new file", () => run.uploadedTxid() > before, 3_000);
  expect((await asked)?.txid).toBeGreaterThan(0);
  await run.stop();
  expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
  await other.close();
}, 15_000);
