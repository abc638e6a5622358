/**
 * The main job: walrust watches a database that an application writes, the machine loses everything, and a
 * restore brings it back. Also an orderly stop: a watch that stops has uploaded every commit before its end.
 */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

const OFTEN = ["--wal-sync-interval", "0.1", "--min-checkpoint-pages", "200"];

/** A folder with an empty database to lose, and a path to restore to. */
function newDatabase(): { folder: string; lost: string; database: string; restored: string } {
  const folder = tempFolder("disaster");
  const lost = join(folder, "disk");
  mkdirSync(lost);
  const database = join(lost, "app.db");
  createAppDatabase(database);
  return { folder, lost, database, restored: join(folder, "restored.db") };
}

async function killEverything(kind: "file" | "s3"): Promise<void> {
  const destination = await newDestination(kind);
  const { folder, lost, database, restored } = newDatabase();
  const writer = new AppWriter(database, folder);
  const watch = await WatchProcess.start([database, ...destination.words, ...OFTEN], destination);
  await watch.waitFor("checkpoints", () => watch.eventsOf("checkpointed").length >= 3);
  await watch.waitForUploads(10);
  await Promise.all([watch.kill(), writer.kill()]);
  rmSync(lost, { recursive: true });

  const last = watch.uploads().at(-1)!;
  const words = ["restore", "app", "-o", restored, ...destination.words, "--json"];
  const { txid } = documentOf<{ txid: number }>(await mustWalrust(words, destination));
  expect(txid).toBeGreaterThanOrEqual(last.txid!);
  const promised = writer.newestBefore(last.time!);
  expect(promised).toBeGreaterThan(0);
  expect(judgeAppDatabase(restored).get(1) ?? 0).toBeGreaterThanOrEqual(promised);
}

test("watch, SIGKILL, disk lost, restore: the restore has every acknowledged upload (file://)", () =>
  killEverything("file"));

testWith("versitygw")("watch, SIGKILL, disk lost, restore: every acknowledged upload is there (S3)", () =>
  killEverything("s3"),
);

async function drain(kind: "file" | "s3"): Promise<void> {
  const destination = await newDestination(kind);
  const { folder, database, restored } = newDatabase();
  const writer = new AppWriter(database, folder);
  const watch = await WatchProcess.start([database, ...destination.words], destination);
  await watch.waitForUploads(1);
  await writer.waitForCommits(100);
  const promised = writer.newest();
  expect(await watch.stop()).toBe(0);
  await writer.kill();
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words], destination);
  expect(judgeAppDatabase(restored).get(1) ?? 0).toBeGreaterThanOrEqual(promised);
}

test("watch drains on SIGTERM: every commit before the signal is in the bucket (file://)", () =>
  drain("file"));

testWith("versitygw")("watch drains on SIGTERM: every commit before the signal is in the bucket (S3)", () =>
  drain("s3"),
);

test("watch drains the WAL of a stopped application to its last byte", async () => {
  const destination = await newDestination("file");
  const { folder, database, restored } = newDatabase();
  const writer = new AppWriter(database, folder);
  const watch = await WatchProcess.start([database, ...destination.words], destination);
  await watch.waitForUploads(1);
  await writer.waitForCommits(50);
  await writer.stop();
  watch.signal("SIGINT");
  expect(await watch.exit()).toBe(0);
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  checkpoint(database);
  assertSameBytes(restored, database);
});
