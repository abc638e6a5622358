/**
 * A machine returns to an old image, with database and local state, while the store is unreachable; or a
 * power cut takes back the newest files of the local state. The bucket is ahead of the local state, which the
 * start cannot see, or not from the newest TXID. The watch must not write into the bucket's history.
 */
import { expect, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { rebooted } from "../../support/histories/old-state.ts";
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

/** Replaces the files of a folder, which stays the same folder, by those of a copy. */
function putBack(copy: string, folder: string): void {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  cpSync(copy, folder, { recursive: true, preserveTimestamps: true });
}

test.each([
  ["answers", false],
  ["is away", true],
])("watch that begins after a power cut took a merge back, while the store %s", async (_, isAway) => {
  const { path, app } = await newDatabase();
  const { folder, spoolFolder, statePath } = stateFolderOf(path);
  const store = new MemoryStore();
  const faulty = new FaultyStore(store);
  const run = await watchOne(path, faulty);
  faulty.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  for (let txid = 2; txid <= 5; txid++) {
    await app.must("INSERT INTO t(v) VALUES (randomblob(3000))");
    await run.until(`TXID ${txid}`, () => run.status().txid === txid);
  }
  expect(readdirSync(spoolFolder).filter((name) => name.startsWith("0000")).length).toBe(4);
  const copy = `${tempFolder("copy")}/state`;
  cpSync(folder, copy, { recursive: true, preserveTimestamps: true });
  faulty.before = () => {};
  await run.uploaded(5);
  await run.stop();
  // The first that waited, and one merge of the others.
  expect((await keysAt(store, "app", 0)).length).toBe(2);

  putBack(copy, folder);
  writeFileSync(statePath, rebooted(readFileSync(statePath)));
  faulty.before = () => {
    if (isAway) throw unreachable();
  };
  const back = await new WatchRun([targetOf(path)], faulty).watching();
  await app.must("INSERT INTO t(v) VALUES ('after')");
  await back.until("a capture", () => back.status().txid >= 6);
  faulty.before = () => {};
  await back.until("an empty queue", () => back.status().pendingCount === 0);
  expect(back.isSaid("the bucket is ahead of the local state")).toBe(true);
  await back.stop();
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
  const { findings } = await verifyDatabase(store, "app", {}, recordingEnv().env);
  expect(findings.filter(({ severity }) => severity === "error")).toEqual([]);
});
