/**
 * Two applications that write to one database without a pause, and sync each commit. Both keep their
 * connections and SQLite's own autocheckpoint. The WAL stays short, and no commit of either is lost.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

/** Twice the goal that `scripts/beside.ts --case writers` measures: this machine may be busy. */
const USUAL_FRAMES_MAX = 8_000;
const CHECKPOINTS = 6;

test("watch beside two writers keeps the WAL short, and SIGKILL of all three loses no commit", async () => {
  const destination = fileDestination();
  const folder = tempFolder("two-applications");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const start = (): AppWriter[] =>
    [1, 2].map((writer) => new AppWriter(database, folder, { writer, seed: writer, pauseMs: 0 }));
  const words = [database, ...destination.words, "--wal-sync-interval", "0.1"];
  let writers = start();
  const first = await WatchProcess.start(words);
  const isEnough = (watch: WatchProcess): boolean => watch.eventsOf("checkpointed").length >= CHECKPOINTS;
  await first.waitFor("checkpoints", isEnough);
  await Promise.all([first.kill(), ...writers.map((writer) => writer.kill())]);
  const frames = first.eventsOf("checkpointed").map((event) => event.frames!);
  expect(frames.toSorted((a, b) => a - b)[frames.length >> 1]).toBeLessThanOrEqual(USUAL_FRAMES_MAX);
  expect(first.eventsOf("re-anchored")).toEqual([]);

  writers = start();
  const second = await WatchProcess.start(words);
  await second.waitForUploads(3);
  for (const writer of writers) await writer.stop();
  expect(await second.stop()).toBe(0);
  expect((await destination.objects("app")).filter(({ level }) => level === 9).length).toBe(1);
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  const numbers = judgeAppDatabase(restored);
  for (const [index, writer] of writers.entries()) {
    // A writer that was killed may have committed once more, and SQLite may keep its successor waiting.
    const unacknowledged = numbers.get(index + 1)! - writer.newest();
    expect([0, 1]).toContain(unacknowledged);
  }
  checkpoint(database);
  assertSameBytes(restored, database);
});
