/**
 * A database is replaced by one with another page size. Its history continues. Compaction merges on both
 * sides of the change, and so does the merge of pending files.
 */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync } from "node:fs";
import { stateFolderAt } from "../../../src/local/state-folder.ts";
import { detachedCapturesOrNull } from "../../../src/replication/attach/detached-captures.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { planMerge } from "../../../src/replication/upload/spool-merge.ts";
import { listLevel } from "../../../src/storage/bucket/catalog.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const ROWS = "SELECT id, v FROM t ORDER BY id";

/** Commits, copies a database of another page size over the first, and commits again. */
async function withBothSizes(store: FaultyStore, isAway: boolean): Promise<{ path: string; run: WatchRun }> {
  const { path, app } = await newDatabase("page_size = 4096");
  const first = new WatchRun([targetOf(path)], store);
  await first.uploaded(1);
  await first.commit(app, "INSERT INTO t(v) VALUES (1)");
  if (isAway) {
    store.before = () => {
      throw unreachable();
    };
  }
  await app.must("INSERT INTO t(v) VALUES (2)");
  await first.until("the capture", () => first.status().txid === 3);
  await app.must("INSERT INTO t(v) VALUES (3)");
  await first.until("the capture", () => first.status().txid === 4);
  await app.close();
  const other = await newDatabase("page_size = 1024");
  await other.app.close();
  await first.until("an empty WAL", () => first.status().walFrames === 0);
  copyFileSync(other.path, path);
  await first.until("the new content", () => first.status().txid === 5, 8_000);
  const again = await SqliteProcess.open(path);
  await again.must("INSERT INTO t(v) VALUES (4)");
  await first.until("the capture", () => first.status().txid === 6);
  await again.must("INSERT INTO t(v) VALUES (5)");
  await first.until("the capture", () => first.status().txid === 7);
  await again.close();
  return { path, run: first };
}

test("compaction merges on both sides of a change of the page size", async () => {
  const store = new FaultyStore(new MemoryStore());
  const { path, run } = await withBothSizes(store, false);
  await run.stop();
  const { env } = recordingEnv();
  const { spoolFolder } = stateFolderAt(tempFolder("compaction"));
  mkdirSync(spoolFolder, { recursive: true });
  const target = { store, name: "app", spoolFolder, writer: "0".repeat(32), version: "test", env };
  const progress = new CompactionProgress();
  for (const level of [1, 2, 3]) {
    const made = await compactInto(target, level, progress);
    expect(made.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`)).toEqual(["2-4", "5-7"]);
  }
  for (const { key } of [...(await listLevel(store, "app", 0)), ...(await listLevel(store, "app", 1))]) {
    await store.delete([key]);
  }
  expect(rowsOf(await restoredImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
});

test("pending files are merged on both sides of a change of the page size", async () => {
  const store = new FaultyStore(new MemoryStore());
  const { path, run } = await withBothSizes(store, true);
  const waiting = detachedCapturesOrNull(targetOf(path), store.url, true);
  expect(waiting && planMerge(waiting, 0)?.sources.map(({ minTxid }) => Number(minTxid))).toEqual([5, 6, 7]);
  store.before = () => {};
  await run.until("an empty queue", () => run.status().pendingCount === 0, 15_000);
  await run.stop();
  expect(run.isSaid("Cannot merge")).toBe(false);
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
});
