/**
 * A reader that holds its transaction for hours. No checkpoint passes the reader, so the WAL grows, with or
 * without walrust. Captures, uploads and snapshots continue meanwhile, and the WAL is copied and restarted as
 * soon as the reader ends.
 */
import { expect, test } from "bun:test";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { loggedAnchors, provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const COMMIT = "INSERT INTO t(v) VALUES (randomblob(50000))";
const HOURS = 5;
const COMMITS_PER_HOUR = 10;

test.each([
  ["before the watch", true],
  ["under the watch", false],
])(
  "a reader for hours, begun %s, stops no capture and no snapshot",
  async (_, isBefore) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const reader = await SqliteProcess.open(path);
    const begin = (): Promise<unknown> => reader.must("BEGIN", "SELECT count(*) FROM t");
    if (isBefore) await begin();
    const clock = new ShiftedClock();
    const change = {
      sync: { minCheckpointPageCount: 20, walTruncateThresholdPages: 40, snapshotIntervalMs: HOUR_MS },
    };
    const run = new WatchRun([targetOf(path)], store, change, clock.overrides);
    await run.uploaded(1);
    if (!isBefore) await begin();
    const snapshots = (): number => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length;
    for (let hour = 1; hour <= HOURS; hour++) {
      for (let count = 0; count < COMMITS_PER_HOUR; count++) await run.commit(app, COMMIT);
      clock.pass(HOUR_MS);
      await run.until(`the snapshot of hour ${hour}`, () => snapshots() === 1 + hour);
      expect((await reader.must("SELECT count(*) FROM t")).rows).toEqual([[1]]);
    }
    expect(run.status()).toMatchObject({ state: "watching", failure: null, conditions: [] });
    expect(run.status().walFrames).toBeGreaterThan(HOURS * COMMITS_PER_HOUR * 10);
    await reader.must("COMMIT");
    const before = run.all("checkpointed").length;
    clock.pass(5_000);
    await run.until("the checkpoint", () => run.all("checkpointed").length > before);
    await run.commit(app, COMMIT);
    await run.until("a short WAL", () => (run.status().walFrames ?? 0) < 100);
    expect([loggedAnchors(run), run.all("failed")]).toEqual([[], []]);
    await provenEnd(run, path, store);
    await Promise.all([reader.close(), app.close()]);
  },
  30_000,
);
