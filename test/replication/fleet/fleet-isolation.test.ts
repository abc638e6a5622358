/** Databases that appear and disappear at a bad moment: a failure of one database does not affect another. */
import { expect, spyOn, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Pin } from "../../../src/database/pin/pin.ts";
import type { OpenWalEvents, WalEvents, WalWatch } from "../../../src/database/wal/wal-events.ts";
import { WalrustError } from "../../../src/errors.ts";
import type { ListOptions, ObjectInfo } from "../../../src/storage/contract/store.ts";
import { rowsOf } from "../../support/oracles/database-image.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, foundTarget, tenant, tenants } from "../../support/runs/fleet-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const INSERT = "INSERT INTO t(v) VALUES (randomblob(2000))";

// While capture is impossible, each poll checks the free disk space, here of a path that was just deleted.
test("a database deleted while it fails, with a long WAL, affects no other", async () => {
  const one = await tenant("one");
  const two = await tenant("two");
  const app = await SqliteProcess.open(one.path);
  await app.must("PRAGMA wal_autocheckpoint = 0");
  const run = await new FleetRun([one, two], new MemoryStore()).watching(2);
  await app.must(...Array.from({ length: 1_100 }, () => INSERT));
  rmSync(one.paths.spoolFolder, { recursive: true });
  writeFileSync(one.paths.spoolFolder, "a file in the way");
  await app.must(INSERT);
  await run.until("the failure", () => run.all("failed", "one").length > 0);

  rmSync(dirname(one.path), { recursive: true });
  const other = await SqliteProcess.open(two.path);
  for (const txid of [2, 3]) {
    await other.must(INSERT);
    await run.uploaded(txid, "two");
  }
  await run.find(two);
  // Its last commit is in a deleted file, which the application has open.
  await run.until("the condition", () => run.status("one").conditions.length > 0);
  await app.close();
  await run.discovery();
  await run.gone("one");
  expect((await run.stop()).stopped).toEqual([]);
  await other.close();
});

/** Events that never come. @param watched gets the paths of the -wal files that are watched */
function silentEvents(watched: Map<WalWatch, string>): OpenWalEvents {
  let count = 0;
  const watchOrNull = (path: string): WalWatch => {
    watched.set(++count, path);
    return count;
  };
  const unwatch = (watch: WalWatch): void => void watched.delete(watch);
  const watchFolderOrNull = (): null => null;
  return () => ({ watchOrNull, watchFolderOrNull, unwatch, arm() {}, close() {} }) as unknown as WalEvents;
}

// The loop asks for a waiting checkpoint between two looks, too.
test("locks that cannot be read are a failure of their database alone", async () => {
  const [one, two] = [await tenant("one"), await tenant("two")];
  const openWalEvents = silentEvents(new Map());
  const run = await new FleetRun([one, two], new MemoryStore(), { openWalEvents }).watching(2);
  // A pin blocks no checkpoint while the WAL is backfilled.
  const writer = await SqliteProcess.open(one.path);
  await writer.must(INSERT);
  await run.uploaded(2, "one");
  const ask = Pin.prototype.foreignCheckpointWaits;
  const faulty = spyOn(Pin.prototype, "foreignCheckpointWaits").mockImplementation(function (this: Pin) {
    if (this.path === one.path) throw new WalrustError("database", "Cannot read the lock");
    return ask.call(this);
  });
  await run.until("the failure", () => run.isDone || run.all("failed", "one").length > 0);
  faulty.mockRestore();
  const app = await SqliteProcess.open(two.path);
  await app.must(INSERT);
  await run.uploaded(2, "two");
  await run.stop();
  await Promise.all([app.close(), writer.close()]);
});

