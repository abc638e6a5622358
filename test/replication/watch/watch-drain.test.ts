/** The end of a watch at unusual moments: every commit before the end is in the bucket. */
import { expect, test } from "bun:test";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage } from "../../support/oracles/history-oracle.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

/** A sleep that lasts until it is aborted, so that the watch begins and polls nothing before it ends. */
function sleepUntilAborted(_: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    signal?.addEventListener("abort", () => resolve(), { once: true });
  });
}

test("watch that ends at once has uploaded the commits before its start", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const first = await watchOne(path, store);
  await first.stop();
  await app.must("INSERT INTO t(v) VALUES ('between')");
  const run = await new WatchRun([targetOf(path)], store, {}, { sleep: sleepUntilAborted }).watching();
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
});

// Regression: the last capture had to anchor again, and the watch ended without a log line.
test("watch that ends at once, after a WAL restart while it was down, has uploaded all", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const first = await watchOne(path, store);
  await first.stop();
  await app.must("INSERT INTO t(v) VALUES ('between')", "PRAGMA wal_checkpoint(TRUNCATE)");
  await app.must("INSERT INTO t(v) VALUES ('in another WAL')");
  const run = await new WatchRun([targetOf(path)], store, {}, { sleep: sleepUntilAborted }).watching();
  const { undrained } = await run.stop();
  const isTold = undrained.length > 0;
  const isThere = Buffer.compare(await newestImage(store, "app"), imageOf(path)) === 0;
  await app.close();
  expect(isTold || isThere).toBe(true);
});
