/**
 * A disk without room. A snapshot that cannot be written is named and taken later, and captures continue
 * meanwhile. When nothing can be captured and the disk of the database is nearly full, walrust releases its
 * pin, so that the application can checkpoint; a difference follows.
 */
import { afterEach, expect, spyOn, test } from "bun:test";
import * as fs from "node:fs";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { WalrustError } from "../../../src/errors.ts";
import { SpoolWriter } from "../../../src/local/spool.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { runOutside } from "../../support/processes/outside-statements.ts";
import { loggedAnchors, provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const COMMIT = "INSERT INTO t(v) VALUES (randomblob(9000))";
const mocks: { mockRestore(): void }[] = [];

afterEach(() => {
  for (const mock of mocks.splice(0)) mock.mockRestore();
});

test("a snapshot without room is named, stops no capture, and is taken when there is room", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  const change = { sync: { snapshotIntervalMs: HOUR_MS } };
  const run = new WatchRun([targetOf(path)], store, change, clock.overrides);
  await run.uploaded(1);
  let refusedCount = 0;
  const { finish } = SpoolWriter.prototype;
  const mock = spyOn(SpoolWriter.prototype, "finish").mockImplementation(function (
    this: SpoolWriter,
    around: Parameters<SpoolWriter["finish"]>[0],
  ) {
    if (!("chain" in around)) return finish.call(this, around);
    refusedCount++;
    throw new WalrustError("database", "Cannot write spool file: ENOSPC", { retryable: true });
  });
  mocks.push(mock);
  await run.commit(app, COMMIT);
  clock.pass(HOUR_MS);
  await run.until("the refusal", () => refusedCount > 0);
  await run.until("the failure", () => run.all("failed").length > 0);
  expect(run.all("failed")[0]!.message).toContain("ENOSPC");
  for (let round = 0; round < 3; round++) await run.commit(app, COMMIT);
  mock.mockRestore();
  const snapshots = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
  while (snapshots() < 2) {
    clock.pass(30_000);
    await run.commit(app, COMMIT);
  }
  await run.until("the recovery", () => run.status().failure === null);
  expect(run.all("failed").length).toBe(1);
  await provenEnd(run, path, store);
  await app.close();
});

/** Lets the free space of every disk look short from now on. */
function fullDisk(): { isFull: boolean } {
  const disk = { isFull: false };
  const { statfsSync } = fs;
  mocks.push(
    spyOn(fs, "statfsSync").mockImplementation(((...words: Parameters<typeof statfsSync>) => {
      const found = statfsSync(...words);
      return disk.isFull ? Object.assign(found, { bavail: 10 }) : found;
    }) as typeof statfsSync),
  );
  return disk;
}

// Under the freeze of the reading no checkpoint of the application can empty the WAL.
test.each(["first snapshot", "difference"])(
  "a %s ends when the WAL grows on a nearly full disk, and is taken when there is room",
  async (job) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must("INSERT INTO t(v) VALUES (randomblob(6000000))");
    if (job === "difference") await (await watchOne(path, store)).stop();
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET v = 1 WHERE id = 1");
    const disk = fullDisk();
    let turnCount = 0;
    const turn = async (): Promise<void> => {
      if (++turnCount === 3) {
        runOutside(path, "INSERT INTO t(v) VALUES (randomblob(6000000))");
        disk.isFull = true;
      }
      await new Promise((resolve) => setImmediate(resolve));
    };
    const run = new WatchRun([targetOf(path)], store, {}, { turn });
    await run.until("the failure", () => run.all("failed").length > 0);
    expect(run.all("failed")[0]!.message).toContain("its disk is nearly full, and its WAL grew by");
    expect(run.status().state).toBe("failing");
    await run.until("the release", () => run.isSaid("the pin was released, because the disk is nearly full"));
    await app.must("PRAGMA busy_timeout = 5000", "PRAGMA wal_checkpoint(TRUNCATE)");
    expect(statSync(`${path}-wal`).size).toBe(0);
    disk.isFull = false;
    await run.until("the history", () => run.uploadedTxid() >= (job === "difference" ? 2 : 1), 15_000);
    await run.until("health", () => run.status().failure === null, 15_000);
    await app.close();
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
  },
  60_000,
);

test("a later snapshot ends likewise, and walrust's own checkpoint shortens the WAL", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  await app.must("INSERT INTO t(v) VALUES (randomblob(6000000))");
  const disk = fullDisk();
  let turnCount = Number.NEGATIVE_INFINITY;
  const turn = async (): Promise<void> => {
    if (++turnCount === 3) {
      runOutside(path, "INSERT INTO t(v) VALUES (randomblob(6000000))");
      disk.isFull = true;
    }
    await new Promise((resolve) => setImmediate(resolve));
  };
  const change = { sync: { snapshotIntervalMs: HOUR_MS, minCheckpointPageCount: 100 } };
  const run = new WatchRun([targetOf(path)], store, change, { ...clock.overrides, turn });
  await run.uploaded(1);
  await run.commit(app, COMMIT);
  turnCount = 0;
  clock.pass(HOUR_MS);
  await run.until("the failure", () => run.all("failed").length > 0);
  expect(run.all("failed")[0]!.message).toContain("its disk is nearly full, and its WAL grew by");
  await run.until("a checkpoint", () => run.all("checkpointed").some(({ frames }) => frames > 1_000));
  await run.commit(app, COMMIT);
  expect(run.status().walFrames).toBeLessThan(100);
  disk.isFull = false;
  const snapshots = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
  while (snapshots() < 2) {
    clock.pass(30_000);
    await run.commit(app, COMMIT);
  }
  await run.until("health", () => run.status().failure === null);
  expect(loggedAnchors(run)).toEqual([]);
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
}, 60_000);

test("a nearly full disk releases the pin if nothing can be captured; a difference follows", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  const { spoolFolder } = targetOf(path).paths;
  rmSync(spoolFolder, { recursive: true });
  writeFileSync(spoolFolder, "a file in the way");
  const disk = fullDisk();
  await app.must("PRAGMA wal_autocheckpoint = 100");
  for (let round = 0; round < 500; round++) await app.must(COMMIT);
  await run.until("the failure", () => run.all("failed").length > 0);
  expect(run.isSaid("the pin was released")).toBe(false);
  const size = statSync(`${path}-wal`).size;
  disk.isFull = true;
  await run.until("the release", () => run.isSaid("the pin was released, because the disk is nearly full"));
  // The application's own checkpoint now empties the WAL, and gives the disk its room back.
  await app.must("PRAGMA busy_timeout = 5000", "PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(`${path}-wal`).size).toBeLessThan(size / 10);
  disk.isFull = false;
  rmSync(spoolFolder);
  await run.until("the anchor", () => run.all("re-anchored").length > 0, 15_000);
  await run.until("health", () => run.status().failure === null && run.status().pendingCount === 0, 15_000);
  expect(loggedAnchors(run)[0]!.mode).toBe("difference");
  await provenEnd(run, path, store);
  await app.close();
}, 60_000);
