/**
 * Page sums that the disk damages while a watch runs. Every restore would refuse increments made from them.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

test("watch replaces page sums with a flipped bit before it captures with them", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES ('before')");
  const { sumsPath } = stateFolderOf(path);
  const sums = readFileSync(sumsPath);
  sums[9] = sums[9]! ^ 0x10;
  writeFileSync(sumsPath, sums);
  await app.must("INSERT INTO t(v) VALUES ('after')");
  await run.until("the new anchor", () => run.all("re-anchored").length > 0);
  await run.uploaded(run.all("re-anchored").at(-1)!.txid);
  await run.commit(app, "INSERT INTO t(v) VALUES ('last')");
  await run.stop();
  await provenHistory(store, "app");
  expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
});
