/**
 * The recovery after SIGKILL of a watch, on a database of 50 MB beside a writer: from the start of the next
 * watch to the first acknowledged capture. `bun scripts/beside.ts --case recovery` measures the time; here
 * only counts and a bound far above the goal of 5 s can fail.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const BALLAST_ROWS = 12_000;
const BOUND_MS = 15_000;

function addBallast(path: string): void {
  const database = new Database(path);
  database.run("PRAGMA synchronous = OFF");
  database.run("CREATE TABLE ballast (body BLOB)");
  database.transaction(() => {
    for (let row = 0; row < BALLAST_ROWS; row++) {
      database.run("INSERT INTO ballast VALUES (randomblob(4000))");
    }
  })();
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close(true);
}

test.each([
  ["continues", []],
  ["was restarted meanwhile", ["PRAGMA wal_checkpoint(TRUNCATE)"]],
] as const)("watch is back within seconds after SIGKILL, if the WAL %s", async (_, meanwhile) => {
  const destination = fileDestination();
  const folder = tempFolder("recovery");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  addBallast(database);
  expect(statSync(database).size).toBeGreaterThan(45e6);
  const words = [database, ...destination.words];
  const first = await WatchProcess.start(words);
  const writer = new AppWriter(database, folder);
  await first.waitForTxid(3);
  await first.kill();
  const app = new Database(database);
  app.run("PRAGMA busy_timeout = 10000");
  for (const statement of meanwhile) app.run(statement);
  app.close(true);
  await writer.waitForCommits(50);

  const startMs = performance.now();
  const second = await WatchProcess.start(words);
  await second.waitForUploads(1);
  expect(performance.now() - startMs).toBeLessThan(BOUND_MS);
  await writer.stop();
  expect(await second.stop()).toBe(0);
  const objects = await destination.objects("app");
  expect(objects.filter(({ level }) => level === 9).length).toBe(1);
  const uploaded = second.uploads().map(({ bytes }) => bytes!);
  expect(Math.max(...uploaded)).toBeLessThan(5e6);
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  checkpoint(database);
  assertSameBytes(restored, database);
});
