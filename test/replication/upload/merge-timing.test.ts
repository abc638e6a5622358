/**
 * Captures that wait behind an upload become one file: through the lanes of one database, beside a store
 * whose puts take as long as the test decides.
 */

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import {
  type ChainHold,
  MergeTiming,
  mergeLong,
  planMerge,
} from "../../../src/replication/upload/spool-merge.ts";
import { UploadLanes } from "../../../src/replication/upload/uploader.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { CAPTURES_ONLY } from "../../support/config.ts";
import { eventually } from "../../support/eventually.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { NO_LIMIT } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const FREE: ChainHold = { isChainHeld: false, isJobRunning: false };

/** One database with pending captures, and a store whose puts the test releases. */
function gathered(count: number, snapshotsAt: readonly number[] = [], hold = FREE) {
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const { env } = recordingEnv();
  const { live, history } = spooledHistory(count, snapshotsAt);
  const context = { store, env, version: "test", emit: () => {}, puts: NO_LIMIT, config: CAPTURES_ONLY };
  const lanes = new UploadLanes(context, new AbortController(), null, hold);
  const links = (): string[] =>
    live.pending.filter(({ level }) => level === 0).map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
  return { memory, store, live, history, lanes, links };
}

/** Removes captures, as if they came later. @returns a function that restores them, with their state */
function laterThan(live: LiveDatabase, txid: number): () => void {
  const { state } = live;
  const later = live.pending.filter(({ minTxid, level }) => level === 0 && minTxid > txid);
  live.pending.splice(0, live.pending.length, ...live.pending.filter((file) => !later.includes(file)));
  live.state = { ...state!, txid: txid as NonNullable<typeof state>["txid"] };
  return () => {
    live.pending.push(...later);
    live.state = state;
  };
}

async function pointsOf(run: ReturnType<typeof gathered>): Promise<number[]> {
  const objects = await listObjects(run.memory, "app");
  const txids = [...new Set(objects.map(({ maxTxid }) => Number(maxTxid)))].sort((a, b) => a - b);
  for (const txid of txids) {
    const image = await restoredImage(run.memory, "app", txid as never);
    expect([txid, Buffer.compare(image, run.history.images.get(txid as never)!)]).toEqual([txid, 0]);
  }
  return txids;
}

test("captures during a put are sent in one put after it", async () => {
  const run = gathered(12);
  const later = laterThan(run.live, 2);
  const { passed, open } = gate();
  run.store.before = (operation, key) =>
    operation === "put" && key.includes("0000000000000002.ltx") ? passed : undefined;
  run.lanes.startDue(run.live, 0);
  await eventually("the second put", async () => run.store.puts.length === 2);
  later();
  open();
  await run.lanes.done();
  const ltx = run.store.puts.filter((key) => key.endsWith(".ltx"));
  expect(ltx.map((key) => key.slice(key.lastIndexOf("/") + 1))).toEqual([
    "0000000000000001-0000000000000001.ltx",
    "0000000000000002-0000000000000002.ltx",
    "0000000000000003-000000000000000c.ltx",
  ]);
  expect(await pointsOf(run)).toEqual([1, 2, 12]);
});

test("a file that may have been sent is sent again unchanged, and pending ones after it", async () => {
  const run = gathered(9);
  run.live.pending.shift();
  const isLost = { value: true };
  // The put takes effect, but its answer is lost.
  run.store.after = (operation) => {
    if (operation === "put" && isLost.value) throw unreachable();
  };
  const { env } = recordingEnv();
  run.lanes.startDue(run.live, 0);
  await run.lanes.done();
  expect(run.links()).toEqual(["2-2", "3-3", "4-4", "5-5", "6-6", "7-7", "8-8", "9-9"]);
  isLost.value = false;
  run.lanes.startDue(run.live, env.monotonicMs() + 60_000);
  await run.lanes.done();
  expect(run.store.puts.map((key) => key.slice(-37, -4))).toEqual([
    "0000000000000002-0000000000000002",
    "0000000000000002-0000000000000002",
    "0000000000000003-0000000000000009",
  ]);
});

test("a file that the previous process was sending is never part of a merge", () => {
  const run = gathered(6);
  run.live.pending.shift();
  const timing = new MergeTiming(recordingEnv().env, FREE);
  timing.beforeUpload(run.live);
  expect(run.links()).toEqual(["2-2", "3-3", "4-4", "5-5", "6-6"]);
  timing.sending(run.live, run.live.pending[0]!);
  run.live.pending.shift();
  timing.beforeUpload(run.live);
  expect(run.links()).toEqual(["3-6"]);
});

test.each([
  ["a job relies on the chain", true, null, ["3-3", "4-4", "5-5", "6-6"]],
  ["an image of TXID 4 is being read", false, 4, ["3-3", "4-4", "5-6"]],
  ["an image of TXID 5 is being read", false, 5, ["3-3", "4-4", "5-5", "6-6"]],
] as const)(
  "while %s no merge crosses that TXID or breaks the chain",
  (_, isChainHeld, imageTxid, expected) => {
    const run = gathered(6);
    run.live.pending.shift();
    run.live.imageTxid = imageTxid;
    const timing = new MergeTiming(recordingEnv().env, { ...FREE, isChainHeld });
    timing.sending(run.live, run.live.pending[0]!);
    run.live.pending.shift();
    timing.beforeUpload(run.live);
    expect(run.links()).toEqual([...expected]);
  },
);

