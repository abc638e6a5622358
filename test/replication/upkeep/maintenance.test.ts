/**
 * Upkeep in a watch: its triggers, the objects that it does not touch, and its next run after a failure or a
 * request.
 */
import { expect, test } from "bun:test";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { CAPTURES_ONLY, type ConfigChange, configWith, DEFAULT_CONFIG } from "../../support/config.ts";
import { eventually } from "../../support/eventually.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import { MeddledBucket } from "../../support/runs/meddled-bucket.ts";
import { askForUpkeep } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const UPKEEP: ConfigChange = {
  sync: { snapshotIntervalMs: HOUR_MS, onStartup: true },
  compaction: { enabled: true },
  cache: { retentionMs: HOUR_MS },
};
const TWO = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };

/** A watched database with this upkeep, and a clock that the test moves. */
async function watchWith(change: ConfigChange, store = new FaultyStore(new MemoryStore())) {
  const { path, app } = await newDatabase();
  const clock = new ShiftedClock();
  const config = configWith(change, configWith(UPKEEP, CAPTURES_ONLY));
  const overrides = { ...clock.overrides, random: () => 0.999 };
  const run = new WatchRun([targetOf(path)], store, config, overrides);
  await run.watching();
  await run.uploaded(1);
  return { path, app, clock, run, store };
}

/** Commits one by one until the bucket has `count` more TXIDs. */
async function commits(
  { run, app }: Pick<Awaited<ReturnType<typeof watchWith>>, "run" | "app">,
  count: number,
) {
  for (let i = 0; i < count; i++) await run.commit(app, `INSERT INTO t(v) VALUES (randomblob(${i * 37}))`);
}

test.each([
  ["count", { threshold: 5 }],
  ["size", { sizeBytes: 5_000 }],
] as const)("compaction starts early by %s", async (_, early) => {
  const watched = await watchWith({ compaction: early });
  await commits(watched, 12);
  await watched.run.until("a compaction", () => watched.run.all("compacted").length > 0);
  const [first] = watched.run.all("compacted");
  expect(first).toMatchObject({ level: 1, minTxid: 2 });
  await watched.run.stop();
  await watched.app.close();
});

test("compaction starts early by age, and by its interval otherwise", async () => {
  const watched = await watchWith({ compaction: { maxIncrementalAgeMs: 5_000 } });
  const { run, clock } = watched;
  await commits(watched, 3);
  expect(run.all("compacted")).toEqual([]);
  clock.pass(5_000);
  await run.until("a compaction", () => run.all("compacted").length === 1);
  await commits(watched, 2);
  clock.pass(30_000);
  await run.until("a second one", () => run.all("compacted").length === 2);
  expect(run.all("compacted")[1]).toMatchObject({ minTxid: 5, maxTxid: 6 });
  await run.stop();
  await watched.app.close();
});

test("levels 2 and 3 are merged at their intervals, and increments are deleted after an hour", async () => {
  const watched = await watchWith({});
  const { run, clock, store } = watched;
  await commits(watched, 15);
  clock.pass(31_000);
  await run.until("level 1", () => run.all("compacted").some(({ level }) => level === 1));
  await commits(watched, 1);
  clock.pass(HOUR_MS + 1);
  await run.until("level 3", () => run.all("compacted").some(({ level }) => level === 3));
  await commits(watched, 11);
  const before = run.all("compacted").length;
  clock.pass(31_000);
  await run.until("another level 1", () => run.all("compacted").length > before);
  clock.pass(HOUR_MS + 1);
  await eventually("the old increments to go", async () => (await keysAt(store, "app", 0)).length <= 13);
  expect((await keysAt(store, "app", 0)).length).toBeGreaterThanOrEqual(10);
  await run.stop();
  await watched.app.close();
});

