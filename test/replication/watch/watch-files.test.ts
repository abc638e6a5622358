/**
 * Files that change under a running watch: a removed -shm or -wal, another database at the path, checkpoints
 * by the application. The history continues from the database's present content. An event of the folder has
 * the files of an idle database checked at once. Where the event is lost or there are no events, a sweep
 * finds the change within ten seconds.
 */
import { describe, expect, spyOn, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { Pin } from "../../../src/database/pin/pin.ts";
import { type OpenWalEvents, WalEvents, type WalWatch } from "../../../src/database/wal/wal-events.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { keysAt, newestImage } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, tenant } from "../../support/runs/fleet-run.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

async function expectSame(store: MemoryStore, path: string, name = "app"): Promise<void> {
  expect(Buffer.compare(await newestImage(store, name), imageOf(path))).toBe(0);
}

describe("watch while files are replaced", () => {
  test.each(["-shm", "-wal"])(
    "watch pins again after a removed %s and loses no commit of the database",
    async (suffix) => {
      const { path, app } = await newDatabase();
      await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
      const store = new MemoryStore();
      const run = await watchOne(path, store);
      await run.commit(app, "INSERT INTO t(v) VALUES ('before')");
      await app.close();
      rmSync(`${path}${suffix}`);
      await run.until("the new files", () => run.all("watching").length === 2);
      const again = await SqliteProcess.open(path);
      await again.must("INSERT INTO t(v) VALUES ('after')");
      await run.until("the newest commit", () => run.uploadedTxid() >= 3);
      await again.must("INSERT INTO t(v) VALUES ('last')");
      await run.stop();
      expect((await keysAt(store, "app", 9)).length).toBe(1);
      await expectSame(store, path);
      await again.close();
    },
  );

  test("a database that is replaced by another continues its history with the difference", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await app.close();
    const other = await newDatabase();
    await other.app.must("INSERT INTO t(v) VALUES (randomblob(30000))", "PRAGMA wal_checkpoint(TRUNCATE)");
    await other.app.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
    renameSync(other.path, path);
    const again = await SqliteProcess.open(path);
    await again.must("INSERT INTO t(v) VALUES ('on the other')");
    await run.uploaded(2);
    await again.must("INSERT INTO t(v) VALUES ('last')");
    await run.stop();
    expect((await keysAt(store, "app", 9)).length).toBe(1);
    await expectSame(store, path);
    await again.close();
  });

  test("an upload in flight while the files are replaced does not block the ones after it", async () => {
    const { path, app } = await newDatabase();
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const run = await watchOne(path, store);
    await run.until("the manifest", () => store.puts.length === 2);
    const door = gate();
    store.before = (operation) => (operation === "put" ? door.passed : undefined);
    await app.must("INSERT INTO t(v) VALUES ('in flight')");
    await run.until("the upload", () => store.puts.at(-1)!.startsWith("app/0000/"));
    await app.close();
    rmSync(`${path}-shm`, { force: true });
    const again = await SqliteProcess.open(path);
    await again.must("INSERT INTO t(v) VALUES ('after')");
    await run.until("the new files", () => run.all("watching").length === 2);
    store.before = () => {};
    door.open();
    await run.uploaded(2);
    await again.must("INSERT INTO t(v) VALUES ('last')");
    await run.uploaded(3);
    await run.stop();
    expect(run.all("failed")).toEqual([]);
    await expectSame(memory, path);
    await again.close();
  });

  test("a blocking checkpoint of the application succeeds and nothing is lost", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    for (const mode of ["FULL", "RESTART", "TRUNCATE"]) {
      await app.must("PRAGMA busy_timeout = 3000", "INSERT INTO t(v) VALUES (randomblob(20000))");
      const reply = await app.must(`PRAGMA wal_checkpoint(${mode})`);
      expect([mode, reply.rows[0]![0]]).toEqual([mode, 0]);
      await app.must("INSERT INTO t(v) VALUES ('after')");
    }
    await run.stop();
    expect((await keysAt(store, "app", 9)).length).toBe(1);
    await expectSame(store, path);
    await app.close();
  });
});

/** A database without captures for this long is idle. */
const QUIET_MS = 15_000;
const SWEEP_MS = 10_000;

/** Watches that the system grants, and events that all get lost. */
function lostEvents(): WalEvents {
  let count = 0;
  const watchOrNull = (): WalWatch => ++count;
  return {
    watchOrNull,
    watchFolderOrNull: watchOrNull,
    unwatch() {},
    arm() {},
    close() {},
  } as unknown as WalEvents;
}

/** A watch of one idle database whose files were checked. */
async function idleRun(openWalEvents: OpenWalEvents): Promise<{ run: FleetRun; path: string }> {
  const target = await tenant("one");
  const run = await new FleetRun([target], new MemoryStore(), { openWalEvents }).watching();
  await run.uploaded(1, "one");
  run.clock.pass(QUIET_MS);
  await run.discovery();
  return { run, path: target.path };
}

describe("a -shm that is removed beside an idle database", () => {
  test.skipIf(process.platform !== "linux")("is noticed at once with events", async () => {
    let events: WalEvents | null = null;
    const { run, path } = await idleRun((onEvent) => {
      events = WalEvents.openOrNull(onEvent);
      return events;
    });
    expect(events).not.toBeNull();
    rmSync(`${path}-shm`);
    await run.until("the new files", () => run.all("watching").length === 2);
    await run.stop();
  });

  test.each([
    ["if the event is lost", lostEvents],
    ["without events", () => null],
  ])("is noticed within ten seconds %s", async (_, open) => {
    const { run, path } = await idleRun(open);
    rmSync(`${path}-shm`);
    run.clock.pass(SWEEP_MS);
    await run.until("the new files", () => run.all("watching").length === 2);
    await run.stop();
  });
});

test("the files of an idle database are compared once in ten seconds", async () => {
  const { run, path } = await idleRun(lostEvents);
  let count = 0;
  const { changedFile } = Pin.prototype;
  const counted = spyOn(Pin.prototype, "changedFile").mockImplementation(function (this: Pin) {
    if (this.path === path) count++;
    return changedFile.call(this);
  });
  // Each discovery passes five seconds.
  for (let time = 0; time < 8; time++) await run.discovery();
  counted.mockRestore();
  expect(count).toBeGreaterThanOrEqual(3);
  expect(count).toBeLessThanOrEqual(5);
  await run.stop();
});