test("a long merge is returned, once for each upload, and waits for the end of a job", () => {
  const run = gathered(6);
  // The files are tiny, so sizes alone decide whether a merge is long.
  const long = run.live.pending.splice(0).map((file) => ({ ...file, sizeBytes: 200 << 10 }));
  run.live.pending.push(...long.slice(1));
  const hold = { isChainHeld: false, isJobRunning: true };
  const timing = new MergeTiming(recordingEnv().env, hold);
  timing.sending(run.live, run.live.pending[0]!);
  run.live.pending.shift();
  expect(timing.beforeUpload(run.live)).toBeNull();
  hold.isJobRunning = false;
  expect(timing.beforeUpload(run.live)?.sources.map(({ minTxid }) => Number(minTxid))).toEqual([3, 4, 5, 6]);
  expect(timing.beforeUpload(run.live)).toBeNull();
  expect(timing.beforeUpload(run.live)?.sources.length).toBe(4);
  expect(run.links()).toEqual(["3-3", "4-4", "5-5", "6-6"]);
});

test("a lane that needs a long merge ends with it, and sends its result when it starts again", async () => {
  const run = gathered(6);
  // The store acknowledges the first upload. The files after it are made long, so their merge is a job.
  const later = laterThan(run.live, 1);
  await Promise.all(run.lanes.startDue(run.live, 0));
  later();
  const waiting = run.live.pending.splice(0);
  run.live.pending.push(...waiting.map((file) => ({ ...file, sizeBytes: 200 << 10 })));
  const [outcome] = await Promise.all(run.lanes.startDue(run.live, 0));
  if (outcome?.kind !== "merge-due") throw new Error(`the lane ended with ${outcome?.kind}`);
  run.live.pending.splice(0, run.live.pending.length, ...waiting);
  const sources = outcome.merge.sources.map(
    ({ minTxid }) => waiting.find((file) => file.minTxid === minTxid)!,
  );
  await mergeLong(run.live, { ...outcome.merge, sources }, recordingEnv().env);
  expect(run.links()).toEqual(["2-6"]);
  expect(await Promise.all(run.lanes.startDue(run.live, 0))).toEqual([{ kind: "drained" }]);
  expect(await pointsOf(run)).toEqual([1, 6]);
});

test("a merge ends at a snapshot, whether the snapshot is pending or stored", () => {
  const run = gathered(12, [7]);
  run.live.pending.shift();
  run.live.state = { ...run.live.state!, snapshot: { txid: 7 as never, timeMs: 1_000_007 } };
  const timing = new MergeTiming(recordingEnv().env, FREE);
  timing.sending(run.live, run.live.pending[0]!);
  run.live.pending.shift();
  timing.beforeUpload(run.live);
  expect(run.links()).toEqual(["3-3", "4-4", "5-5", "6-6", "7-7", "8-12"]);
});

test("planMerge merges nothing up to a pending snapshot at the newest TXID", () => {
  const { live } = spooledHistory(9, [9]);
  expect(planMerge(live, 2)).toBeNull();
});

test("a damaged pending file does not stop the lane: the files before it go one by one", () => {
  const run = gathered(5);
  writeFileSync(run.live.pending[3]!.path, "torn");
  // As after a restart: the bytes of the capture are not in memory any more.
  run.live.pending[3] = { ...run.live.pending[3]! };
  const timing = new MergeTiming(recordingEnv().env, FREE);
  timing.sending(run.live, run.live.pending[0]!);
  run.live.pending.shift();
  const before = run.links();
  timing.beforeUpload(run.live);
  expect(run.links()).toEqual(before);
});

test("in an outage new captures are merged bit by bit, at a bounded cost", async () => {
  const run = gathered(300);
  const later = [...run.live.pending];
  const { state } = run.live;
  run.live.pending.length = 0;
  const timing = new MergeTiming(recordingEnv().env, FREE);
  let mergedBytes = 0;
  let most = 0;
  for (const file of later) {
    run.live.pending.push(file);
    const previous = run.live.pending.at(-2);
    // The chain value that capture would have written.
    run.live.pending[run.live.pending.length - 1] = {
      ...file,
      previousChain: previous?.chain ?? file.previousChain,
    };
    run.live.state = { ...state!, txid: file.maxTxid };
    const before = run.live.pending.length;
    timing.whileWaiting(run.live);
    if (run.live.pending.length < before) {
      mergedBytes += run.live.pending.at(-1)!.sizeBytes;
    }
    most = Math.max(most, run.live.pending.length);
  }
  const allBytes = later.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(most).toBeLessThan(200);
  expect(mergedBytes).toBeLessThan(allBytes * 2);
});
