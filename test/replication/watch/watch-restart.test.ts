/**
 * Watching again after a stop, a crash, or a loss of local files or of objects. The history continues, or the
 * log states why not, and it stays restorable.
 */
import { describe, expect, test } from "bun:test";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type DatabaseState, readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys, keysAt, newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

function stateOf(path: string): DatabaseState {
  const reading = readState(stateFolderOf(path));
  if (reading.kind !== "state") throw new Error(`the state is ${reading.kind}`);
  return reading.state;
}

/** Watches until the bucket has every commit of the database. @returns the number of puts */
async function watchAgain(path: string, store: ObjectStore): Promise<WatchRun> {
  const run = await watchOne(path, store);
  await run.stop();
  return run;
}

/** A database with a history of 1 + `increments` TXIDs in `store`, no longer watched. */
async function watched(store: ObjectStore, increments = 2): Promise<{ path: string; app: SqliteProcess }> {
  const { path, app } = await newDatabase();
  const run = await watchOne(path, store);
  for (let row = 0; row < increments; row++) {
    await run.commit(app, `INSERT INTO t(v) VALUES (randomblob(${6000 + row}))`);
  }
  await run.stop();
  return { path, app };
}

async function expectRestorable(store: ObjectStore, path: string, name = "app"): Promise<void> {
  const plan = planRestore(await listObjects(store, name), null);
  expect(plan.kind).toBe("plan");
  expect(Buffer.compare(await newestImage(store, name), imageOf(path))).toBe(0);
}

describe("watch after a stop", () => {
  test("watch continues without any upload when nothing changed", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    const keys = await allKeys(store);
    const before = stateOf(path);
    const run = await watchAgain(path, store);
    expect(run.all("watching")[0]!.txid).toBe(3);
    expect([await allKeys(store), run.all("uploaded")]).toEqual([keys, []]);
    expect(stateOf(path)).toEqual(before);
    await app.close();
  });

  test("watch captures the commits since the stop as one increment, and no snapshot", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    await app.must("INSERT INTO t(v) VALUES (1)", "INSERT INTO t(v) VALUES (2)");
    const run = await watchOne(path, store);
    await run.uploaded(4);
    await run.stop();
    expect(run.all("re-anchored")).toEqual([]);
    expect((await provenHistory(store, "app")).length).toBe(4);
    await expectRestorable(store, path);
    await app.close();
  });

  test("watch uploads only changed pages when the WAL was restarted while it was down", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store, 20);
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET v = 'changed' WHERE id = 1");
    const run = await watchOne(path, store);
    await run.uploaded(22);
    await run.stop();
    const history = await provenHistory(store, "app");
    expect(history.at(-1)!.pgnos.length).toBeLessThanOrEqual(3);
    expect(history.at(-1)!.image.length / 4096).toBeGreaterThan(20);
    expect(run.all("re-anchored").length).toBe(1);
    await expectRestorable(store, path);
    await app.close();
  });

  test("watch uploads nothing when the application only closed, which removes the WAL", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    await app.close();
    const keys = await allKeys(store);
    const run = await watchAgain(path, store);
    expect([await allKeys(store), run.all("uploaded")]).toEqual([keys, []]);
    const again = await SqliteProcess.open(path);
    const next = await watchOne(path, store);
    await next.commit(again, "INSERT INTO t(v) VALUES ('after')").catch(() => next.uploaded(4));
    await next.stop();
    await expectRestorable(store, path);
    await again.close();
  });

  test("watch takes a new page size, set while it was down, as a full file", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    await app.must("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 1024", "VACUUM");
    await app.must("PRAGMA journal_mode = WAL");
    const run = await watchOne(path, store);
    await run.uploaded(4);
    await run.commit(app, "INSERT INTO t(v) VALUES ('small pages')").catch(() => run.uploaded(5));
    await run.stop();
    const objects = await keysAt(store, "app", 0);
    expect(objects.length).toBe(4);
    expect(stateOf(path).pageSizeBytes).toBe(1024);
    await app.close();
  });

  test("watch of a database in rollback mode stops at once and names the pragma to run", async () => {
    const { path, app } = await newDatabase();
    await app.must("PRAGMA journal_mode = DELETE");
    const run = new WatchRun([targetOf(path)], new MemoryStore());
    const { stopped } = await run.done;
    expect(stopped.map(({ error }) => error.code)).toEqual(["not-wal"]);
    expect(stopped[0]!.error.hint).toContain("journal_mode=WAL");
    await app.close();
  });

  test("watch of several databases continues when one cannot be watched", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const missing = targetOf(join(tempFolder("none"), "missing.db"), "missing");
    const run = new WatchRun([missing, targetOf(path)], store);
    await run.watching();
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    const { stopped } = await run.stop();
    expect(stopped.map(({ database, error }) => [database, error.code])).toEqual([["missing", "database"]]);
    await app.close();
  });
});

