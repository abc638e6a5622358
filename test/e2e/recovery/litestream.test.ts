/**
 * Litestream in both directions: Litestream restores walrust's objects, and walrust restores Litestream's,
 * byte for byte. For a time T, Litestream restores the state strictly before T, walrust the state at or
 * before T.
 */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, setDefaultTimeout } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { type History, type HistoryPoint, recordHistory } from "../../support/histories/history.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination, type TestDestination } from "../../support/servers/destinations.ts";
import { Litestream, litestreamRestore } from "../../support/servers/litestream.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let connection: Database | null = null;

afterEach(() => {
  connection?.close();
  connection = null;
});

/**
 * Timestamps that Litestream accepts: none after the last object's time, which on S3 is its LastModified in
 * whole seconds. A restore reaches the newest point by its TXID, or as the latest.
 */
const UNREACHABLE_MS = 1_100;

async function walrustRestore(destination: TestDestination, point: string | null): Promise<string> {
  const output = join(tempFolder("walrust"), "restored.db");
  const words = ["restore", "app", "-o", output, ...destination.words];
  await mustWalrust([...words, ...(point === null ? [] : ["--point-in-time", point])], destination);
  return output;
}

/** Restores points with both programs in both ways: by TXID, and by time where Litestream accepts it. */
async function assertSameEverywhere(
  destination: TestDestination,
  points: readonly HistoryPoint[],
): Promise<void> {
  const folder = tempFolder("litestream");
  const limitMs = Date.parse(points.at(-1)!.time) - UNREACHABLE_MS;
  let timeCount = 0;
  for (const [index, { txid, time, imagePath }] of points.entries()) {
    const byTxid = join(folder, `txid-${txid}.db`);
    await litestreamRestore(destination, "app", byTxid, { txid });
    assertSameBytes(byTxid, imagePath);
    assertSameBytes(await walrustRestore(destination, `txid:${txid}`), imagePath);
    assertSameBytes(await walrustRestore(destination, time), imagePath);
    const next = points[index + 1];
    if (next?.txid !== txid + 1 || Date.parse(next.time) > limitMs) continue;
    const byTime = join(folder, `time-${txid}.db`);
    await litestreamRestore(destination, "app", byTime, { timestamp: next.time });
    assertSameBytes(byTime, imagePath);
    timeCount++;
  }
  expect(timeCount).toBeGreaterThan(0);
  const latest = join(folder, "latest.db");
  await litestreamRestore(destination, "app", latest);
  assertSameBytes(latest, await walrustRestore(destination, null));
}

/** Runs a watch until it has uploaded something and no upload is pending. @returns the newest point */
async function watchOnce(history: History): Promise<HistoryPoint> {
  const { destination, database } = history;
  const watch = await WatchProcess.start([database, ...destination.words], destination);
  await watch.waitForUploads(1);
  if ((await watch.stop()) !== 0) throw new Error(watch.stderr);
  expect(watch.eventsOf("re-anchored").length).toBe(1);
  const { txid, time } = watch.uploads().at(-1)!;
  return { txid: txid!, time: time!, imagePath: imageOf(history) };
}

/** Commits without a watch, and checkpoints, so that the commit's WAL is gone. */
function changeUnseen(history: History, sql: string): void {
  const database = new Database(history.database);
  database.run(sql);
  database.close(true);
  checkpoint(history.database);
}

function imageOf({ database }: History): string {
  const imagePath = join(tempFolder("image"), "image.db");
  const open = new Database(database);
  writeFileSync(imagePath, open.serialize());
  open.close(true);
  return imagePath;
}

