/**
 * Changes that the checksum of a database does not show. Page checksums are CRCs, and the checksum of a
 * database is their XOR: two pages that change in the same bits leave it as it was. The simulator found that
 * a difference took such a change for none (seed 113), and that the commit was in no object.
 */
import { expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage } from "../../support/oracles/history-oracle.ts";
import { databaseChecksum } from "../../support/oracles/page-sums-oracle.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const FILL = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 6)";

/** Watches, then changes two pages alike while nothing watches, and watches again. */
async function expectCaptured(between: (sumsPath: string) => void, checkpoint: string): Promise<void> {
  const { path, app } = await newDatabase();
  // Each row fills a page.
  await app.must(`INSERT INTO t(v) ${FILL} SELECT printf('%.3000c', 'a') FROM s`);
  const store = new MemoryStore();
  await (await watchOne(path, store)).stop();
  const before = imageOf(path);
  between(targetOf(path).paths.sumsPath);

  await app.must("UPDATE t SET v = printf('%.3000c', 'b') WHERE id IN (4, 5)");
  await app.must(`PRAGMA wal_checkpoint(${checkpoint})`);
  if (checkpoint === "RESTART") await app.must("UPDATE t SET v = v WHERE id = 6");
  const changed = imageOf(path);
  expect(databaseChecksum(changed, 4096)).toBe(databaseChecksum(before, 4096));
  expect(Buffer.compare(changed, before)).not.toBe(0);

  const again = await new WatchRun([targetOf(path)], store).watching();
  await again.stop();
  expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
}

test("a difference holds two pages whose changes cancel each other out in the checksum", () =>
  expectCaptured(() => {}, "RESTART"));

test.each(["PASSIVE", "RESTART", "TRUNCATE"])(
  "with lost page sums, a full file holds such pages, after a checkpoint(%s)",
  (checkpoint) => expectCaptured((sumsPath) => rmSync(sumsPath), checkpoint),
);

test("with lost page sums and no commit since, nothing is uploaded", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  await (await watchOne(path, store)).stop();
  rmSync(targetOf(path).paths.sumsPath);
  const again = await new WatchRun([targetOf(path)], store).watching();
  await again.until("the anchor", () => existsSync(targetOf(path).paths.sumsPath));
  await again.stop();
  expect(again.status().txid).toBe(1);
  await app.close();
});
