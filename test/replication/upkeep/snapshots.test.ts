/** Snapshots: a due snapshot is taken once, and a failed one stays due. */
import { expect, test } from "bun:test";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import { Snapshots } from "../../../src/replication/upkeep/snapshots.ts";
import { configWith } from "../../support/config.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const HOUR_MS = 3_600_000;
const LIVE = { state: null, pending: [] } as unknown as LiveDatabase;

/** The snapshots of a database that changed an hour ago; `read` replaces the reading of the image. */
function due(read: (snapshots: Snapshots) => void) {
  let nowMs = 0;
  const { env } = recordingEnv({ monotonicMs: () => nowMs });
  const config = configWith({ sync: { snapshotIntervalMs: HOUR_MS, onStartup: false } });
  const closing = new AbortController();
  const anchors = { runInTurns: async (): Promise<void> => read(snapshots) };
  const snapshots: Snapshots = new Snapshots("app", {
    env,
    config,
    anchors,
    closing,
  } as unknown as WatchContext);
  snapshots.captured(1);
  nowMs = HOUR_MS;
  return { snapshots, isDue: (laterMs = 0) => snapshots.isDue(nowMs + laterMs) };
}

test("a snapshot that waits for its slot is not due again", async () => {
  const asked: boolean[] = [];
  const { snapshots, isDue } = due((one) => {
    // The watcher asks at every poll.
    asked.push(one.isDue(HOUR_MS), one.isDue(HOUR_MS));
    one.begun();
  });
  expect(isDue()).toBe(true);
  expect(await snapshots.take(LIVE)).toEqual({ kind: "taken" });
  expect([asked, isDue()]).toEqual([[false, false], false]);
});

test("a snapshot requested during another follows it", async () => {
  const { snapshots, isDue } = due((one) => {
    one.request("requested");
    one.begun();
  });
  await snapshots.take(LIVE);
  expect(isDue()).toBe(true);
});

test("a snapshot that fails stays due, after a wait", async () => {
  const { snapshots, isDue } = due(() => {
    throw new Error("the disk is full");
  });
  expect(await snapshots.take(LIVE)).toMatchObject({ kind: "failed", anchorReason: null });
  expect([snapshots.isFailing, isDue(), isDue(250)]).toEqual([true, false, true]);
});

// Regression: commits that a checkpoint had captured got no snapshot until the next commit.
test("a capture that only the TXID shows counts as a change, once", () => {
  const { snapshots } = due(() => {});
  snapshots.begin({ state: { txid: 5, snapshot: { txid: 5, timeMs: 0 } } } as unknown as LiveDatabase);
  snapshots.begun();
  const isDue = (): boolean => snapshots.isDue(3 * HOUR_MS);
  snapshots.reached(5, 0);
  expect(isDue()).toBe(false);
  snapshots.reached(6, 0);
  expect(isDue()).toBe(true);
  snapshots.begun();
  snapshots.reached(6, 0);
  expect(isDue()).toBe(false);
  snapshots.reached(7, 3);
  expect(isDue()).toBe(true);
});
