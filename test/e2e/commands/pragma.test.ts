/**
 * An application that runs the SQL of `walrust pragma`, beside a watch. Its writes wait instead of failing,
 * and SQLite truncates its WAL after a big transaction. The restored database has the same bytes.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertSameBytes } from "../../support/histories/database-files.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let connection: Database | null = null;

afterEach(() => {
  connection?.close();
  connection = null;
});

/** An application's connection with the printed settings, to a database of its own. */
async function openApp(more = ""): Promise<{ path: string; app: Database }> {
  const { stdout: sql } = await mustWalrust(["pragma"]);
  const path = join(tempFolder("app"), "app.db");
  connection = new Database(path);
  connection.run(sql + more);
  connection.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)");
  return { path, app: connection };
}

/** A file with the bytes that SQLite's own `serialize` returns. @returns its path */
function imageOf(app: Database): string {
  const path = join(tempFolder("image"), "image.db");
  writeFileSync(path, app.serialize());
  return path;
}

const OFTEN = ["--min-checkpoint-pages", "50", "--checkpoint-interval", "0.1", "--wal-sync-interval", "0.05"];

test("an application with these settings never fails beside checkpoints, and is restored", async () => {
  const destination = fileDestination();
  const { path, app } = await openApp();
  const watch = await WatchProcess.start([path, ...OFTEN, ...destination.words]);
  await watch.waitForTxid(1);
  const insert = app.query("INSERT INTO t (x) VALUES (randomblob(3000))");
  for (let burst = 0; burst < 10; burst++) {
    for (let row = 0; row < 300; row++) insert.run();
    await watch.waitForUploads(1);
  }
  expect(statSync(`${path}-wal`).size).toBeLessThan(20e6);
  expect(await watch.stop()).toBe(0);
  const output = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  assertSameBytes(output, imageOf(app));
});

test("SQLite truncates the WAL of a big transaction, and the backup misses nothing", async () => {
  const destination = fileDestination();
  const limitBytes = 1_000_000;
  const { path, app } = await openApp(`PRAGMA journal_size_limit = ${limitBytes};`);
  const watch = await WatchProcess.start([path, ...OFTEN, ...destination.words]);
  await watch.waitForTxid(1);
  app.transaction(() => {
    const insert = app.query("INSERT INTO t (x) VALUES (randomblob(3500))");
    for (let row = 0; row < 2000; row++) insert.run();
  })();
  const walBytes = (): number => statSync(`${path}-wal`).size;
  expect(walBytes()).toBeGreaterThan(5 * limitBytes);
  await waitUntil(() => {
    app.run("INSERT INTO t (x) VALUES (zeroblob(10))");
    return walBytes() <= limitBytes;
  });
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("re-anchored")).toEqual([]);
  const output = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  assertSameBytes(output, imageOf(app));
});

test("SQLite refuses to leave WAL mode and exclusive locking beside a watch, as advised", async () => {
  const destination = fileDestination();
  const { path, app } = await openApp();
  const watch = await WatchProcess.start([path, ...destination.words]);
  await watch.waitForTxid(1);
  app.run("PRAGMA busy_timeout = 50");
  expect(() => app.run("PRAGMA journal_mode = DELETE")).toThrow("database is locked");
  app.close();
  connection = new Database(path);
  connection.run("PRAGMA busy_timeout = 50; PRAGMA locking_mode = EXCLUSIVE;");
  expect(() => connection!.run("INSERT INTO t (x) VALUES (1)")).toThrow("database is locked");
  connection.close();
  connection = new Database(path);
  connection.run("INSERT INTO t (x) VALUES (2)");
  await watch.waitForTxid(2);
  expect(await watch.stop()).toBe(0);
});
