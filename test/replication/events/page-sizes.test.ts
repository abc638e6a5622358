/**
 * Databases with each page size that SQLite permits, under one watch: first snapshot, increments, checkpoints
 * of walrust and of the application, a restart with a difference, a later snapshot.
 */
import { expect, test } from "bun:test";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { loggedAnchors } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];

test("watch replicates databases with pages of 512 bytes to 64 KB", async () => {
  const databases = await Promise.all(
    PAGE_SIZES.map(async (size) => ({
      name: `of-${size}`,
      size,
      ...(await newDatabase(`page_size = ${size}`)),
    })),
  );
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  const start = (): WatchRun =>
    new WatchRun(
      databases.map(({ path, name }) => targetOf(path, name)),
      store,
      { sync: { minCheckpointPageCount: 8, snapshotIntervalMs: HOUR_MS } },
      clock.overrides,
    );
  const commitAll = async (run: WatchRun, txid: number): Promise<void> => {
    for (const { app, name, size } of databases) {
      await app.must(
        `INSERT INTO t(v) VALUES (randomblob(${size * 5 + 7}))`,
        "UPDATE t SET v = 1 WHERE id = 1",
      );
      await run.until(`${name} up to ${txid}`, () => run.uploadedTxid(name) >= txid);
      await run.until(`all of ${name}`, () => run.status(name).pendingCount === 0);
    }
  };
  const first = await start().watching(databases.length);
  for (let txid = 2; txid <= 4; txid++) await commitAll(first, txid);
  for (const { name } of databases) expect(first.all("checkpointed", name).length).toBeGreaterThan(0);
  expect(loggedAnchors(first)).toEqual([]);
  await first.stop();

  for (const { app } of databases) {
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET v = 'changed' WHERE id = 1");
  }
  const second = await start().watching(databases.length);
  await second.until("each difference", () => second.all("re-anchored").length === databases.length);
  expect(new Set(loggedAnchors(second).map(({ mode }) => mode))).toEqual(new Set(["difference"]));
  clock.pass(HOUR_MS);
  const snapshots = (): number => second.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
  await second.until("each snapshot", () => snapshots() === databases.length, 15_000);
  expect(await second.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });

  for (const { path, app, name, size } of databases) {
    const image = imageOf(path);
    expect([name, image.length % size]).toEqual([name, 0]);
    expect([name, Buffer.compare(await newestImage(store, name), image)]).toEqual([name, 0]);
    expect([name, Buffer.compare(await restoredImage(store, name), image)]).toEqual([name, 0]);
    await app.close();
  }
}, 30_000);
