/**
 * Retention deletes older snapshots only after it has read the newest retained ones back and found them
 * whole.
 */
import { describe, expect, test } from "bun:test";
import type { RetentionConfig } from "../../../src/config/config.ts";
import { SNAPSHOT_LEVEL } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { CompactionProgress } from "../../../src/replication/upkeep/compaction.ts";
import { applyRetention } from "../../../src/replication/upkeep/retention.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { editMetadata, rewriteObject } from "../../support/histories/changed-object.ts";
import { BENCH_START_MS, compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { type keysAt, readObject } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import type { FaultyStore } from "../../support/servers/faulty-store.ts";
import { DAY_MS } from "../../support/shifted-clock.ts";

const TWO: RetentionConfig = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };

/** Increments up to 10 with snapshots of 1, 2, 4, 6, 8 and 10; their keys by TXID. */
async function benchOf() {
  const bench = await compactionBench(2);
  const { env, lines } = recordingEnv();
  const target = { store: bench.store, name: "app", env };
  const snapshot = (): Promise<string> => putTiny(bench.store, "app", bench.history.snapshot());
  const commit = (): Promise<string> => {
    const object = bench.history.commit(BENCH_START_MS + (bench.history.txid + 1) * 1000);
    return putTiny(bench.store, "app", object);
  };
  const keys = new Map<number, string>([[2, await snapshot()]]);
  for (let txid = 3; txid <= 10; txid++) {
    await commit();
    if (txid % 2 === 0) keys.set(txid, await snapshot());
  }
  bench.store.calls.length = 0;
  /** Whole reads of snapshots since the last call; ranged gets of their headers do not count. */
  const reads = (): string[] => {
    const calls = bench.store.calls.filter((call) => call.startsWith("get app/0009/"));
    bench.store.calls.length = 0;
    return calls;
  };
  return { ...bench, target, lines, keys, snapshot, commit, reads };
}

async function snapshotTxids(store: Parameters<typeof keysAt>[0]): Promise<number[]> {
  const objects = await listObjects(store, "app");
  return objects.filter(({ level }) => level === SNAPSHOT_LEVEL).map(({ maxTxid }) => Number(maxTxid));
}

test("retention of whole snapshots reads the newest two back, once each", async () => {
  const { store, target, snapshot, commit, reads } = await benchOf();
  const progress = new CompactionProgress();
  await applyRetention(target, TWO, true, progress);
  expect(await snapshotTxids(store)).toEqual([8, 10]);
  // Six headers to judge the snapshots, and two whole snapshots.
  expect(reads()).toHaveLength(8);
  // The times of the headers are remembered.
  await applyRetention(target, TWO, true, progress);
  expect(reads()).toHaveLength(0);
  await commit();
  await snapshot();
  reads();
  await applyRetention(target, TWO, true, progress);
  expect(await snapshotTxids(store)).toEqual([10, 11]);
  expect(reads()).toHaveLength(2);
  expect([...progress.snapshots.sound.keys()].map(Number)).toEqual([10, 11]);
});

/** Cuts an object in two, and keeps its metadata. */
async function cut(store: ObjectStore, key: string): Promise<void> {
  const { bytes, metadata } = await readObject(store, key);
  await store.put(key, { kind: "bytes", bytes: bytes.slice(0, 50) }, { metadata });
}

/** Changes by others to the newest snapshot after this process has read it back. */
const LATER_HARM: readonly (readonly [
  what: string,
  harm: (store: FaultyStore, key: string) => Promise<void>,
])[] = [
  ["is cut, with its metadata", (store, key) => cut(store.inner, key)],
  [
    "has lost its metadata, and other bytes",
    (store, key) => rewriteObject(store.inner, key, { dropsChecksums: true }),
  ],
  ["states another SHA-256", (store, key) => editMetadata(store.inner, key, { sha256: "ab".repeat(32) })],
];

// Regression: a snapshot that was once read back counted as sound for ever.
test.each(LATER_HARM)("retention does not rely on a snapshot that %s", async (_, harm) => {
  const { store, target, keys, snapshot, commit } = await benchOf();
  const progress = new CompactionProgress();
  await applyRetention(target, TWO, true, progress);
  await commit();
  await snapshot();
  await harm(store, keys.get(10)!);
  await applyRetention(target, TWO, true, progress);
  expect(await snapshotTxids(store)).toEqual([8, 10, 11]);
});

// Regression: the time of a snapshot was remembered, whatever became of the snapshot.
test("retention counts no snapshot of another size than the one whose time it remembers", async () => {
  const { store, target, keys } = await benchOf();
  const progress = new CompactionProgress();
  await applyRetention(target, TWO, false, progress);
  await cut(store.inner, keys.get(4)!);
  await applyRetention(target, TWO, true, progress);
  expect(await snapshotTxids(store)).toEqual([4, 8, 10]);
});

