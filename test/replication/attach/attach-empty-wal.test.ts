/**
 * Commits between two watches by an application that closes before the second starts. Its last connection
 * deletes the WAL, so the WAL is as empty as at the saved position.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

test("watch with an empty WAL reads the database, which may have changed while no watch ran", async () => {
  const { path, app } = await newDatabase();
  await app.must("INSERT INTO t(v) VALUES (randomblob(50000))");
  await app.close();
  const store = new MemoryStore();
  await (await watchOne(path, store)).stop();

  const unwatched = await SqliteProcess.open(path);
  await unwatched.must("UPDATE t SET v = randomblob(50000) WHERE id = 2");
  await unwatched.close();
  expect(existsSync(`${path}-wal`)).toBe(false);

  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.until("the difference", () => run.uploadedTxid() === 2);
  expect(run.all("re-anchored").length).toBe(1);
  await run.stop();

  await provenHistory(store, "app");
  const sql = "SELECT id, hex(v) FROM t";
  expect(rowsOf(await newestImage(store, "app"), sql)).toEqual(rowsOf(imageOf(path), sql));
});

test("an empty WAL under a running watch is anchored once, not at every poll", async () => {
  const { path, app } = await newDatabase();
  await app.close();
  const store = new MemoryStore();
  await (await watchOne(path, store)).stop();

  const run = await new WatchRun([targetOf(path)], store).watching();
  const again = await SqliteProcess.open(path);
  await run.commit(again, "INSERT INTO t(v) VALUES ('one')");
  await run.commit(again, "INSERT INTO t(v) VALUES ('two')");
  await run.stop();
  await again.close();

  expect(run.all("re-anchored").length).toBeLessThanOrEqual(1);
  expect(run.all("uploaded").map(({ txid }) => txid)).toEqual([2, 3]);
  await provenHistory(store, "app");
});
