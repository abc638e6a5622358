/**
 * Databases that appear and disappear under a watch. The watch adds the databases that discovery finds. For a
 * database that discovery no longer finds, it uploads the captured files and stops replicating.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import { askWatchByNameOrNull } from "../../../src/replication/control/control-client.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { isWalFree } from "../../support/processes/outside-checkpoint.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, foundTarget, tenant, tenants } from "../../support/runs/fleet-run.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

async function expectSame(store: MemoryStore, path: string, name: string): Promise<void> {
  expect(Buffer.compare(await newestImage(store, name), imageOf(path))).toBe(0);
}

function isHostLocked(path: string): boolean {
  const release = takeHostLockOrNull(path);
  release?.();
  return release === null;
}

/** A store that refuses every put while it is unavailable. */
function awayStore(memory: MemoryStore): { store: FaultyStore; setAway: (isAway: boolean) => void } {
  const store = new FaultyStore(memory);
  const setAway = (isAway: boolean): void => {
    store.before = (operation) => {
      if (isAway && operation === "put") throw unreachable();
    };
  };
  return { store, setAway };
}

describe("a fleet", () => {
  test("adds a database found while watching, and answers requests for it", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const store = new MemoryStore();
    const run = new FleetRun([one], store);
    await run.uploaded(1, "one");
    expect(run.databases).toEqual(["one"]);
    await run.find(one, two);
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    await app.must("INSERT INTO t(v) VALUES ('later')");
    await run.uploaded(2, "two");
    expect((await askForSnapshot(two.path, store))?.txid).toBe(2);
    await run.stop();
    expect(run.all("watching").map(({ database }) => database)).toEqual(["one", "two"]);
    await expectSame(store, two.path, "two");
    await app.close();
  });

  test("that ends at once has captured databases that still waited for their first attach", async () => {
    const many = await tenants(tempFolder("many"), ...Array.from({ length: 40 }, (_, i) => `t${i}`));
    const store = new MemoryStore();
    const run = new FleetRun(many, store);
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    for (const { path, name } of many) await expectSame(store, path, name);
  });

  test("says at the end that a search does not end, and ends all the same", async () => {
    const one = await tenant("one");
    const discover = (): Promise<never> => new Promise(() => {});
    const run = new FleetRun([one], new MemoryStore(), { discover });
    await run.uploaded(1, "one");
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    expect(run.isSaid("databases that were created in the last seconds may not be captured")).toBe(true);
  });

  test("captures a database that is created just before the end", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const store = new MemoryStore();
    const run = new FleetRun([one], store);
    await run.uploaded(1, "one");
    run.present = [one, two];
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    await expectSame(store, two.path, "two");
  });

  test("removes a database after its last commit, and releases its lock and its name", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const store = new MemoryStore();
    const run = new FleetRun([one, two], store, { config: { sync: { walSyncIntervalMs: 3_600_000 } } });
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    await app.must("INSERT INTO t(v) VALUES ('last')");
    await run.find(one);
    expect(await run.gone("two")).toBe("it is not found any more");
    expect(run.uploadedTxid("two")).toBe(2);
    expect([run.databases, isHostLocked(two.path)]).toEqual([["one"], false]);
    expect(existsSync(join(two.paths.folder, "watch.socket"))).toBe(false);
    const request = { verb: "snapshot", name: "two", destination: store.url } as const;
    expect(await askWatchByNameOrNull(store.url, "two", request)).toBeNull();
    expect(run.saidCount("stopped replicating: it is not found any more")).toBe(1);
    await app.must("INSERT INTO t(v) VALUES ('not ours')");
    await run.discovery();
    const result = await run.stop();
    expect(result).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    expect([run.all("let-go").length, run.all("failed").length]).toEqual([1, 0]);
    expect((await provenHistory(store, "two")).length).toBe(2);
    await app.close();
  });

  test("continues while no database is watched, and ends without a discovery to wait for", async () => {
    const one = await tenant("one");
    const run = new FleetRun([], new MemoryStore());
    await run.discovery();
    expect([run.isDone, run.databases]).toEqual([false, []]);
    await run.find(one);
    await run.uploaded(1, "one");
    await run.find();
    await run.gone("one");
    await run.discovery();
    expect(run.isDone).toBe(false);
    await run.stop();
    const missing = new WatchRun([targetOf("/nowhere/app.db")], new MemoryStore());
    expect((await missing.done).stopped.map(({ error }) => error.code)).toEqual(["database"]);
  });

  // A burst of attaches would starve the databases that are watched already.
  test("attaches 300 new databases a few at a time while it serves another", async () => {
    const busy = await tenant("busy");
    const found = await tenants(tempFolder("many"), ...Array.from({ length: 300 }, (_, i) => `t${i}`));
    const store = new FaultyStore(new MemoryStore());
    const run = new FleetRun([busy], store);
    await run.uploaded(1, "busy");
    const app = await SqliteProcess.open(busy.path);
    const door = gate();
    let atOnce = 0;
    let most = 0;
    const seen = new Set<string>();
    store.before = async (operation, key) => {
      // The first listing of a database is its attach.
      const name = key.slice(0, key.indexOf("/"));
      if (operation !== "list" || name === "busy" || seen.has(name)) return;
      seen.add(name);
      most = Math.max(most, ++atOnce);
      await door.passed;
      atOnce--;
    };
    await run.find(busy, ...found);
    await run.until("the first attaches", () => atOnce === 16);
    await app.must("INSERT INTO t(v) VALUES ('meanwhile')");
    await run.uploaded(2, "busy");
    expect([atOnce, run.all("watching").length, run.databases.length]).toEqual([16, 1, 301]);
    expect(run.status("t299").state).toBe("starting");
    door.open();
    await run.until("all of them", () => run.all("watching").length === 301, 50_000);
    await run.stop();
    expect(most).toBeLessThanOrEqual(16);
    await app.close();
  }, 60_000);

  test("continues with a file that was deleted and created anew between two discoveries", async () => {
    const one = await tenant("one");
    const other = await tenant("other");
    const store = new MemoryStore();
    const run = new FleetRun([one], store);
    await run.uploaded(1, "one");
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${one.path}${suffix}`, { force: true });
    // Long enough for a check of the files, not for a discovery.
    run.clock.pass(1_500);
    await run.until("a look", () => run.lines.some(({ message }) => message.includes("was replaced")));
    renameSync(other.path, one.path);
    const app = await SqliteProcess.open(one.path);
    await app.must("INSERT INTO t(v) VALUES ('anew')");
    await run.uploaded(2, "one");
    await run.stop();
    expect([run.all("failed"), run.all("let-go")]).toEqual([[], []]);
    await expectSame(store, one.path, "one");
    await app.close();
  });
});

describe("removing a database while the store is away", () => {
  test("delays no other, unlocks the application's files, and sends pending files afterwards", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const memory = new MemoryStore();
    const { store, setAway } = awayStore(memory);
    const run = new FleetRun([one, two], store);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    setAway(true);
    await app.must("INSERT INTO t(v) VALUES ('waits')");
    await run.until("the capture", () => run.status("two").pendingCount === 1);
    await run.find(one);
    await run.until("the end of the pin", () => isWalFree(two.path));
    const { rows } = await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    expect([rows[0]![0], isHostLocked(two.path), run.all("let-go")]).toEqual([0, true, []]);
    setAway(false);
    run.clock.pass(30_000);
    await run.gone("two");
    expect([run.uploadedTxid("two"), isHostLocked(two.path)]).toEqual([2, false]);
    await run.stop();
    await expectSame(memory, two.path, "two");
    await app.close();
  });

  test("ends with the watch, which uploads as much as it can", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const memory = new MemoryStore();
    const { store, setAway } = awayStore(memory);
    const run = new FleetRun([one, two], store, { config: { sync: { shutdownTimeoutMs: 300 } } });
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    setAway(true);
    await app.must("INSERT INTO t(v) VALUES ('waits')");
    await run.until("the capture", () => run.status("two").pendingCount === 1);
    await run.find(one);
    const { undrained } = await run.stop();
    expect([undrained, run.all("let-go"), isHostLocked(two.path)]).toEqual([["two"], [], false]);
    setAway(false);
    const again = await new FleetRun([two], store).watching();
    await again.uploaded(2, "two");
    await again.stop();
    expect((await provenHistory(memory, "two")).length).toBe(2);
    await app.close();
  });

  test("a database that returns is watched again at once, and its history continues", async () => {
    const two = await tenant("two");
    const memory = new MemoryStore();
    const { store, setAway } = awayStore(memory);
    const run = new FleetRun([two], store);
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    setAway(true);
    await app.must("INSERT INTO t(v) VALUES ('waits')");
    await run.until("the capture", () => run.status("two").pendingCount === 1);
    await run.find();
    await run.until("the end of the pin", () => isWalFree(two.path));
    await app.must("INSERT INTO t(v) VALUES ('unwatched')");
    await run.find(two);
    await run.until("watching", () => run.all("watching", "two").length === 2);
    setAway(false);
    run.clock.pass(30_000);
    await app.must("INSERT INTO t(v) VALUES ('watched')");
    await run.until("all of it", () => run.status("two").pendingCount === 0 && run.uploadedTxid("two") > 2);
    await run.stop();
    expect([run.all("let-go").length, run.all("stopped")]).toEqual([1, []]);
    await provenHistory(memory, "two");
    await expectSame(memory, two.path, "two");
    await app.close();
  });
});

describe("a database that is deleted", () => {
  /** A database with its captured files in another folder, one of them pending. */
  async function withWaiting() {
    const { path } = await tenant("two");
    const two = foundTarget(path, "two", tempFolder("spool"));
    const memory = new MemoryStore();
    const { store, setAway } = awayStore(memory);
    const run = new FleetRun([two], store, { config: { sync: { shutdownTimeoutMs: 200 } } });
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(path);
    setAway(true);
    await app.must("INSERT INTO t(v) VALUES ('waits')");
    await run.until("the capture", () => run.status("two").pendingCount === 1);
    await app.close();
    return { two, memory, run, setAway, waiting: () => readdirSync(two.paths.spoolFolder) };
  }

  test("is removed with its pending files, and is no failure", async () => {
    const { two, memory, run, setAway } = await withWaiting();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${two.path}${suffix}`, { force: true });
    await run.find();
    setAway(false);
    run.clock.pass(30_000);
    expect(await run.gone("two")).toBe("its file is gone");
    await run.stop();
    expect((await provenHistory(memory, "two")).length).toBe(2);
    expect(run.all("failed").map(({ code }) => code)).toEqual(["storage"]);
  });

  test("is removed with its pending files though it was no longer attached", async () => {
    const { two, memory, run, setAway, waiting } = await withWaiting();
    await run.stop();
    expect(waiting().length).toBe(1);
    const other = await tenant("other");
    rmSync(two.path);
    setAway(false);
    const again = new FleetRun([two, other], memory);
    await again.discovery();
    await again.find(other);
    await again.gone("two");
    await again.stop();
    expect([again.uploadedTxid("two"), waiting()]).toEqual([2, []]);
    expect((await provenHistory(memory, "two")).length).toBe(2);
  });

  test("with its folder is removed without a logged failure", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const run = new FleetRun([one, two], new MemoryStore());
    await run.uploaded(1, "two");
    const app = await SqliteProcess.open(two.path);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2, "two");
    await app.close();
    await run.until("an empty queue", () => run.status("two").pendingCount === 0);
    rmSync(dirname(two.path), { recursive: true });
    run.clock.pass(1_500);
    await run.discovery();
    await run.find(one);
    expect(await run.gone("two")).toBe("its file is gone");
    await run.stop();
    const { lines } = run;
    expect(lines.filter(({ level }) => level === "error")).toEqual([]);
    expect(run.all("failed")).toEqual([]);
  });
});