describe("watch after a loss of local files", () => {
  test.each([
    ["gone", (path: string) => rmSync(stateFolderOf(path).folder, { recursive: true })],
    ["torn", (path: string) => truncateSync(stateFolderOf(path).statePath, 100)],
    ["empty", (path: string) => truncateSync(stateFolderOf(path).statePath, 0)],
  ] as const)(
    "watch with a state that is %s continues after the bucket's newest with a full file",
    async (_, lose) => {
      const store = new MemoryStore();
      const { path, app } = await watched(store);
      lose(path);
      await app.must("INSERT INTO t(v) VALUES ('meanwhile')");
      const run = await watchOne(path, store);
      await run.uploaded(4);
      await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
      await run.stop();
      expect(run.lines.filter(({ level }) => level === "warn").length).toBeGreaterThan(0);
      const history = await provenHistory(store, "app");
      expect(history.map(({ txid }) => txid)).toEqual([1, 2, 3, 4, 5]);
      expect(history[3]!.pgnos.length).toBe(history[3]!.image.length / 4096);
      await expectRestorable(store, path);
      await app.close();
    },
  );

  test.each([
    ["gone", (sums: string) => rmSync(sums)],
    ["torn", (sums: string) => truncateSync(sums, 8)],
    ["wrong", (sums: string) => writeFileSync(sums, readFileSync(sums).fill(0xab))],
  ] as const)("watch with page sums that are %s computes them again, without an upload", async (_, lose) => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    const { sumsPath } = stateFolderOf(path);
    const sums = readFileSync(sumsPath);
    lose(sumsPath);
    const keys = await allKeys(store);
    const run = await watchOne(path, store);
    expect([await allKeys(store), run.all("uploaded")]).toEqual([keys, []]);
    expect(readFileSync(sumsPath)).toEqual(sums);
    await run.stop();
    const next = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('after')");
    await next.uploaded(4);
    await next.stop();
    await expectRestorable(store, path);
    await app.close();
  });

  test("watch replays from the spool the page sums that a crash lost", async () => {
    const store = new FaultyStore(new MemoryStore());
    const { path, app } = await newDatabase();
    const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 50 } });
    const { sumsPath } = stateFolderOf(path);
    copyFileSync(sumsPath, `${path}.old-sums`);
    store.before = (operation) => {
      if (operation === "put") throw new Error("the process is about to be killed");
    };
    await app.must("INSERT INTO t(v) VALUES (randomblob(60000))");
    await run.until("the capture", () => stateOf(path).txid === 2);
    await run.stop();
    store.before = () => {};
    const right = readFileSync(sumsPath);
    copyFileSync(`${path}.old-sums`, sumsPath);
    const next = await watchOne(path, store);
    await next.uploaded(2);
    expect(readFileSync(sumsPath)).toEqual(right);
    expect(next.all("re-anchored")).toEqual([]);
    await next.commit(app, "INSERT INTO t(v) VALUES (1)");
    await next.stop();
    await expectRestorable(store.inner, path);
    await app.close();
  });

  test("watch without the spool of a waiting capture leaves no gap", async () => {
    const store = new FaultyStore(new MemoryStore());
    const { path, app } = await newDatabase();
    const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 50 } });
    store.before = (operation) => {
      if (operation === "put") throw new Error("the process is about to be killed");
    };
    await app.must("INSERT INTO t(v) VALUES ('not uploaded')");
    await run.until("the capture", () => stateOf(path).txid === 2);
    await run.stop();
    store.before = () => {};
    rmSync(stateFolderOf(path).spoolFolder, { recursive: true });
    const next = await watchOne(path, store);
    await next.uploaded(2);
    await next.commit(app, "INSERT INTO t(v) VALUES ('after')");
    await next.stop();
    expect((await provenHistory(store.inner, "app")).map(({ txid }) => txid)).toEqual([1, 2, 3]);
    await expectRestorable(store.inner, path);
    await app.close();
  });

  test("watch with a damaged spool file anchors again instead of sending it", async () => {
    const store = new FaultyStore(new MemoryStore());
    const { path, app } = await newDatabase();
    const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 50 } });
    store.before = (operation) => {
      if (operation === "put") throw new Error("no network");
    };
    await app.must("INSERT INTO t(v) VALUES (randomblob(60000))");
    await run.until("the capture", () => stateOf(path).txid === 2);
    await run.stop();
    store.before = () => {};
    const file = join(stateFolderOf(path).spoolFolder, "0000-0000000000000002-0000000000000002.ltx");
    const bytes = readFileSync(file);
    bytes[500] = bytes[500]! ^ 1;
    writeFileSync(file, bytes);
    const next = await watchOne(path, store);
    await next.uploaded(2);
    await next.stop();
    await expectRestorable(store.inner, path);
    await app.close();
  });
});

