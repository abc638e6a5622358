/** The share of time that attempts at write locks block the loop, however many writers hold their locks. */
import { afterEach, expect, test } from "bun:test";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import { BlockingBudget } from "../../../src/replication/context/blocking-budget.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import { CAPTURES_ONLY, configWith } from "../../support/config.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { closeAll, walDatabase } from "../../support/runs/pinned-database.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

afterEach(closeAll);

test("a process that was stopped within an attempt owes one second, not hours", () => {
  const budget = new BlockingBudget();
  budget.availableMs(0);
  budget.spent(3_600_000);
  expect([budget.availableMs(0), budget.availableMs(3_900)]).toEqual([0, 0]);
  expect(budget.availableMs(4_100)).toBeGreaterThan(0);
});

test("a quarter of the time may block, and up to a second is saved up", () => {
  const budget = new BlockingBudget();
  expect(budget.availableMs(5_000)).toBe(1_000);
  budget.spent(1_200);
  expect(budget.availableMs(5_000)).toBe(0);
  expect(budget.availableMs(6_000)).toBe(50);
  expect(budget.availableMs(60_000)).toBe(1_000);
});

test("a single database may block all of the time: its WAL must not outgrow the checkpoints", () => {
  const budget = new BlockingBudget();
  budget.isShared = false;
  expect(budget.availableMs(0)).toBe(1_000);
  budget.spent(1_000);
  expect(budget.availableMs(1_000)).toBe(1_000);
});

const ROUNDS = 60;
const TURN_MS = 60;

test("writers that hold the locks of several databases block a quarter of the time", async () => {
  // Only the waits of the code under test move this clock, and the turns of the loop.
  let clockMs = 0;
  let blockedMs = 0;
  const { env } = recordingEnv({
    monotonicMs: () => clockMs,
    sleepSync: (durationMs) => {
      clockMs += durationMs;
      blockedMs += durationMs;
    },
  });
  const config = configWith({ sync: { walSyncIntervalMs: 0, minCheckpointPageCount: 1 } }, CAPTURES_ONLY);
  const conditions = { raise() {}, clear() {} };
  const blocking = new BlockingBudget();
  const context = { env, config, conditions, blocking, emit() {} } as unknown as WatchContext;
  const runs = await Promise.all(
    [1, 2, 3].map(async (number) => {
      const { path, app } = await walDatabase();
      const target = { path, name: `app${number}`, paths: stateFolderOf(path) };
      const { live, anchor: due } = await attach(target, new MemoryStore(), env);
      await anchor(live, due!.before, env);
      await app.must("BEGIN IMMEDIATE");
      return { app, live, poller: new WalPoller(target.name, context) };
    }),
  );
  for (let round = 0; round < ROUNDS; round++) {
    clockMs += TURN_MS;
    for (const { app, live, poller } of runs) {
      await app.must("INSERT INTO t VALUES (NULL)", "COMMIT", "BEGIN IMMEDIATE");
      poller.poll(live, clockMs, { mayCheckpoint: true, fileNews: "unknown" });
    }
  }
  for (const { live } of runs) live.pin.close();
  expect(blockedMs).toBeGreaterThan(500);
  expect(blockedMs).toBeLessThan(1_200 + clockMs / 4);
});