// Events of such a -wal would wake the loop for as long as the application writes.
test("the -wal of a database that stopped or left is not watched", async () => {
  const watched = new Map<WalWatch, string>();
  const openWalEvents = silentEvents(watched);
  const targets = [await tenant("one"), await tenant("two"), await tenant("three")] as const;
  const apps = await Promise.all(targets.map(({ path }) => SqliteProcess.open(path)));
  const store = new FaultyStore(new MemoryStore());
  const run = await new FleetRun([...targets], store, { openWalEvents }).watching(3);
  await run.until("three watches", () => watched.size === 3);
  store.before = (operation, key) => {
    if (operation === "put" && key.startsWith("one/")) throw new WalrustError("foreign-writer", "another");
  };
  await apps[0]!.must(INSERT);
  await run.until("the stop", () => run.all("stopped", "one").length > 0);
  await run.until("its end", () => watched.size === 2);
  await run.find(targets[0], targets[2]);
  await run.gone("two");
  expect([...watched.values()]).toEqual([`${targets[2].path}-wal`]);
  await run.stop();
  await Promise.all(apps.map((app) => app.close()));
});

/** Never answers a listing, which ends only when the caller aborts it. */
class HangingStore extends MemoryStore {
  listings = 0;

  override async *list(_prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    this.listings++;
    const { signal } = options;
    await new Promise((_resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }
}

test.each([false, true])(
  "the end of a watch waits at most its timeout for a store that hangs (breaker: %p)",
  async (circuitBreakerEnabled) => {
    const store = new HangingStore();
    const config = { sync: { shutdownTimeoutMs: 50 }, retry: { circuitBreakerEnabled } };
    const run = new FleetRun([await tenant("one"), await tenant("two")], store, { config });
    await run.until("both to ask", () => store.listings >= 2);
    const result = await run.stop();
    const uncaptured = ["one", "two"].map((database) => ({ database, error: null, wasWatched: false }));
    expect(result).toEqual({ stopped: [], undrained: [], uncaptured });
    expect(run.lines.filter(({ level }) => level === "error")).toEqual([]);
  },
);

test("the end of a watch aborts the reading of an image", async () => {
  const { path, app } = await newDatabase();
  await app.must("INSERT INTO t(v) VALUES (zeroblob(48 << 20))");
  let slices = 0;
  const turn = async (): Promise<void> => {
    slices++;
    await new Promise((resolve) => setImmediate(resolve));
  };
  const store = new MemoryStore();
  const run = new WatchRun([targetOf(path)], store, { sync: { shutdownTimeoutMs: 0 } }, { turn });
  await run.until("the first slice", () => slices > 0);
  const uncaptured = [{ database: "app", error: null, wasWatched: false }];
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured });
  expect(slices).toBeLessThan(40);
  expect(run.lines.filter(({ level }) => level === "error")).toEqual([]);
  const again = await new WatchRun([targetOf(path)], store).watching();
  await again.uploaded(1);
  await again.stop();
  await app.close();
});

test("pending files of a deleted tenant are sent before another begins at its place", async () => {
  const made = await tenant("one");
  const one = foundTarget(made.path, "one", join(tempFolder("cache"), "one"));
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const run = await new FleetRun([one], store).watching();
  await run.uploaded(1, "one");
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  const app = await SqliteProcess.open(one.path);
  await app.must("INSERT INTO t(v) VALUES ('of the old one')");
  await run.until("the capture", () => run.status("one").pendingCount === 1);
  await app.close();
  const folder = dirname(one.path);
  rmSync(folder, { recursive: true });
  await run.find();
  const [again] = await tenants(dirname(folder), "one");
  expect(again?.path).toBe(one.path);
  for (let round = 0; round < 3; round++) await run.find(one);

  store.before = () => {};
  run.clock.pass(30_000);
  await run.uploaded(3, "one");
  await run.stop();
  const sql = "SELECT v FROM t ORDER BY id";
  expect(rowsOf(await restoredImage(memory, "one", 2), sql)).toEqual([["first"], ["of the old one"]]);
  expect(rowsOf(await restoredImage(memory, "one"), sql)).toEqual([["first"]]);
});
