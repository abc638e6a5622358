/**
 * Stopping, killing and starting a watch again: the history continues without a new snapshot, and the watch
 * uploads only the differences.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { newDestination, type TestDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const OFTEN = ["--wal-sync-interval", "0.05", "--min-checkpoint-pages", "100"];

/** Expects one snapshot, and a level 0 that continues from it without gap or overlap. */
async function assertOneHistory(destination: TestDestination, name: string): Promise<number> {
  const objects = await destination.objects(name);
  const snapshots = objects.filter(({ level }) => level === 9);
  expect(snapshots.map(({ minTxid, maxTxid }) => [minTxid, maxTxid])).toEqual([[1, 1]]);
  const increments = objects.filter(({ level }) => level === 0);
  // Captures that waited behind an upload are one link.
  const ends = [1, ...increments.map(({ maxTxid }) => maxTxid)];
  expect(increments.map(({ minTxid }) => minTxid - 1)).toEqual(ends.slice(0, -1));
  return ends.at(-1)!;
}

/** A table of about 4 MB that never changes. */
function addBallast(path: string): void {
  const database = new Database(path);
  database.run("CREATE TABLE ballast (body BLOB)");
  database.run(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) " +
      "INSERT INTO ballast SELECT randomblob(4000) FROM n",
  );
  database.close(true);
}

test("watch continues after SIGKILL beside a running writer with differences only", async () => {
  const destination = await newDestination("file");
  const folder = tempFolder("restart");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  addBallast(database);
  const writer = new AppWriter(database, folder);
  const words = [database, ...destination.words, ...OFTEN];
  const first = await WatchProcess.start(words);
  await first.waitForUploads(5);
  await first.kill();
  // Long enough for the application to restart its WAL while no watch runs.
  await writer.waitForCommits(500);
  const second = await WatchProcess.start(words);
  await second.waitForUploads(5);
  await writer.stop();
  expect(await second.stop()).toBe(0);

  expect(second.eventsOf("re-anchored").length).toBeGreaterThan(0);
  expect(second.uploads()[0]!.txid).toBeLessThanOrEqual(first.uploads().at(-1)!.txid! + 2);
  const [snapshot] = (await destination.objects("app")).filter(({ level }) => level === 9);
  const sizes = second.uploads().map(({ bytes }) => bytes!);
  expect(Math.max(...sizes)).toBeLessThan(snapshot!.sizeBytes / 4);
  await assertOneHistory(destination, "app");
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  checkpoint(database);
  assertSameBytes(restored, database);
});

test("watch of an unchanged database uploads nothing after a restart", async () => {
  const destination = await newDestination("file");
  const folder = tempFolder("restart");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const words = [database, ...destination.words, ...OFTEN];
  const writer = new AppWriter(database, folder);
  const first = await WatchProcess.start(words);
  await first.waitForUploads(3);
  await writer.stop();
  expect(await first.stop()).toBe(0);
  const before = await destination.objects("app");

  const second = await WatchProcess.start(words);
  await second.waitFor("watching", () => second.eventsOf("watching").length > 0);
  expect(await second.stop()).toBe(0);
  expect(second.uploads()).toEqual([]);
  expect(await destination.objects("app")).toEqual(before);
});

test("watch killed ten times beside restless writers ends with the database, byte for byte", async () => {
  const destination = await newDestination("file");
  const folder = tempFolder("restart");
  const database = join(folder, "app.db");
  createAppDatabase(database, 1024);
  const random = seededRandom(20);
  const start = (writer: number, seed: number): AppWriter =>
    new AppWriter(database, folder, { writer, seed, pauseMs: 1, isRestless: true });
  const writers = [1, 2, 3].map((writer) => start(writer, writer));
  const words = [database, ...destination.words, ...OFTEN];
  for (let round = 0; round < 10; round++) {
    const watch = await WatchProcess.start(words);
    const index = Math.floor(random() * writers.length);
    await writers[index]!.waitForCommits(1 + Math.floor(random() * 150));
    if (random() < 0.5) {
      await Promise.all([watch.kill(), writers[index]!.kill()]);
      writers[index] = start(index + 1, 100 + round);
    } else await watch.kill();
  }
  const last = await WatchProcess.start(words);
  await last.waitForUploads(3);
  for (const writer of writers) await writer.stop();
  expect(await last.stop()).toBe(0);

  const newest = await assertOneHistory(destination, "app");
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  const numbers = judgeAppDatabase(restored);
  for (const [index, writer] of writers.entries()) {
    expect(numbers.get(index + 1) ?? 0).toBeGreaterThanOrEqual(writer.newest());
  }
  checkpoint(database);
  assertSameBytes(restored, database);
  const points = (await destination.objects("app")).map(({ maxTxid }) => maxTxid);
  const nearest = (txid: number): number => Math.max(...points.filter((point) => point <= txid));
  for (const txid of [1, nearest(newest / 3), nearest((2 * newest) / 3)]) {
    const output = join(folder, `${txid}.db`);
    const point = ["--point-in-time", `txid:${txid}`];
    await mustWalrust(["restore", "app", "-o", output, ...point, ...destination.words]);
    judgeAppDatabase(output);
  }
});

test("watch to another destination begins a history there; on return it continues the old one", async () => {
  const folder = tempFolder("move");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const [first, second] = [await newDestination("file"), await newDestination("file")];
  const watchOnce = async (destination: TestDestination, txid: number): Promise<void> => {
    const watch = await WatchProcess.start([database, ...destination.words]);
    await watch.waitForTxid(txid);
    expect(await watch.stop()).toBe(0);
    const restored = join(tempFolder("moved"), "restored.db");
    await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
    checkpoint(database);
    assertSameBytes(restored, database);
  };
  await watchOnce(first, 1);
  await watchOnce(second, 1);
  await watchOnce(first, 2);
});
