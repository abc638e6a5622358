/** Watching a real application: the history that grows in the bucket, verified object by object. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys, keysAt, newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

describe("watch", () => {
  test("watch uploads a first snapshot and then one object a captured commit, each verified", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    const images = new Map([[1, imageOf(path)]]);
    for (let row = 0; row < 5; row++) {
      const txid = await run.commit(app, `INSERT INTO t(v) VALUES (randomblob(${row * 3000}))`);
      images.set(txid, imageOf(path));
    }
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    const history = await provenHistory(store, "app");
    expect(history.map(({ txid }) => txid)).toEqual([1, 2, 3, 4, 5, 6]);
    for (const { txid, image } of history) expect(Buffer.compare(image, images.get(txid)!)).toBe(0);
    expect(await keysAt(store, "app", 9)).toEqual(["app/0009/0000000000000001-0000000000000001.ltx"]);
    const manifest = await (await store.get("app/manifest.json")).bytes();
    expect(JSON.parse(new TextDecoder().decode(manifest)).latest.txid).toBe(1);
    await app.close();
  });

  test("watch creates a folder and writes to it in Litestream's layout", async () => {
    const { path, app } = await newDatabase();
    const store = new FileStore({ path: join(tempFolder("bucket"), "new") });
    const run = await watchOne(path, store);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    await run.stop();
    expect(await allKeys(store)).toEqual([
      "app/ltx/0/0000000000000002-0000000000000002.ltx",
      "app/ltx/9/0000000000000001-0000000000000001.ltx",
      "app/manifest.json",
    ]);
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
    await app.close();
  });

  test("looks that take long let uploads have their turn", async () => {
    const { path, app } = await newDatabase();
    let turns = 0;
    let stepMs = 0;
    let passedMs = 0;
    const overrides = {
      monotonicMs: () => performance.now() + (passedMs += stepMs),
      turn: () => {
        turns++;
        return new Promise<void>((resolve) => setImmediate(resolve));
      },
    };
    const run = new WatchRun([targetOf(path)], new MemoryStore(), {}, overrides);
    await run.uploaded(1);
    const quietTurns = turns;
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    expect(turns).toBe(quietTurns);
    stepMs = 20;
    await run.commit(app, "INSERT INTO t(v) VALUES (2)");
    expect(turns).toBeGreaterThan(quietTurns);
    stepMs = 0;
    await run.stop();
    await app.close();
  });

  test("watch captures each page once a batch, the newest of each, and empties the spool", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { walSyncIntervalMs: 100 } });
    await app.must(...Array.from({ length: 40 }, (_, i) => `UPDATE t SET v = ${i} WHERE id = 1`));
    await run.uploaded(2);
    await run.stop();
    const history = await provenHistory(store, "app");
    for (const { pgnos } of history) expect(pgnos.length).toBe(new Set(pgnos).size);
    expect(history.length).toBeLessThan(8);
    expect(Buffer.compare(history.at(-1)!.image, imageOf(path))).toBe(0);
    expect(readdirSync(stateFolderOf(path).spoolFolder).filter((name) => name.includes("ltx"))).toEqual([]);
    await app.close();
  });

  test("watch uploads and requests nothing while nothing is committed", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await app.must("BEGIN", "INSERT INTO t(v) VALUES (zeroblob(100000))", "ROLLBACK", "SELECT * FROM t");
    const txid = await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    expect(txid).toBe(2);
    await run.stop();
    expect((await provenHistory(store, "app")).length).toBe(2);
    await app.close();
  });

  test("watch uploads the last commits when it is stopped", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { walSyncIntervalMs: 3_600_000 } });
    await app.must("INSERT INTO t(v) VALUES ('last')", "INSERT INTO t(v) VALUES ('very last')");
    const image = imageOf(path);
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    const history = await provenHistory(store, "app");
    expect(history.length).toBe(2);
    expect(Buffer.compare(history[1]!.image, image)).toBe(0);
    await app.close();
  });

  test("watch of two databases keeps two histories", async () => {
    const one = await newDatabase("page_size = 512");
    const two = await newDatabase("page_size = 65536");
    const store = new MemoryStore();
    const run = new WatchRun([targetOf(one.path, "a/one"), targetOf(two.path, "b/two")], store);
    await run.watching(2);
    for (let round = 2; round <= 4; round++) {
      await one.app.must("INSERT INTO t(v) VALUES (randomblob(5000))");
      await two.app.must("INSERT INTO t(v) VALUES (randomblob(5000))");
      await run.uploaded(round, "a/one");
      await run.uploaded(round, "b/two");
    }
    await run.stop();
    expect(Buffer.compare(await newestImage(store, "a/one"), imageOf(one.path))).toBe(0);
    expect(Buffer.compare(await newestImage(store, "b/two"), imageOf(two.path))).toBe(0);
    await Promise.all([one.app.close(), two.app.close()]);
  });

  test("watch captures a VACUUM that shrinks the database, and growth after it", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await run.commit(app, "INSERT INTO t(v) VALUES (zeroblob(600000))");
    const grown = imageOf(path).length;
    await run.commit(app, "DELETE FROM t WHERE id > 1");
    await run.commit(app, "VACUUM");
    const shrunk = imageOf(path).length;
    expect(shrunk).toBeLessThan(grown / 4);
    await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(50000))");
    await run.stop();
    const history = await provenHistory(store, "app");
    expect(history.some(({ image }) => image.length === shrunk)).toBe(true);
    expect(Buffer.compare(history.at(-1)!.image, imageOf(path))).toBe(0);
    await app.close();
  });

  test("watch continues through checkpoints and WAL restarts without snapshot or re-anchor", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 5 } });
    for (let row = 0; row < 12; row++) await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(9000))");
    await run.stop();
    expect(run.all("checkpointed").length).toBeGreaterThan(2);
    expect(run.all("re-anchored")).toEqual([]);
    expect((await keysAt(store, "app", 9)).length).toBe(1);
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
    expect(readFileSync(`${path}-wal`).length).toBeLessThan(500_000);
    await app.close();
  });
});
