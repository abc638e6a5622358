/**
 * A machine returns to an old image, with database and local state, while the store is unreachable. The
 * bucket is ahead of both, which the start cannot see. The watch must not write into the bucket's history.
 */
import { expect, test } from "bun:test";
import { cpSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { askForUpkeep } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

test("watch does not write TXIDs that a merge covers when the store is back", async () => {
  const made = await newDatabase();
  let { app } = made;
  const { path } = made;
  const folder = dirname(path);
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  for (let i = 0; i < 3; i++) await run.commit(app, `INSERT INTO t(v) VALUES ('before ${i}')`);
  await run.stop();
  await app.close();
  const image = `${tempFolder("image")}/saved`;
  cpSync(folder, image, { recursive: true });

  app = await SqliteProcess.open(path);
  const later = await new WatchRun([targetOf(path)], store).watching();
  for (let i = 0; i < 8; i++) {
    await app.must(`INSERT INTO t(v) VALUES ('lost ${i}')`);
    await later.uploaded(5 + i);
  }
  await askForUpkeep(path, store, {});
  await later.stop();
  await app.close();
  // One hour passes.
  await store.delete((await keysAt(store, "app", 0)).slice(0, -3));

  renameSync(folder, `${folder}-broken`);
  cpSync(image, folder, { recursive: true, preserveTimestamps: true });
  app = await SqliteProcess.open(path);
  const faulty = new FaultyStore(store);
  faulty.before = () => {
    throw unreachable();
  };
  const back = await new WatchRun([targetOf(path)], faulty).watching();
  await app.must("INSERT INTO t(v) VALUES ('after')");
  await back.until("a capture", () => back.status().txid >= 5);
  expect(back.isSaid("cannot check the bucket yet")).toBe(true);
  faulty.before = () => {};
  await back.until("an empty queue", () => back.status().pendingCount === 0);
  expect(back.isSaid("the bucket is ahead of the local state")).toBe(true);
  await back.stop();
  const sql = "SELECT v FROM t ORDER BY id";
  expect(rowsOf(await restoredImage(store, "app"), sql)).toEqual(rowsOf(imageOf(path), sql));
  await app.close();
  const { findings } = await verifyDatabase(store, "app", {}, recordingEnv().env);
  expect(findings.filter(({ severity }) => severity === "error")).toEqual([]);
});