describe("watch of a changed bucket", () => {
  test("watch continues after the bucket's newest when the local state is older", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store, 1);
    const old = readFileSync(stateFolderOf(path).statePath);
    const oldSums = readFileSync(stateFolderOf(path).sumsPath);
    const run = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('a')");
    await run.uploaded(3);
    await run.stop();
    writeFileSync(stateFolderOf(path).statePath, old);
    writeFileSync(stateFolderOf(path).sumsPath, oldSums);
    const next = await watchOne(path, store);
    await next.uploaded(4);
    await next.stop();
    await expectRestorable(store, path);
    await app.close();
  });

  test("watch begins a new history in a bucket that was emptied", async () => {
    const store = new MemoryStore();
    const { path, app } = await watched(store);
    await store.delete(await allKeys(store));
    const run = await watchOne(path, store);
    await run.uploaded(1);
    await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
    await run.stop();
    await expectRestorable(store, path);
    await app.close();
  });

  test.each([
    ["", ""],
    [" and the state copied", "copied"],
  ])("watch that never reached a new folder%s goes on with what it captured", async (_, copied) => {
    const folder = join(tempFolder("bucket"), "backup");
    const store = new FaultyStore(new FileStore({ path: folder }));
    store.before = (operation) => {
      if (operation === "put") throw unreachable();
    };
    let { path, app } = await newDatabase();
    const first = new WatchRun([targetOf(path)], store, { sync: { shutdownTimeoutMs: 50 } });
    await first.until("the capture", () => first.all("watching").length > 0);
    await app.must("INSERT INTO t(v) VALUES ('captured')");
    await first.until("the increment", () => stateOf(path).txid === 2);
    expect((await first.stop()).undrained).toEqual(["app"]);
    expect(existsSync(folder)).toBe(false);
    if (copied !== "") {
      await app.close();
      const to = tempFolder(copied);
      cpSync(dirname(path), to, { recursive: true });
      path = join(to, "app.db");
      app = await SqliteProcess.open(path);
    }
    const second = new WatchRun([targetOf(path)], store.inner);
    await second.uploaded(2);
    await second.stop();
    expect(second.isSaid("a new history begins")).toBe(false);
    await expectRestorable(store.inner, path);
    await app.close();
  });

  test("watch never leaves a folder that is gone with increments and no snapshot", async () => {
    const folder = join(tempFolder("bucket"), "backup");
    const store = new FileStore({ path: folder });
    const { path, app } = await watched(store);
    rmSync(folder, { recursive: true });
    const run = new WatchRun([targetOf(path)], store);
    await run.until("it to say something or go on", () => run.isDone || run.all("watching").length > 0);
    await app.must("INSERT INTO t(v) VALUES ('after')");
    await run.until(
      "a snapshot, or a failure that is said",
      () => run.isDone || run.events.some(({ event }) => event === "uploaded" || event === "failed"),
    );
    await run.stop();
    const objects = await listObjects(store, "app").catch(() => []);
    if (objects.length > 0) await expectRestorable(store, path);
    else expect(run.events.some(({ event }) => event === "failed" || event === "stopped")).toBe(true);
    await app.close();
  });

  test("watch takes a snapshot when the folder of its objects was deleted beside it", async () => {
    const folder = join(tempFolder("bucket"), "backup");
    const store = new FileStore({ path: folder });
    const { path, app } = await newDatabase();
    const run = await watchOne(path, store);
    await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(6000))");
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    await app.must("INSERT INTO t(v) VALUES ('after')");
    const isSnapshot = ({ kind, txid }: { kind: string; txid: number }): boolean =>
      kind === "snapshot" && txid >= 3;
    await run.until("a snapshot", () => run.all("uploaded").some(isSnapshot));
    expect(run.isSaid("the folder is gone, and the objects in it")).toBe(true);
    await run.stop();
    expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
    await app.close();
  });

  test.each([
    ["still open", false],
    ["closed meanwhile, which restarts the WAL", true],
  ] as const)(
    "watch takes a snapshot when the bucket lost its newest objects, application %s",
    async (_, close) => {
      const store = new MemoryStore();
      const { path, app } = await watched(store, 3);
      await store.delete([(await keysAt(store, "app", 0)).at(-1)!]);
      if (close) await app.close();
      const run = await watchOne(path, store);
      await run.until("a snapshot of the present", () =>
        run.all("uploaded").some(({ kind, txid }) => kind === "snapshot" && txid >= 4),
      );
      await run.stop();
      const plan = planRestore(await listObjects(store, "app"), null);
      expect(plan.kind).toBe("plan");
      if (!close) await app.close();
    },
  );

  test("watch of another destination begins its own history there", async () => {
    const first = new MemoryStore({ url: "s3://one" });
    const { path, app } = await watched(first);
    const keys = await allKeys(first);
    const second = new FileStore({ path: join(tempFolder("bucket"), "second") });
    const run = new WatchRun([targetOf(path)], second);
    await run.until("the snapshot", () => run.uploadedTxid() === 1);
    await run.commit(app, "INSERT INTO t(v) VALUES ('there')");
    await run.stop();
    await expectRestorable(second, path);
    expect(await allKeys(first)).toEqual(keys);
    await app.close();
  });

  test("watch continues to capture when the bucket cannot be reached at start", async () => {
    const store = new FaultyStore(new MemoryStore());
    const { path, app } = await watched(store);
    store.before = () => {
      throw unreachable();
    };
    const run = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('offline')");
    await run.until("the capture", () => stateOf(path).txid === 4);
    store.before = () => {};
    await run.uploaded(4);
    await run.stop();
    await expectRestorable(store.inner, path);
    await app.close();
  });
});
