/**
 * A person puts a database back by hand under a watch: copies it over in place, which keeps the inode, or
 * renames it over while walrust reads a snapshot.
 */
import { expect, test } from "bun:test";
import { copyFileSync, renameSync, rmSync } from "node:fs";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

/** A common table `n` with the numbers 1 to `count` as `value`. */
function numbersTo(count: number): string {
  return `WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < ${count})`;
}

const ALL = "SELECT id, length(v), v FROM t ORDER BY id";

async function endOf(run: WatchRun, path: string, store: MemoryStore): Promise<void> {
  const image = imageOf(path);
  await run.stop();
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ALL)).toEqual(rowsOf(image, ALL));
}

test("watch anchors a file copied over in place before it captures on top of it", async () => {
  const { path, app } = await newDatabase();
  await app.must(
    `${numbersTo(400)} INSERT INTO t(v) SELECT printf('old %d %s', value, hex(randomblob(500))) FROM n`,
    "PRAGMA wal_checkpoint(TRUNCATE)",
  );
  copyFileSync(path, `${path}.old`);
  const store = new MemoryStore();
  const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 1 } });
  await run.commit(app, "UPDATE t SET v = 'new' || substr(v, 4)");
  await run.until("a checkpoint", () => run.all("checkpointed").length > 0);
  await app.close();

  copyFileSync(`${path}.old`, path);
  const again = await SqliteProcess.open(path);
  await again.must("UPDATE t SET v = 'app' || substr(v, 4) WHERE id < 5");
  await run.until("the new anchor", () => run.all("re-anchored").length > 0);
  await run.until("an empty queue", () => run.uploadedTxid() >= run.all("re-anchored").at(-1)!.txid);
  const { rows } = await again.must("SELECT count(*) FROM t WHERE v LIKE 'old%'");
  expect(Number(rows[0]![0])).toBeGreaterThan(300);
  await again.close();

  await endOf(run, path, store);
});

test("watch pins a file renamed over during a snapshot once the old WAL is gone", async () => {
  const { path, app } = await newDatabase();
  await app.must(`${numbersTo(800)} INSERT INTO t(v) SELECT randomblob(3000) FROM n`);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  copyFileSync(path, `${path}.old`);
  const store = new MemoryStore();
  let isArmed = false;
  const turn = (): Promise<void> => {
    if (isArmed) renameSync(`${path}.old`, path);
    isArmed = false;
    return new Promise((resolve) => setImmediate(resolve));
  };
  const run = new WatchRun([targetOf(path)], store, { sync: { maxChanges: 5 } }, { turn });
  await run.until("the first snapshot", () => run.uploadedTxid() >= 1);
  isArmed = true;
  await app.must("UPDATE t SET v = randomblob(3000) WHERE id < 50");
  await app.close();

  await run.until("the rename", () => !isArmed);
  // The commit is in the WAL of the old file.
  await run.until("the refusal", () => run.status().conditions.some(({ code }) => code === "foreign-wal"));
  rmSync(`${path}-wal`);
  // Refused files are tried again every two seconds.
  await run.until("pinning again", () => run.all("watching").length > 1, 10_000);
  const snapshotsOf = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
  await run.until("a snapshot of the new file", () => snapshotsOf() > 1);

  await endOf(run, path, store);
});

test("watch notices a file copied over while no watch ran, beside the same WAL", async () => {
  const { path, app } = await newDatabase();
  await app.must(
    `${numbersTo(400)} INSERT INTO t(v) SELECT printf('old %d %s', value, hex(randomblob(500))) FROM n`,
    "PRAGMA wal_checkpoint(TRUNCATE)",
  );
  copyFileSync(path, `${path}.old`);
  const store = new MemoryStore();
  const first = await watchOne(path, store, { sync: { minCheckpointPageCount: 1 } });
  await first.commit(app, "UPDATE t SET v = 'new' || substr(v, 4)");
  await first.until("a checkpoint", () => first.all("checkpointed").length > 0);
  await first.commit(app, "UPDATE t SET v = 'mid' || substr(v, 4) WHERE id = 1");
  await app.close();
  await first.stop();
  copyFileSync(`${path}.old`, path);

  const second = await watchOne(path, store);
  await second.until("the new anchor", () => second.all("re-anchored").length > 0);
  await second.until("it to arrive", () => second.uploadedTxid() >= second.all("re-anchored").at(-1)!.txid);
  await endOf(second, path, store);
});