test("a plan of retention reads nothing back", async () => {
  const { store, target, keys, reads } = await benchOf();
  await flip(store.inner, keys.get(10)!, 150);
  const { deleted } = await applyRetention(target, TWO, false, new CompactionProgress());
  expect(deleted.length).toBeGreaterThan(0);
  expect(reads()).toHaveLength(6);
  expect(await snapshotTxids(store)).toEqual([1, 2, 4, 6, 8, 10]);
});

// Regression: a damaged snapshot counted as one of the newest two, and retention deleted the older whole one
// with its increments.
test.each([
  ["the newest", [10], [6, 8, 10]],
  ["the one before", [8], [6, 8, 10]],
  ["both", [8, 10], [4, 6, 8, 10]],
  ["all but the first two", [4, 6, 8, 10], [1, 2, 4, 6, 8, 10]],
] as const)("retention does not count a damaged snapshot: %s", async (_, damaged, left) => {
  for (const offset of [20, 150]) {
    const { store, target, keys, lines } = await benchOf();
    for (const txid of damaged) await flip(store.inner, keys.get(txid)!, offset);
    await applyRetention(target, TWO, true, new CompactionProgress());
    expect(await snapshotTxids(store)).toEqual([...left]);
    const bad = damaged.map((txid) => keys.get(txid)!);
    for (const key of bad) {
      const said = lines.filter(({ level, message }) => level === "warn" && message.includes(key));
      expect(said).toHaveLength(1);
      expect(said[0]!.message).toContain("walrust verify app");
    }
    // Without the damaged object, the newest two whole ones lead to the newest TXID.
    const sound = (await listObjects(store, "app")).filter(({ key }) => !bad.includes(key));
    expect(planRestore(sound, null)).toMatchObject({ kind: "plan", txid: 10 });
  }
});

test("retention deletes a damaged snapshot once two whole ones have replaced it", async () => {
  const { store, target, keys, snapshot, commit } = await benchOf();
  await flip(store.inner, keys.get(10)!, 150);
  const progress = new CompactionProgress();
  for (let round = 0; round < 2; round++) {
    await applyRetention(target, TWO, true, progress);
    expect(await snapshotTxids(store)).toContain(8);
    await commit();
    await snapshot();
  }
  await applyRetention(target, TWO, true, progress);
  expect(await snapshotTxids(store)).toEqual([11, 12]);
});

test("retention that cannot read a snapshot back deletes nothing", async () => {
  const { store, target, keys } = await benchOf();
  store.before = (operation, key) => {
    if (operation === "get" && key === keys.get(8)) throw new Error("the network is down");
  };
  await expect(applyRetention(target, TWO, true, new CompactionProgress())).rejects.toThrow(
    "network is down",
  );
  expect(await snapshotTxids(store)).toEqual([1, 2, 4, 6, 8, 10]);
});

describe("retention of three days with two snapshots each, which keeps one a day", () => {
  const DAILY: RetentionConfig = { ...TWO, daily: 3 };

  /** Snapshots of TXIDs 3 and 4 on the first day, 5 and 6 on the second, 7 and 8 on the third. */
  async function daysBench() {
    const bench = await compactionBench(2);
    const { env } = recordingEnv();
    const keys = new Map<number, string>();
    for (let txid = 3; txid <= 8; txid++) {
      const timeMs = BENCH_START_MS + Math.floor((txid - 3) / 2) * DAY_MS + txid * 1000;
      await putTiny(bench.store, "app", bench.history.commit(timeMs));
      keys.set(txid, await putTiny(bench.store, "app", bench.history.snapshot()));
    }
    bench.store.calls.length = 0;
    return { ...bench, target: { store: bench.store, name: "app", env }, keys };
  }

  test("reads the oldest snapshot that is retained, beside the newest two", async () => {
    const { store, target, keys } = await daysBench();
    await applyRetention(target, DAILY, true, new CompactionProgress());
    expect(await snapshotTxids(store)).toEqual([4, 6, 7, 8]);
    const readsOf = (txid: number): number =>
      store.calls.filter((call) => call === `get ${keys.get(txid)!}`).length;
    // One ranged get of the header, and one get of the whole.
    expect([4, 6, 7, 8].map(readsOf)).toEqual([2, 1, 2, 2]);
  });

  // Regression: no path led to TXIDs 4 and 5, because the snapshot and increments before them were deleted.
  test("retains an older snapshot in place of a damaged one, and reads the damaged one once", async () => {
    const { store, target, keys } = await daysBench();
    await flip(store.inner, keys.get(4)!, 150);
    const progress = new CompactionProgress();
    await applyRetention(target, DAILY, true, progress);
    expect(await snapshotTxids(store)).toEqual([3, 4, 6, 7, 8]);
    const sound = (await listObjects(store, "app")).filter(({ key }) => key !== keys.get(4));
    expect(planRestore(sound, 5 as Txid)).toMatchObject({ kind: "plan", txid: 5 });
    store.calls.length = 0;
    await applyRetention(target, DAILY, true, progress);
    expect(store.calls.filter((call) => call === `get ${keys.get(4)!}`)).toHaveLength(0);
    expect(await snapshotTxids(store)).toEqual([3, 4, 6, 7, 8]);
  });
});
