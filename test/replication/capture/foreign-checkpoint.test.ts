/**
 * Consecutive blocking checkpoints of the application within one sync interval. Each checkpoint holds the
 * write lock while it waits for walrust's pin, so the watch must yield to each at once, not at the next
 * capture.
 */
import { describe, expect, test } from "bun:test";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const SYNC_INTERVAL_MS = 60_000;
const BUSY_TIMEOUT_MS = 1_000;

describe("watch beside blocking checkpoints", () => {
  test.each(["FULL", "RESTART", "TRUNCATE"])(
    "watch yields to %s each time, however far the next capture is",
    async (mode) => {
      const { path, app } = await newDatabase();
      const run = await watchOne(path, new MemoryStore(), { sync: { walSyncIntervalMs: SYNC_INTERVAL_MS } });
      await app.must(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      for (let round = 0; round < 4; round++) {
        await app.must("INSERT INTO t(v) VALUES (randomblob(9000))");
        const { rows } = await app.must(`PRAGMA wal_checkpoint(${mode})`);
        expect(rows[0]![0]).toBe(0);
      }
      await run.stop();
      await app.close();
    },
  );
});
