/**
 * Databases that come and go at a bad moment: what happens to one must stay its own trouble.
 */
import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { FleetRun, tenant } from "../support/fleet-run.ts";
import { SqliteProcess } from "../support/sqlite-process.ts";

const INSERT = "INSERT INTO t(v) VALUES (randomblob(2000))";

// While nothing can be captured each look asks how full the disk is: of a path that was just deleted.
test("a database that is deleted while it fails, with a long WAL, takes no other with it", async () => {
  const one = await tenant("one");
  const two = await tenant("two");
  const app = await SqliteProcess.open(one.path);
  await app.must("PRAGMA wal_autocheckpoint = 0");
  const run = await new FleetRun([one, two], new MemoryStore()).watching(2);
  await app.must(...Array.from({ length: 1_100 }, () => INSERT));
  rmSync(one.paths.spoolFolder, { recursive: true });
  writeFileSync(one.paths.spoolFolder, "a file in the way");
  await app.must(INSERT);
  await run.until("the failure", () => run.all("failed", "one").length > 0);

  rmSync(dirname(one.path), { recursive: true });
  const other = await SqliteProcess.open(two.path);
  for (const txid of [2, 3]) {
    await other.must(INSERT);
    await run.uploaded(txid, "two");
  }
  await run.find(two);
  await run.gone("one");
  expect((await run.stop()).stopped).toEqual([]);
  await Promise.all([app.close(), other.close()]);
});
