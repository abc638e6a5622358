/** The progress that a watch reports to a client: its phases, its bytes, and how often. */
import { expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { WorkProgress } from "../../../src/replication/context/work-meter.ts";
import { askWatchOrNull } from "../../../src/replication/control/control-client.ts";
import type { ControlRequest } from "../../../src/replication/control/control-request.ts";
import {
  atIntervals,
  SnapshotProgress,
  UpkeepProgress,
} from "../../../src/replication/requests/request-progress.ts";
import type { UpkeepResult } from "../../../src/replication/upkeep/maintenance.ts";
import type { SnapshotResult } from "../../../src/replication/upkeep/snapshot-once.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const KEY = "app/0009/0000000000000001-0000000000000002.ltx";
const INCREMENT = "app/0000/0000000000000002-0000000000000002.ltx";
const TAKEN = { name: "app", txid: 2, key: KEY, time: "", bytes: 100, databaseBytes: 4096 };

test("atIntervals passes on the first of each phase, and five a second", () => {
  let nowMs = 0;
  const heard: number[] = [];
  const report = atIntervals(({ doneBytes }) => heard.push(doneBytes), { monotonicMs: () => nowMs });
  for (nowMs = 0; nowMs < 1_000; nowMs += 50)
    report({ phase: "reading", doneBytes: nowMs, totalBytes: null });
  expect(heard).toEqual([0, 200, 400, 600, 800]);
  report({ phase: "uploading", doneBytes: 1, totalBytes: 2 });
  report({ phase: "uploading", doneBytes: 2, totalBytes: 2 });
  expect(heard.at(-1)).toBe(1);
});

test("SnapshotProgress reports the reading, then the bytes of the snapshot that are sent", () => {
  const heard: WorkProgress[] = [];
  const progress = new SnapshotProgress("s3", (one) => heard.push(one));
  progress.image(10, 20);
  progress.sent(KEY, 30);
  progress.sent(INCREMENT, 1_000);
  progress.waitsForUpload(TAKEN);
  // Another image: the scheduled snapshot of the next minute is none of the request.
  progress.image(1, 20);
  // A part that is sent again counts once.
  progress.sent(KEY, 90);
  progress.waitsForUpload(TAKEN);
  expect(heard).toEqual([
    { phase: "reading", doneBytes: 0, totalBytes: null },
    { phase: "reading", doneBytes: 10, totalBytes: 20 },
    { phase: "uploading", doneBytes: 30, totalBytes: 100 },
    { phase: "uploading", doneBytes: 100, totalBytes: 100 },
  ]);
});

test("UpkeepProgress reports the bytes that were read from the store", () => {
  const heard: WorkProgress[] = [];
  const progress = new UpkeepProgress((one) => heard.push(one));
  progress.read(INCREMENT, 10);
  progress.read(INCREMENT, 5);
  expect(heard).toEqual([
    { phase: "reading", doneBytes: 10, totalBytes: null },
    { phase: "reading", doneBytes: 15, totalBytes: null },
  ]);
});

/** The progress of one request to the watch of a database, and its answer. */
function ask(path: string, request: object): { heard: WorkProgress[]; answer: Promise<unknown> } {
  const heard: WorkProgress[] = [];
  const asker = {
    env: systemEnv(SILENT_LOG),
    signal: new AbortController().signal,
    onProgress: (one: WorkProgress) => void heard.push(one),
  };
  const answer = askWatchOrNull(stateFolderOf(path).folder, { path, ...request } as ControlRequest, asker);
  return { heard, answer };
}

test("a client of a running watch learns how far its snapshot is", async () => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.uploaded(1);
  await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(100000))");
  const upload = gate();
  store.before = (operation, key) =>
    operation === "put" && key.includes("/0009/") ? upload.passed : undefined;
  const { heard, answer } = ask(path, { verb: "snapshot", destination: store.url });
  await run.until("the upload", () => heard.some(({ phase }) => phase === "uploading"));
  upload.open();
  const { bytes } = (await answer) as SnapshotResult;
  expect(heard[0]).toEqual({ phase: "reading", doneBytes: 0, totalBytes: null });
  const first = heard.find(({ phase }) => phase === "uploading");
  expect(first).toEqual({ phase: "uploading", doneBytes: 0, totalBytes: bytes });
  await run.stop();
  await app.close();
});

test("a client of a running watch learns how much its compaction has read", async () => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store).watching();
  for (let count = 0; count < 3; count++) await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(9000))");
  const upload = gate();
  store.before = (operation, key) =>
    operation === "put" && key.includes("/0001/") ? upload.passed : undefined;
  const given = { compaction: {}, retention: {} };
  const { heard, answer } = ask(path, { verb: "compact", destination: store.url, given, force: true });
  await run.until("the merged object", () => store.puts.some((key) => key.includes("/0001/")));
  expect(heard[0]!.doneBytes).toBeGreaterThan(0);
  upload.open();
  const { compacted } = (await answer) as UpkeepResult;
  expect(compacted.length).toBeGreaterThan(0);
  await run.stop();
  await app.close();
});
