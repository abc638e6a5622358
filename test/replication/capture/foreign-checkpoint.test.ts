/**
 * Consecutive blocking checkpoints of the application within one sync interval. Each checkpoint holds the
 * write lock while it waits for walrust's pin, so the watch must yield to each at once, not at the next
 * capture.
 */
import { describe, expect, spyOn, test } from "bun:test";
import { WalEvents } from "../../../src/database/wal/wal-events.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const SYNC_INTERVAL_MS = 60_000;
const BUSY_TIMEOUT_MS = 1_000;
/** A database without captures for this long is idle, and gets a look every two seconds. */
const IDLE_MS = 11_000;
const SWEEP_MS = 2_500;

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

  test.skipIf(process.platform !== "linux")(
    "watch yields to a checkpoint right after a commit that is not due for a capture yet",
    async () => {
      const { path, app } = await newDatabase();
      const clock = new ShiftedClock();
      const change = { sync: { walSyncIntervalMs: SYNC_INTERVAL_MS } };
      const more = { openWalEvents: WalEvents.openOrNull };
      const run = new WatchRun([targetOf(path)], new MemoryStore(), change, clock.overrides, more);
      await run.watching();
      await app.must(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      clock.pass(IDLE_MS);
      const poll = spyOn(WalPoller.prototype, "poll");
      for (let round = 0; round < 3; round++) {
        // The last look before the commit sees a WAL that blocks no checkpoint.
        await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
        const { length } = poll.mock.calls;
        clock.pass(SWEEP_MS);
        await run.until("a look", () => poll.mock.calls.length > length);
        await app.must("INSERT INTO t(v) VALUES (randomblob(9000))");
        const { rows } = await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
        expect(rows[0]![0]).toBe(0);
      }
      poll.mockRestore();
      await run.stop();
      await app.close();
    },
  );
});
