/**
 * Databases that claim a size beyond their files: a WAL whose commit states four billion pages, and an empty
 * file of terabytes. The watch reports them at next to no cost, and no other database waits for them.
 */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { outputBytesMax } from "../../../src/replication/capture/anchor.ts";
import { writeClaimingWal } from "../../support/histories/claiming-wal.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const FOUR_BILLION = 0xffffffff;

function plainDatabase(): string {
  const path = join(tempFolder("claims"), "app.db");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t(x)");
  database.close(true);
  return path;
}

/** The total size of all local files of a database. */
function localBytes(path: string): number {
  const { folder } = stateFolderOf(path);
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

describe("databases that claim more than their files can hold", () => {
  test("hold no slot and fill no disk, and others are replicated beside them", async () => {
    const claiming = [plainDatabase(), plainDatabase(), plainDatabase()];
    for (const path of claiming) writeClaimingWal(path, FOUR_BILLION);
    const { path, app } = await newDatabase();
    const targets = [...claiming.map((one, index) => targetOf(one, `claims${index}`)), targetOf(path, "app")];
    const run = new WatchRun(targets, new MemoryStore());
    await run.until("the first upload", () => run.uploadedTxid("app") >= 1);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the next one", () => run.uploadedTxid("app") >= 2);
    for (const [index, one] of claiming.entries()) {
      await run.until("what is wrong is told", () => run.all("failed", `claims${index}`).length > 0);
      expect(run.all("failed", `claims${index}`)[0]?.message).toContain(`claims ${FOUR_BILLION} pages`);
      expect(localBytes(one)).toBeLessThan(10_000);
    }
    await run.stop();
    await app.close();
  });

  test("are reported when the claim begins under the watch", async () => {
    const { path, app } = await newDatabase();
    const run = await new WatchRun([targetOf(path)], new MemoryStore()).watching();
    await run.uploaded(1);
    // The file grows to terabytes without data, and a commit makes that the database's size.
    truncateSync(path, 4 * 1024 ** 4);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2);
    expect(localBytes(path)).toBeLessThan(100_000);
    await run.stop();
    await app.close();
  });

  test("an empty file of terabytes is refused before any write", async () => {
    const path = plainDatabase();
    truncateSync(path, 4 * 1024 ** 4);
    const run = new WatchRun([targetOf(path)], new MemoryStore());
    await run.until("the failure", () => run.all("failed").length > 0);
    expect(run.all("failed")[0]?.message).toContain("a sparse file");
    expect(localBytes(path)).toBeLessThan(10_000);
    await run.stop();
  });

  test("the content of a database may be written several times over, however well it compresses", () => {
    expect(outputBytesMax(0)).toBe(64 * 1024 ** 2);
    expect(outputBytesMax(1024 ** 3)).toBeGreaterThan(8 * 1024 ** 3);
  });
});
