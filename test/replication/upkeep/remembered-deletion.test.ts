/**
 * Deletions of a watch that remembers its objects: what others did to the bucket since the last listing never
 * costs an object that a restore still needs.
 */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { expire } from "../../../src/replication/upkeep/expiry.ts";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { applyRetention } from "../../../src/replication/upkeep/retention.ts";
import { listObjects, rememberedObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import { configWith, DEFAULT_CONFIG } from "../../support/config.ts";
import { failureOf } from "../../support/failure-of.ts";
import { editMetadata, rewriteObject } from "../../support/histories/changed-object.ts";
import { BENCH_START_MS, compactionBench } from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { DAY_MS } from "../../support/shifted-clock.ts";
import { tempFolder } from "../../support/temp.ts";

const COUNT = 12;
const POLICY = { ...DEFAULT_CONFIG.compaction, preserveRecent: 1 };
const NONE = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };

/** A bench whose store remembers, with a merge of TXIDs 2 to 12 that expires them, and increment 13. */
async function rememberingBench() {
  const bench = await compactionBench(COUNT);
  const { env, name } = bench.target;
  const index = new ObjectIndex({ folder: tempFolder("index") });
  const store = new RememberingStore(bench.store, name, index, env);
  const target = { ...bench.target, store };
  const progress = new CompactionProgress();
  const [made] = await compactInto(target, 1, progress);
  await putTiny(store, "app", bench.history.commit(BENCH_START_MS + 60_000));
  await listObjects(store, "app");
  bench.setNow(BENCH_START_MS + 10_000 * DAY_MS);
  bench.store.calls.length = 0;
  /** Expires as the upkeep of a watch does. */
  const expireNow = async (): Promise<readonly string[]> =>
    (await expire(target, await rememberedObjects(store, name), POLICY, progress)).deleted;
  const deletes = (): string[] => bench.store.calls.filter((call) => call.startsWith("delete "));
  return { ...bench, remembering: store, target, progress, mergedKey: made!.key, expireNow, deletes };
}

type Bench = Awaited<ReturnType<typeof rememberingBench>>;

/** Changes by others to the merge, and the code of the error. */
const CHANGES: readonly (readonly [what: string, act: (bench: Bench) => Promise<unknown>, code: string])[] = [
  ["is deleted", ({ store, mergedKey }) => store.inner.delete([mergedKey]), "not-found"],
  [
    "has another SHA-256 in its metadata",
    ({ store, mergedKey }) => editMetadata(store.inner, mergedKey, { sha256: "ab".repeat(32) }),
    "integrity",
  ],
  [
    "has lost its metadata, and other bytes",
    ({ store, mergedKey }) => rewriteObject(store.inner, mergedKey, { dropsChecksums: true }),
    "integrity",
  ],
];

describe("expiry from memory", () => {
  test("asks the store once for each merge, and lists nothing", async () => {
    const { store, expireNow, mergedKey } = await rememberingBench();
    expect(await expireNow()).toHaveLength(COUNT - 1);
    expect(store.calls).toHaveLength(2);
    expect(store.calls[0]).toBe(`head ${mergedKey}`);
    expect(store.calls[1]).toStartWith("delete ");
  });

  test.each(CHANGES)("deletes no source of a merge that %s", async (_, act, code) => {
    const bench = await rememberingBench();
    await act(bench);
    bench.store.calls.length = 0;
    expect(await failureOf(bench.expireNow())).toMatchObject({ code, context: { key: bench.mergedKey } });
    expect(bench.deletes()).toEqual([]);
    // Nor does the next try, which judges the object anew.
    await bench.expireNow().catch(() => {});
    expect(bench.deletes()).toEqual([]);
    const sound = (await listObjects(bench.store, "app")).filter(({ key }) => key !== bench.mergedKey);
    expect(planRestore(sound, null)).toMatchObject({ kind: "plan", txid: COUNT + 1 });
  });
});

// A snapshot that bridges a gap is retained. What is remembered does not show the gap.
test("retention lists the bucket before it deletes, and so retains what bridges a new gap", async () => {
  const bench = await rememberingBench();
  const { remembering, history, target, store } = bench;
  for (let txid = 14; txid <= 20; txid++) {
    await putTiny(remembering, "app", history.commit(BENCH_START_MS + 40 * DAY_MS + txid * 1000));
    if (txid % 2 === 0) await putTiny(remembering, "app", history.snapshot());
  }
  // Others deleted TXID 15, so that only the snapshot of 16 leads to 17.
  const gap = (await listObjects(store, "app")).filter(({ minTxid, level }) => level === 0 && minTxid === 15);
  await store.inner.delete(gap.map(({ key }) => key));
  store.calls.length = 0;
  const policy = { ...NONE, monthly: 2 };
  await applyRetention(target, policy, true, new CompactionProgress());
  const left = await listObjects(store.inner, "app");
  expect(left.filter(({ level }) => level === 9).map(({ maxTxid }) => Number(maxTxid))).toEqual([
    1, 16, 18, 20,
  ]);
  expect(planRestore(left, 17 as Txid)).toMatchObject({ kind: "plan", txid: 17 });
  expect(store.calls.filter((call) => call.startsWith("list ")).length).toBeGreaterThan(0);
});

test("retention that has nothing to delete lists nothing", async () => {
  const { target, store } = await rememberingBench();
  await applyRetention(target, { ...NONE, hourly: 100 }, true, new CompactionProgress());
  expect(store.calls.filter((call) => call.startsWith("list "))).toEqual([]);
});

// Regression: a run for level 2, or for deletions, began the count of the waiting increments anew.
test("Maintenance counts the increments that wait for level 1 over runs for other levels", async () => {
  const { target } = await rememberingBench();
  const levelsMs = [3_600_000, 500_000, 3_600_000];
  const maintenance = new Maintenance(configWith({ compaction: { levelsMs, threshold: 12 } }), 0);
  const { signal } = new AbortController();
  expect(maintenance.isDue(1, 13, 0)).toBe(false);
  expect(maintenance.isDue(500_000, 20, 0)).toBe(true);
  await maintenance.run(target, 500_000, { txid: 20, bytes: 0 }, signal);
  expect(maintenance.isDue(500_001, 24, 0)).toBe(false);
  expect(maintenance.isDue(500_002, 25, 0)).toBe(true);
});
