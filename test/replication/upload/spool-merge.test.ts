/** Merging pending files: the uploaded history afterwards, and a crash between any two steps of the merge. */
import { expect, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import { loadSpool } from "../../../src/local/spool.ts";
import { readState } from "../../../src/local/state.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import {
  extendMerge,
  mergeLong,
  mergePending,
  planMerge,
} from "../../../src/replication/upload/spool-merge.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { captureNext, spooledHistory } from "../../support/histories/spooled-history.ts";
import type { TinyHistory } from "../../support/histories/tiny-history.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

/** Uploads the pending files and restores every remaining point. @returns their TXIDs */
async function uploadAndJudge(live: LiveDatabase, history: TinyHistory): Promise<number[]> {
  const store = new MemoryStore();
  const { env } = recordingEnv();
  const context = {
    store,
    uploads: new Semaphore(1),
    version: "test",
    env,
    emit: (): void => {},
    keepsSent: false,
  };
  const { signal } = new AbortController();
  for (const lane of ["links", "snapshots"] as const) {
    expect(await uploadPending(live, context, signal, lane)).toEqual({ kind: "drained" });
  }
  const objects = await listObjects(store, "app");
  const txids = [...new Set(objects.map(({ maxTxid }) => maxTxid))].sort((a, b) => a - b);
  for (const txid of txids) {
    const image = await restoredImage(store, "app", txid);
    expect([txid, Buffer.compare(image, history.images.get(txid)!)]).toEqual([txid, 0]);
  }
  return txids.map(Number);
}

/** Replaces the live process's memory by the content of a state folder, as a new process reads it. */
function reloaded(live: LiveDatabase): LiveDatabase {
  const reading = readState(live.paths);
  if (reading.kind !== "state") throw new Error(`the state is ${reading.kind}`);
  const spool = loadSpool(live.paths.spoolFolder, reading.state.txid, reading.state.chain);
  if (spool.kind === "broken") throw new Error(`the spool is broken: ${spool.reason}`);
  return { ...live, state: reading.state, pending: spool.files };
}

