/**
 * The executable beside a database file that another process puts in the place of a watched one. The new file
 * stays whole. walrust names the files in the way, and continues without a restart.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { rowsOf } from "../../support/oracles/database-image.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const ROWS = 2000;

/** A closed database of two pages. */
async function newApp(): Promise<{ folder: string; path: string }> {
  const folder = tempFolder("moved");
  const path = join(folder, "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(x)");
  await app.close();
  return { folder, path };
}

/** Two megabytes, closed. */
async function newFile(folder: string): Promise<{ from: string; bytes: Buffer }> {
  const from = join(folder, "new.db");
  const app = await SqliteProcess.open(from);
  await app.must(
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE n(y)",
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${ROWS})
     INSERT INTO n SELECT zeroblob(1000) FROM c`,
  );
  await app.close();
  return { from, bytes: readFileSync(from) };
}

/** One commit by an application that exits at once. */
async function commit(path: string, end: "close" | "kill"): Promise<void> {
  const app = await SqliteProcess.open(path);
  await app.must("INSERT INTO t VALUES ('old')");
  await app[end]();
}

/** Moves the WAL away, as the hint advises, and waits until the bucket has the new content. */
async function clear(
  watch: WatchProcess,
  path: string,
  bytes: Buffer,
  words: readonly string[],
): Promise<void> {
  for (const suffix of ["-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.aside${suffix}`);
  }
  await watch.waitFor("the new content", () =>
    watch.eventsOf("re-anchored").some(({ txid }) => watch.uploads().some((upload) => upload.txid === txid)),
  );
  expect(await watch.stop()).toBe(0);
  expect(readFileSync(path).equals(bytes)).toBe(true);
  const output = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", output, ...words]);
  expect(rowsOf(readFileSync(output), "SELECT count(*) FROM n")).toEqual([[ROWS]]);
}

test("mv over a database whose application just closed it leaves the new file whole", async () => {
  const { folder, path } = await newApp();
  const { words } = fileDestination();
  const watch = await WatchProcess.start([path, ...words]);
  await watch.waitForTxid(1);
  const { from, bytes } = await newFile(folder);
  await commit(path, "close");
  renameSync(from, path);
  await watch.waitFor("an answer", () => {
    const isTold = watch.stderr.includes(`${path}-wal`);
    return isTold || watch.eventsOf("re-anchored").length > 0;
  });
  expect(readFileSync(path).equals(bytes)).toBe(true);
  await clear(watch, path, bytes, words);
}, 60_000);

test("mv over a database whose application and watch were killed leaves the new file whole", async () => {
  const { folder, path } = await newApp();
  const { words } = fileDestination();
  const first = await WatchProcess.start([path, ...words]);
  await first.waitForTxid(1);
  await commit(path, "kill");
  await first.waitForTxid(2);
  await first.kill();
  const { from, bytes } = await newFile(folder);
  if (statSync(`${path}-wal`).size === 0) await commit(path, "kill");
  renameSync(from, path);

  const refused = await runWalrust(["snapshot", path, ...words, "--json"]);
  expect(refused.exitCode).toBe(3);
  const { error } = documentOf<{ error: { code: string; message: string; hint: string } }>(refused);
  expect([error.code, error.message.includes(`${path}-wal`)]).toEqual(["foreign-wal", true]);
  expect(error.hint).toContain("move");

  const second = await WatchProcess.start([path, ...words]);
  await second.waitFor("the refusal", () => second.stderr.includes("belong to it"));
  await second.waitFor("the condition", () => second.eventsOf("condition").length > 0);
  expect(readFileSync(path).equals(bytes)).toBe(true);
  await clear(second, path, bytes, words);
}, 60_000);

test("VACUUM INTO and mv with the application briefly stopped need no manual step", async () => {
  const { path } = await newApp();
  const { words } = fileDestination();
  const app = await SqliteProcess.open(path);
  await app.must(
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${ROWS})
     INSERT INTO t SELECT randomblob(500) FROM c`,
    "DELETE FROM t WHERE rowid % 5",
  );
  const watch = await WatchProcess.start([path, ...words]);
  await watch.waitForTxid(1);
  await app.must("INSERT INTO t VALUES ('last')");
  await app.must(`VACUUM INTO '${path}.small'`);
  await app.close();
  await waitUntil(() => statSync(`${path}-wal`).size === 0);
  renameSync(`${path}.small`, path);
  await watch.waitFor("the look", () => watch.stderr.includes("not in WAL mode"));

  const again = await SqliteProcess.open(path);
  await again.must("PRAGMA journal_mode = WAL", "INSERT INTO t VALUES ('after')");
  await watch.waitFor("the new file", () => watch.eventsOf("re-anchored").length > 0);
  const commits = watch.uploads().length;
  await again.must("INSERT INTO t VALUES ('later')");
  await watch.waitFor("a commit in it", () => watch.uploads().length > commits);
  await again.close();
  expect(await watch.stop()).toBe(0);

  const output = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", output, ...words]);
  const all = "SELECT rowid, x FROM t ORDER BY rowid";
  const database = new Database(path, { readonly: true });
  const rows = database.query(all).values();
  database.close();
  expect([rows.length > 400, rowsOf(readFileSync(output), all)]).toEqual([true, rows as unknown[][]]);
}, 60_000);

test("the end of a watch, and a snapshot, leave no WAL that the next file could inherit", async () => {
  const { path } = await newApp();
  const { words } = fileDestination();
  const watch = await WatchProcess.start([path, ...words]);
  await watch.waitForTxid(1);
  await commit(path, "close");
  expect(await watch.stop()).toBe(0);
  expect(statSync(`${path}-wal`).size).toBe(0);
  await commit(path, "kill");
  await mustWalrust(["snapshot", path, ...words]);
  expect(statSync(`${path}-wal`).size).toBe(0);
  rmSync(`${path}-shm`);
  expect(rowsOf(readFileSync(path), "SELECT x FROM t")).toEqual([["old"], ["old"]]);
}, 60_000);
