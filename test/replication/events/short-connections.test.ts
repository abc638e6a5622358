/**
 * walrust holds no SQLite connection between two looks: after each poll, and between two slices of a job, no
 * connection of this process has the database open. Connections serve an attach and a checkpoint cycle alone.
 */
import { expect, spyOn, test } from "bun:test";
import { Connection } from "../../../src/database/connection/connection.ts";
import { connectionCount, fileIdentityOrNull } from "../../../src/database/files/descriptors.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import { provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

test("watch has no connection open between two looks, nor while a job reads", async () => {
  const { path, app } = await newDatabase();
  await app.must("INSERT INTO t(v) VALUES (randomblob(4000000))");
  const identity = fileIdentityOrNull(path)!;
  const seen = { polls: 0, turns: 0, closed: 0, open: 0 };
  const look = (kind: "polls" | "turns"): void => {
    seen[kind]++;
    seen.open += connectionCount(identity);
  };
  const { poll } = WalPoller.prototype;
  const polls = spyOn(WalPoller.prototype, "poll").mockImplementation(function (
    this: WalPoller,
    ...words: Parameters<WalPoller["poll"]>
  ) {
    look("polls");
    const outcome = poll.apply(this, words);
    look("polls");
    return outcome;
  });
  const { close } = Connection.prototype;
  const closes = spyOn(Connection.prototype, "close").mockImplementation(function (this: Connection) {
    seen.closed++;
    close.call(this);
  });
  const clock = new ShiftedClock();
  const turn = (): Promise<void> => {
    look("turns");
    return new Promise((resolve) => setImmediate(resolve));
  };
  const store = new MemoryStore();
  const change = { sync: { minCheckpointPageCount: 10, snapshotIntervalMs: HOUR_MS } };
  const run = new WatchRun([targetOf(path)], store, change, { ...clock.overrides, turn });
  await run.uploaded(1);
  for (let round = 0; round < 8; round++)
    await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(50000))");
  clock.pass(HOUR_MS);
  await run.until(
    "a snapshot",
    () => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length > 1,
  );
  await run.until("checkpoints", () => run.all("checkpointed").length > 2);
  await provenEnd(run, path, store);
  polls.mockRestore();
  closes.mockRestore();
  expect(seen.open).toBe(0);
  expect([seen.polls > 10, seen.turns > 6, seen.closed > 4]).toEqual([true, true, true]);
  await app.close();
});