// Regression: the watch merged the objects of `compact` again, longer and overlapping.
test("compaction continues after a request of `compact` without overlapping it", async () => {
  const watched = await watchWith({ compaction: { threshold: 3 } });
  const { run, path, store, clock } = watched;
  await commits(watched, 4);
  await run.until("a compaction", () => run.all("compacted").length > 0);
  await commits(watched, 1);
  const asked = await askForUpkeep(path, store, TWO);
  expect(asked?.compacted.length).toBeGreaterThan(0);
  await commits(watched, 2);
  clock.pass(31_000);
  const last = run.uploadedTxid();
  await eventually("all to be compacted", async () =>
    (await listObjects(store, "app")).some(({ level, maxTxid }) => level === 1 && maxTxid === last),
  );
  const level = (await listObjects(store, "app")).filter((object) => object.level === 1);
  await run.stop();
  await watched.app.close();
  for (const [index, { minTxid }] of level.entries()) {
    expect(Number(minTxid)).toBe(index === 0 ? 2 : level[index - 1]!.maxTxid + 1);
  }
});

// Regression: no pause held back the next try, so each poll of 40 ms began another one and logged a warning.
test("upkeep that fails is not tried at every poll", async () => {
  const watched = await watchWith({ compaction: { threshold: 3 } });
  const { run, store, app } = watched;
  store.before = (operation, key) => {
    if (operation === "put" && key.includes("/0001/")) throw unreachable();
  };
  await commits(watched, 3);
  const failures = (): number =>
    run.lines.filter(({ message }) => message.startsWith("merging and expiring stored objects: ")).length;
  await run.until("a failure", () => failures() > 0);
  await app.run("INSERT INTO t(v) VALUES (1)", "SELECT 1");
  await commits(watched, 6);
  await run.stop();
  await app.close();
  expect(failures()).toBeLessThan(4);
});

// Regression: the check for deletable objects was due every 10 minutes even without a change.
test("Maintenance.isDue: an idle database needs no request, however long it is idle", () => {
  const maintenance = new Maintenance(DEFAULT_CONFIG, 0);
  expect(maintenance.isDue(24 * HOUR_MS, 0, 0)).toBe(false);
});

test("retention after a snapshot keeps the snapshots of the policy", async () => {
  const sync = { maxChanges: 1, compactAfterSnapshot: true };
  const watched = await watchWith({ sync, retention: TWO });
  const { run, store } = watched;
  for (let round = 1; round <= 4; round++) {
    await commits(watched, 1);
    const taken = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
    await run.until("a snapshot", () => taken() >= round + 1);
  }
  await eventually("old snapshots to go", async () => (await keysAt(store, "app", 9)).length <= 3);
  const last = run.uploadedTxid();
  await run.stop();
  const kept = await keysAt(store, "app", 9);
  expect(kept.at(-1)).toContain(last.toString(16).padStart(16, "0"));
  await watched.app.close();
});

// Regression: retention ran when the snapshot was in the spool, before the bucket had it.
test("retention after a snapshot counts that snapshot", async () => {
  const sync = { maxChanges: 1, compactAfterSnapshot: true };
  const watched = await watchWith({ sync, retention: TWO });
  const { run, store } = watched;
  const taken = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
  for (let round = 1; round <= 2; round++) {
    const door = gate();
    const lists = (): number => store.calls.filter((call) => call.startsWith("list app/0009/")).length;
    const listed = lists();
    store.before = (operation, key) =>
      operation === "put" && key.includes("/0009/") ? door.passed : undefined;
    await commits(watched, 1);
    await eventually("retention, or nothing", async () => lists() > listed, 1_000).catch(() => {});
    door.open();
    await run.until("a snapshot", () => taken() >= round + 1);
  }
  const isPruned = async (): Promise<boolean> => (await keysAt(store, "app", 9)).length === 2;
  await eventually("old snapshots to go", isPruned, 1_500).finally(async () => {
    await run.stop();
    await watched.app.close();
  });
});

test("Maintenance deletes no object whose last sound copy it is, whatever others change", async () => {
  const seen = { deletions: 0, changes: 0, failures: 0 };
  for (let seed = 1; seed <= 6; seed++) {
    const bucket = new MeddledBucket(seed);
    await bucket.run(60);
    seen.deletions += bucket.deletions;
    seen.changes += bucket.changes;
    seen.failures += bucket.failures;
    // No job asks without an end.
    expect(bucket.callsPerObject).toBeLessThan(4);
  }
  expect(seen.deletions).toBeGreaterThan(300);
  expect(seen.changes).toBeGreaterThan(60);
  expect(seen.failures).toBeGreaterThan(60);
});