test("mergePending merges all but the first increment, and every remaining point is right", async () => {
  const { live, history } = spooledHistory(12);
  const before = live.pending.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const saved = mergePending(live);
  expect(live.pending.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`)).toEqual(["1-1", "2-2", "3-12"]);
  expect(live.pending.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(before - saved);
  expect(readdirSync(live.paths.spoolFolder).length).toBe(3);
  expect(await uploadAndJudge(reloaded(live), history)).toEqual([1, 2, 12]);
});

test("mergePending leaves out files that a power cut may have brought back", async () => {
  const { live, history } = spooledHistory(12);
  live.revivedTxid = 6 as Txid;
  mergePending(live);
  const ranges = live.pending.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
  expect(ranges).toEqual(["1-1", "2-2", "3-3", "4-4", "5-5", "6-6", "7-12"]);
  expect(await uploadAndJudge(live, history)).toEqual([1, 2, 3, 4, 5, 6, 12]);
});

test("mergePending again merges the first result with later files", async () => {
  const { live, history } = spooledHistory(8);
  mergePending(live);
  expect(mergePending(live)).toBe(0);
  expect(await uploadAndJudge(live, history)).toEqual([1, 2, 8]);
});

test.each([1, 2, 3])(
  "mergePending of %d pending files merges none, and each stays a point",
  async (count) => {
    const { live, history } = spooledHistory(count);
    expect(mergePending(live)).toBe(0);
    expect((await uploadAndJudge(live, history)).length).toBe(count);
  },
);

test("mergePending keeps snapshots among the increments, and their chain continues", async () => {
  const { live, history } = spooledHistory(12, [5, 9]);
  mergePending(live);
  expect(await uploadAndJudge(reloaded(live), history)).toEqual([1, 2, 5, 9, 12]);
});

/** The state folder after a crash, by the files of before and after the merge that it holds. */
const CRASHES: readonly [
  when: string,
  merged: boolean,
  state: boolean,
  keptSources: (i: number) => boolean,
][] = [
  ["before anything", false, false, () => true],
  ["after the merged file", true, false, () => true],
  ["after the state", true, true, () => true],
  ["with every other source deleted", true, true, (index) => index % 2 === 0],
  ["with the first sources deleted", true, true, (index) => index > 4],
  ["after all of it", true, true, () => false],
];

test.each(CRASHES)("a crash of mergePending %s loses nothing", async (_, hasMerged, hasState, isKept) => {
  const { live, history } = spooledHistory(12, [7]);
  const { folder, spoolFolder, statePath } = live.paths;
  const sources = live.pending
    .filter(({ level, maxTxid }) => level === 0 && maxTxid > 2)
    .map(({ path }) => path);
  const copy = join(tempFolder("before"), "state");
  cpSync(folder, copy, { recursive: true });
  mergePending(live);
  const mergedName = readdirSync(spoolFolder).find((name) => name.endsWith("0003-000000000000000c.ltx"))!;
  if (!hasMerged) rmSync(join(spoolFolder, mergedName));
  if (!hasState) writeFileSync(statePath, readFileSync(join(copy, "state.json")));
  for (const [index, path] of sources.entries()) {
    if (isKept(index)) writeFileSync(path, readFileSync(path.replace(folder, copy)));
  }
  writeFileSync(join(spoolFolder, `${mergedName}.tmp`), "torn");
  const again = reloaded(live);
  const txids = await uploadAndJudge(again, history);
  expect(txids).toEqual(hasState ? [1, 2, 7, 12] : [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(readdirSync(spoolFolder).filter((name) => name.startsWith("00"))).toEqual([]);
});

test("mergePending of a damaged file changes nothing", async () => {
  const { live } = spooledHistory(9);
  // As after a restart: the bytes of the capture are not in memory any more.
  live.pending[5] = { ...live.pending[5]! };
  const before = [...live.pending];
  const path = live.pending[5]!.path;
  const bytes = readFileSync(path);
  bytes[130]! ^= 1;
  writeFileSync(path, bytes);
  const { state } = live;
  expect(() => mergePending(live)).toThrow();
  expect(live.pending).toEqual(before);
  expect(live.state).toBe(state);
  expect(readdirSync(live.paths.spoolFolder).length).toBe(9);
  expect(reloaded(live).pending.length).toBe(9);
});

test.each(["whole", "torn"])("a merge into a level, left %s by a crash, is no pending file", (how) => {
  const { live } = spooledHistory(3);
  const first = live.pending[1]!;
  const bytes = readFileSync(first.path);
  const name = "0001-0000000000000002-0000000000000002.ltx";
  writeFileSync(join(live.paths.spoolFolder, name), how === "whole" ? bytes : bytes.subarray(0, 50));
  for (const { path } of live.pending) rmSync(path);
  expect(reloaded(live).pending).toEqual([]);
});

// Regression: the merge ended before the state's TXID and gave the state its own chain value.
test("mergeLong changes nothing when a capture has come since the plan", async () => {
  const { live, history } = spooledHistory(8);
  const plan = planMerge(live, 2)!;
  captureNext(live, history);
  await mergeLong(live, plan, recordingEnv().env);
  expect(live.pending.length).toBe(9);
  expect(await uploadAndJudge(reloaded(live), history)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("extendMerge adds the captures since the plan, so that the merge reaches to the newest", async () => {
  const { live, history } = spooledHistory(8);
  const plan = planMerge(live, 2)!;
  captureNext(live, history);
  captureNext(live, history);
  await mergeLong(live, extendMerge(live, plan), recordingEnv().env);
  expect(live.pending.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`)).toEqual(["1-1", "2-2", "3-10"]);
  expect(await uploadAndJudge(reloaded(live), history)).toEqual([1, 2, 10]);
});

test("mergeLong changes nothing when its sources were merged since the plan", async () => {
  const { live, history } = spooledHistory(8);
  const plan = planMerge(live, 4)!;
  mergePending(live);
  await mergeLong(live, plan, recordingEnv().env);
  expect(await uploadAndJudge(reloaded(live), history)).toEqual([1, 2, 8]);
});
