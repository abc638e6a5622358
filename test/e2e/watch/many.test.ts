/**
 * Many databases in one process, a WAL that stays short, and one bad database that does not stop the others.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const DATABASES = 50;

/** A small database whose content depends on `seed`. */
function createSmallDatabase(path: string, seed: number): void {
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${[512, 4096, 16_384][seed % 3]}`);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)");
  database.transaction(() => {
    for (let id = 1; id <= 20 + seed; id++) {
      database.run("INSERT INTO item VALUES (?, ?)", [id, `${seed}`.repeat(id)]);
    }
  })();
  database.close(true);
}

test("watch replicates fifty databases at once, each restorable byte for byte", async () => {
  const destination = fileDestination();
  const folder = tempFolder("many");
  const names = Array.from({ length: DATABASES }, (_, index) => `tenant-${index}`);
  const paths = names.map((name) => join(folder, `${name}.db`));
  for (const [index, path] of paths.entries()) createSmallDatabase(path, index);
  const watch = await WatchProcess.start([...paths, ...destination.words]);
  await watch.waitFor("all snapshots", () => watch.uploads().length >= DATABASES);
  const connections = paths.map((path) => new Database(path));
  for (const [index, connection] of connections.entries()) {
    connection.run("INSERT INTO item VALUES (1000, ?)", [`late ${index}`]);
  }
  await watch.waitFor("all increments", () => watch.uploads().length >= 2 * DATABASES);
  for (const connection of connections) connection.run("DELETE FROM item WHERE id % 3 = 0");
  for (const connection of connections) connection.close(true);
  expect(await watch.stop()).toBe(0);

  const restore = async (name: string, path: string): Promise<void> => {
    const restored = join(folder, `${name}.restored`);
    await mustWalrust(["restore", name, "-o", restored, ...destination.words]);
    checkpoint(path);
    assertSameBytes(restored, path);
  };
  for (let index = 0; index < DATABASES; index += 5) {
    const group = names.slice(index, index + 5);
    await Promise.all(group.map((name, offset) => restore(name, paths[index + offset]!)));
  }
});

test("watch keeps the WAL bounded while the application writes with its own autocheckpoint on", async () => {
  const destination = fileDestination();
  const folder = tempFolder("bounded");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const minPages = 100;
  const options = ["--min-checkpoint-pages", String(minPages), "--wal-sync-interval", "0.1"];
  const writer = new AppWriter(database, folder, { pauseMs: 4 });
  const watch = await WatchProcess.start([database, ...destination.words, ...options]);
  await watch.waitFor("20 checkpoints", () => watch.eventsOf("checkpointed").length >= 20);
  // The file only grows here, so its size is the size of the longest WAL.
  const frames = (statSync(`${database}-wal`).size - 32) / (24 + 4096);
  expect(frames).toBeLessThanOrEqual(4 * minPages);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("re-anchored")).toEqual([]);
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  expect(judgeAppDatabase(restored).get(1)).toBe(writer.newest());
});

test("watch continues with the others when one of several cannot be watched", async () => {
  const destination = fileDestination();
  const folder = tempFolder("one-bad");
  const good = join(folder, "good.db");
  const rollback = join(folder, "rollback.db");
  const text = join(folder, "text.db");
  createAppDatabase(good);
  const other = new Database(rollback);
  other.run("CREATE TABLE t (id INTEGER)");
  other.close(true);
  writeFileSync(text, "this is no database\n".repeat(100));
  const watch = await WatchProcess.start([good, rollback, text, ...destination.words]);
  await watch.waitForUploads(1);
  await watch.waitFor("both bad ones", () => watch.eventsOf("stopped").length === 2);
  const stopped = new Map(watch.eventsOf("stopped").map(({ database, code }) => [database, code]));
  expect(stopped).toEqual(
    new Map([
      ["rollback", "not-wal"],
      ["text", "database"],
    ]),
  );
  const connection = new Database(good);
  connection.run("CREATE TABLE more (id INTEGER)");
  await watch.waitForTxid(2, "good");
  connection.close(true);
  expect(await watch.stop()).toBe(0);
});

test("watch names databases that share a stem by their folders", async () => {
  const destination = fileDestination();
  const folder = tempFolder("tenants");
  for (const tenant of ["romneys", "smiths"]) {
    mkdirSync(join(folder, tenant));
    createSmallDatabase(join(folder, tenant, "app.db"), tenant.length);
  }
  const paths = ["romneys", "smiths"].map((tenant) => join(folder, tenant, "app.db"));
  const watch = await WatchProcess.start([...paths, ...destination.words]);
  await watch.waitForUploads(2);
  expect(await watch.stop()).toBe(0);
  for (const [index, tenant] of ["romneys", "smiths"].entries()) {
    const restored = join(folder, `${tenant}.db`);
    await mustWalrust(["restore", `${tenant}/app`, "-o", restored, ...destination.words]);
    checkpoint(paths[index]!);
    assertSameBytes(restored, paths[index]!);
  }
});