describe.each(["file", "s3"] as const)("over %s", (kind) => {
  testWith("litestream", "versitygw")("litestream restores each point of a watched history", async () => {
    const destination = await newDestination(kind);
    const history = await recordHistory(destination);
    const points = [...history.points];
    await waitBeyondSeconds();
    changeUnseen(history, "UPDATE item SET body = 'unseen' WHERE id = 3");
    points.push(await watchOnce(history));
    rmSync(join(history.folder, ".app.db-walrust"), { recursive: true });
    changeUnseen(history, "INSERT INTO item VALUES (5000, 'after the state was lost')");
    points.push(await watchOnce(history));
    await assertSameEverywhere(destination, points);

    changeUnseen(history, "DELETE FROM item WHERE id % 2 = 0");
    const words = ["snapshot", history.database, ...destination.words, "--json"];
    const snapshot = documentOf<{ txid: number; time: string }>(await mustWalrust(words, destination));
    const { txid, time } = snapshot;
    expect(txid).toBe(points.length + 1);
    expect((await destination.objects("app")).filter(({ level }) => level === 9).length).toBe(2);
    points.push({ txid, time, imagePath: imageOf(history) });
    await assertSameEverywhere(destination, points.slice(4));
  });

  testWith("litestream", "versitygw")("litestream restores what watch wrote beside a writer", async () => {
    const destination = await newDestination(kind);
    const folder = tempFolder("beside");
    const database = join(folder, "app.db");
    createAppDatabase(database);
    const writer = new AppWriter(database, folder, { isRestless: true });
    const words = ["--wal-sync-interval", "0.05", "--min-checkpoint-pages", "100"];
    const watch = await WatchProcess.start([database, ...destination.words, ...words], destination);
    await watch.waitForUploads(20);
    await Promise.all([watch.kill(), writer.kill()]);
    const theirs = join(folder, "theirs.db");
    await litestreamRestore(destination, "app", theirs);
    assertSameBytes(theirs, await walrustRestore(destination, null));
    const promised = writer.newestBefore(watch.uploads().at(-1)!.time!);
    expect(judgeAppDatabase(theirs).get(1) ?? 0).toBeGreaterThanOrEqual(promised);
  });

  testWith("litestream", "versitygw")("restore gives what litestream gives of its own backup", async () => {
    const destination = await newDestination(kind);
    const folder = tempFolder("theirs");
    const database = join(folder, "app.db");
    connection = new Database(database);
    connection.run("PRAGMA journal_mode = WAL");
    connection.run("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)");
    const litestream = Litestream.start(database, destination, "app", folder);
    const objects = (level: number) => async () =>
      (await destination.objects("app")).filter((object) => object.level === level);
    await eventually("the first file", async () => (await objects(0)()).length > 0);
    const times: string[] = [];
    for (let step = 1; step <= 5; step++) {
      const before = (await objects(0)()).length;
      if (step === 4) connection.run("VACUUM");
      connection.run("INSERT INTO item VALUES (?, ?)", [step, `step ${step} `.repeat(500)]);
      await eventually(`level 0 of step ${step}`, async () => (await objects(0)()).length > before);
      times.push(await betweenCommits());
    }
    await waitBeyondSeconds();
    await eventually("a compaction", async () => (await objects(1)()).length > 0);
    await eventually("a snapshot", async () => (await objects(9)()).length > 0);
    connection.run("DELETE FROM item WHERE id = 2");
    await litestream.stop();

    const theirs = join(folder, "latest.db");
    await litestreamRestore(destination, "app", theirs);
    assertSameBytes(await walrustRestore(destination, null), theirs);
    for (const timestamp of times) {
      const output = join(folder, `${timestamp}.db`);
      await litestreamRestore(destination, "app", output, { timestamp });
      assertSameBytes(await walrustRestore(destination, timestamp), output);
    }
    for (const { maxTxid: txid } of await objects(0)()) {
      const output = join(folder, `${txid}.db`);
      await litestreamRestore(destination, "app", output, { txid });
      assertSameBytes(await walrustRestore(destination, `txid:${txid}`), output);
    }
    await assertSameWithoutLevel0(destination, theirs);
  });

  testWith("litestream", "versitygw")("watch continues a backup that litestream began", async () => {
    const destination = await newDestination(kind);
    const folder = tempFolder("taken-over");
    const database = join(folder, "app.db");
    createAppDatabase(database);
    const writer = new AppWriter(database, folder);
    const litestream = Litestream.start(database, destination, "app", folder);
    await eventually("some files", async () => (await destination.objects("app")).length >= 3);
    await litestream.stop();
    const before = Math.max(...(await destination.objects("app")).map(({ maxTxid }) => maxTxid));
    const words = [database, ...destination.words, "--wal-sync-interval", "0.1"];
    const watch = await WatchProcess.start(words, destination);
    await watch.waitForUploads(3);
    await writer.stop();
    expect(await watch.stop()).toBe(0);
    expect(watch.uploads()[0]).toMatchObject({ txid: before + 1, kind: "increment" });

    const theirs = join(folder, "theirs.db");
    await litestreamRestore(destination, "app", theirs);
    checkpoint(database);
    assertSameBytes(theirs, database);
    assertSameBytes(await walrustRestore(destination, null), database);
  });
});

/** Litestream's own compactions and snapshots, after the removal of the increments that they replace. */
async function assertSameWithoutLevel0(destination: TestDestination, latest: string): Promise<void> {
  const objects = await destination.objects("app");
  const compacted = Math.max(...objects.filter(({ level }) => level > 0).map(({ maxTxid }) => maxTxid));
  for (const { level, key, maxTxid } of objects) {
    if (level === 0 && maxTxid <= compacted) await destination.remove("app", key);
  }
  assertSameBytes(await walrustRestore(destination, null), latest);
  const compactions = objects.filter(({ level }) => level === 1);
  expect(compactions.length).toBeGreaterThan(0);
  for (const { maxTxid: txid } of compactions) {
    const output = join(tempFolder("compacted"), "restored.db");
    await litestreamRestore(destination, "app", output, { txid });
    assertSameBytes(await walrustRestore(destination, `txid:${txid}`), output);
  }
}

/** Waits until the next event has a later LastModified, in whole seconds, than every earlier one. */
async function waitBeyondSeconds(): Promise<void> {
  const startMs = Date.now();
  await waitUntil(() => Date.now() > startMs + UNREACHABLE_MS);
}

/** A time after every earlier event and before every later one. */
async function betweenCommits(): Promise<string> {
  const startMs = Date.now();
  await waitUntil(() => Date.now() > startMs + 50);
  const time = new Date().toISOString();
  await waitUntil(() => Date.now() > startMs + 100);
  return time;
}
