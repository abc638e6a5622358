/**
 * A watch that cannot capture. It recovers from the loss of files in its state folder. When the spool fails
 * while the application writes, it must not let the WAL grow without a limit.
 */
import { expect, spyOn, test } from "bun:test";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Pin } from "../../../src/database/pin/pin.ts";
import type { Txid } from "../../../src/format/types.ts";
import { SpoolWriter } from "../../../src/local/spool.ts";
import { publish } from "../../../src/replication/upload/publish.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, type WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const ALL = "SELECT id, hex(v) FROM t ORDER BY id";
const INSERT = "INSERT INTO t(v) VALUES (randomblob(2000))";

async function expectAllIn(store: MemoryStore, path: string): Promise<void> {
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ALL)).toEqual(rowsOf(imageOf(path), ALL));
}

/** Waits until the watch anchors and uploads a broken history again. */
async function anchoredAgain(run: WatchRun, app: SqliteProcess): Promise<void> {
  await app.must(INSERT);
  await run.until("a new anchor", () => run.all("re-anchored").length > 0);
  const { txid } = run.all("re-anchored")[0]!;
  await run.until("its upload", () => run.uploadedTxid() >= txid);
}

test.each(["", "/pages.sum", "/ltx"])(
  "watch recovers from the loss of its state folder%s while it runs",
  async (lost) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await run.commit(app, INSERT);

    rmSync(`${targetOf(path).paths.folder}${lost}`, { recursive: true });
    await anchoredAgain(run, app);
    await run.commit(app, INSERT);

    await run.stop();
    await expectAllIn(store, path);
    await app.close();
  },
);

test("watch releases a WAL that grows while the spool fails, and logs it", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store, {
    sync: { minCheckpointPageCount: 20, walTruncateThresholdPages: 50 },
  });
  const { spoolFolder } = targetOf(path).paths;
  rmSync(spoolFolder, { recursive: true });
  writeFileSync(spoolFolder, "a file in the way");

  const isLetGo = (): boolean => run.lines.some(({ message }) => message.includes("the pin was released"));
  await app.must("PRAGMA wal_autocheckpoint = 10");
  for (let round = 0; round < 400; round++) await app.must("UPDATE t SET v = randomblob(2000)");
  await run.until("letting go", isLetGo);
  for (let round = 0; round < 400; round++) await app.must("UPDATE t SET v = randomblob(2000)");
  expect(statSync(`${path}-wal`).size).toBeLessThan(600 * 4120);

  rmSync(spoolFolder);
  await anchoredAgain(run, app);
  await run.stop();
  await expectAllIn(store, path);
  await app.close();
});

test("watch --no-cache releases a WAL that grows while the store is away; a difference follows", async () => {
  const { path, app } = await newDatabase();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const change = { sync: { walTruncateThresholdPages: 50 }, cache: { enabled: false } };
  const run = await watchOne(path, store, change);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  await app.must("PRAGMA wal_autocheckpoint = 10");
  for (let round = 0; round < 400; round++) await app.must("UPDATE t SET v = randomblob(2000)");
  await run.until("the release", () => run.isSaid("the pin was released, because the WAL reached"));
  for (let round = 0; round < 400; round++) await app.must("UPDATE t SET v = randomblob(2000)");
  expect(statSync(`${path}-wal`).size).toBeLessThan(600 * 4120);
  expect(run.status()).toMatchObject({ state: "failing", failure: { code: "storage" }, pendingCount: 1 });

  store.before = () => {};
  await run.until("the difference", () => run.all("re-anchored").length > 0, 20_000);
  expect(run.all("re-anchored")[0]!.reason).toContain("the pin was released, because the WAL reached");
  await run.until("its upload", () => run.status().pendingCount === 0, 20_000);
  await run.stop();
  await expectAllIn(memory, path);
  await app.close();
}, 60_000);

test("watch yields to a blocking checkpoint although it cannot capture", async () => {
  const { path, app } = await newDatabase();
  const run = await watchOne(path, new MemoryStore());
  const { spoolFolder } = targetOf(path).paths;
  rmSync(spoolFolder, { recursive: true });
  writeFileSync(spoolFolder, "a file in the way");
  await app.must("PRAGMA busy_timeout = 3000", INSERT);
  await run.until("a failure", () => run.all("failed").length > 0);

  const { rows } = await app.must("PRAGMA wal_checkpoint(TRUNCATE)");

  expect(rows[0]![0]).toBe(0);
  await run.stop();
  await app.close();
});

// Regression: the anchor came before every poll, and only a poll took the released pin again.
test("watch whose anchor fails while its pin is released continues once the cause is gone", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, INSERT);
  const { spoolFolder } = targetOf(path).paths;
  rmSync(spoolFolder, { recursive: true });
  writeFileSync(spoolFolder, "a file in the way");
  const repins = spyOn(Pin.prototype, "repin");
  const releases = spyOn(Pin.prototype, "release");
  const checkpoint = async (): Promise<void> => {
    const { length } = releases.mock.calls;
    await app.must("PRAGMA busy_timeout = 10000", INSERT);
    const { rows } = await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    expect([rows[0]![0], releases.mock.calls.length]).toEqual([0, length + 1]);
  };
  await checkpoint();
  // A poll takes the pin again, and finds that an anchor is due. The anchor fails with the pin held.
  await run.until("the next pin", () => repins.mock.results.some(({ value }) => value === true), 20_000);
  await checkpoint();
  repins.mockRestore();
  releases.mockRestore();
  rmSync(spoolFolder);
  mkdirSync(spoolFolder, { mode: 0o700 });
  await run.until("the anchor", () => run.all("re-anchored").length > 0, 20_000);
  await run.until("health", () => run.status().failure === null && run.status().pendingCount === 0, 20_000);
  await run.commit(app, INSERT);
  await run.stop();
  await expectAllIn(store, path);
  await app.close();
}, 60_000);

test("publish reports a missing spool file as damaged, so that the watch anchors again", async () => {
  const writer = new SpoolWriter(tempFolder("spool"), 0, 2 as Txid, 2 as Txid);
  writer.write(new Uint8Array(200));
  const file = writer.finish({ previousChain: new Uint8Array(32) });
  rmSync(file.path);

  const publisher = { store: new MemoryStore(), name: "app", writer: "w", version: "test" };
  // As after a restart: the bytes of the capture are not in memory any more.
  const outcome = await publish(publisher, { ...file });

  expect(outcome.kind).toBe("damaged");
});
