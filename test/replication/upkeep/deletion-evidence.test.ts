/**
 * Compaction and retention delete nothing on weaker evidence than a restore demands. Each object here is a
 * sound LTX file with one fault of its own; or others have changed the bucket since the last listing of a
 * watch that remembers its objects.
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
import { editMetadata, rewriteObject, stripMetadata } from "../../support/histories/changed-object.ts";
import {
  BENCH_START_MS,
  type CompactionBench,
  compactionBench,
} from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { DAY_MS } from "../../support/shifted-clock.ts";
import { tempFolder } from "../../support/temp.ts";

const COUNT = 12;
const OTHER = "ab".repeat(32);
const LATE = "2031-01-01T00:00:00.000Z";
const POLICY = { ...DEFAULT_CONFIG.compaction, preserveRecent: 1 };
const SOURCE_KEYS = Array.from({ length: COUNT - 1 }, (_, index) => index + 2);

/** An old merge of TXIDs 2 to 12 on level 1, and increment 13 after it. */
async function mergedBench(): Promise<CompactionBench & { mergedKey: string }> {
  const bench = await compactionBench(COUNT);
  const [made] = await compactInto(bench.target, 1, new CompactionProgress());
  await putTiny(bench.store, "app", bench.history.commit(BENCH_START_MS + 60_000));
  bench.setNow(BENCH_START_MS + 10_000 * DAY_MS);
  return { ...bench, mergedKey: made!.key };
}

/** Expires as after a restart, when no object counts as verified. */
async function expireAnew({ store, target }: CompactionBench): Promise<readonly string[]> {
  const objects = await listObjects(store, "app");
  return (await expire(target, objects, POLICY, new CompactionProgress())).deleted;
}

async function assertKept({ store, keys }: CompactionBench): Promise<void> {
  for (const txid of SOURCE_KEYS) await store.head(keys.get(txid)!);
  expect(store.calls.filter((call) => call.startsWith("delete "))).toEqual([]);
}

type Act = (bench: CompactionBench & { mergedKey: string }) => Promise<void>;

/** Puts another history's merge of the same TXIDs, without its metadata. */
async function putForeign({ store, mergedKey }: CompactionBench & { mergedKey: string }): Promise<void> {
  const other = await compactionBench(COUNT + 20);
  for (let txid = COUNT + 1; txid <= COUNT + 20; txid++) await other.store.delete([other.keys.get(txid)!]);
  await compactInto(other.target, 1, new CompactionProgress());
  const { bytes } = await readObject(other.store, mergedKey);
  await store.put(mergedKey, { kind: "bytes", bytes }, { metadata: {} });
}

const REFUSED: readonly (readonly [what: string, act: Act, said: string])[] = [
  [
    "has another time in its metadata than in its header",
    ({ store, mergedKey }) => editMetadata(store, mergedKey, { "litestream-timestamp": LATE }),
    "in its metadata",
  ],
  [
    "has another chain value than its last source",
    ({ store, mergedKey }) => editMetadata(store, mergedKey, { chain: OTHER }),
    "has chain value",
  ],
  [
    "continues another chain value than its first source",
    ({ store, mergedKey }) => editMetadata(store, mergedKey, { "prev-chain": OTHER }),
    "continues chain value",
  ],
  [
    "has another SHA-256 than its metadata states",
    ({ store, mergedKey }) => editMetadata(store, mergedKey, { sha256: OTHER }),
    "has SHA-256",
  ],
  ["is of another history, and has no metadata", putForeign, "database checksum"],
  [
    "has no metadata, and other pages under the same checksums",
    ({ store, mergedKey }) => rewriteObject(store, mergedKey, { flipsPage: true }),
    "its content differs from its sources",
  ],
  [
    "has no metadata and no checksums, where its sources have both",
    ({ store, mergedKey }) => rewriteObject(store, mergedKey, { dropsChecksums: true }),
    "its content differs from its sources",
  ],
  [
    "has another time than its newest source, and no metadata",
    ({ store, mergedKey }) => rewriteObject(store, mergedKey, { header: { timestampMs: 1 } }),
    "its content differs from its sources",
  ],
];

describe("expire deletes no source of a merge that", () => {
  test.each(REFUSED)("%s", async (_, act, said) => {
    const bench = await mergedBench();
    await act(bench);
    bench.store.calls.length = 0;
    const error = await failureOf(expireAnew(bench));
    expect(error).toMatchObject({ code: "integrity", context: { key: bench.mergedKey } });
    expect(error.message).toContain(said);
    await assertKept(bench);
  });

  test("lost its metadata, if a source that would prove it is missing", async () => {
    const bench = await mergedBench();
    await stripMetadata(bench.store, bench.mergedKey);
    await bench.store.delete([bench.keys.get(5)!]);
    bench.store.calls.length = 0;
    expect(await expireAnew(bench)).toEqual([]);
    expect(bench.store.calls.filter((call) => call.startsWith("delete "))).toEqual([]);
  });
});

const ACCEPTED: readonly (readonly [what: string, act: Act])[] = [
  ["is sound", async () => {}],
  [
    "lost its SHA-256, and has the content of its sources",
    ({ store, mergedKey }) => editMetadata(store, mergedKey, { sha256: null }),
  ],
  [
    "lost all metadata, and has the content of its sources",
    ({ store, mergedKey }) => stripMetadata(store, mergedKey),
  ],
  [
    "lost all metadata, as every object did behind a gateway",
    async ({ store }) => {
      for (const { key } of await listObjects(store, "app")) await stripMetadata(store, key);
    },
  ],
  [
    "is Litestream's, as its sources are: no metadata, no checksums",
    async ({ store }) => {
      for (const { key } of await listObjects(store, "app")) {
        await rewriteObject(store, key, { dropsChecksums: true });
      }
    },
  ],
];

test.each(ACCEPTED)("expire deletes the sources of a merge that %s", async (_, act) => {
  const bench = await mergedBench();
  await act(bench);
  bench.setNow(BENCH_START_MS + 20_000 * DAY_MS);
  expect(await expireAnew(bench)).toEqual(SOURCE_KEYS.map((txid) => bench.keys.get(txid)!));
});

const BAD_SOURCES: readonly (readonly [
  what: string,
  changes: Readonly<Record<string, string>>,
  said: string,
])[] = [
  ["another time", { "litestream-timestamp": LATE }, "in its metadata"],
  ["a chain value that does not follow", { chain: OTHER }, "does not follow"],
  ["another chain value before it", { "prev-chain": OTHER }, "continues chain value"],
  ["another SHA-256", { sha256: OTHER }, "has SHA-256"],
];

test.each(BAD_SOURCES)("compaction names a source with %s, without merging it", async (_, changes, said) => {
  const { store, target, keys } = await compactionBench(COUNT);
  await editMetadata(store, keys.get(5)!, changes);
  store.calls.length = 0;
  const error = await failureOf(compactInto(target, 1, new CompactionProgress()));
  expect(error).toMatchObject({ code: "integrity", context: { key: keys.get(5)! } });
  expect(error.message).toContain(said);
  expect(store.calls.filter((call) => /^(put|delete) /.test(call))).toEqual([]);
});

describe("an object at the key of a merge", () => {
  /** Merges again onto a taken key. */
  async function mergeAgain({ target }: CompactionBench): Promise<CompactionProgress> {
    const progress = new CompactionProgress();
    progress.covered[1] = 0;
    await compactInto(target, 1, progress);
    return progress;
  }

  test.each([
    ["of another history, without metadata", putForeign],
    ["with other pages", (bench) => rewriteObject(bench.store, bench.mergedKey, { flipsPage: true })],
    [
      "with another time",
      (bench) => rewriteObject(bench.store, bench.mergedKey, { header: { timestampMs: 1 } }),
    ],
    ["with another chain value", (bench) => editMetadata(bench.store, bench.mergedKey, { chain: OTHER })],
  ] as readonly (readonly [string, Act])[])("%s is not taken for it, and stays", async (_, act) => {
    const bench = await compactionBench(COUNT);
    const [made] = await compactInto(bench.target, 1, new CompactionProgress());
    await act({ ...bench, mergedKey: made!.key });
    bench.store.calls.length = 0;
    const error = await failureOf(mergeAgain(bench));
    expect(error).toMatchObject({ code: "integrity", context: { key: made!.key } });
    await assertKept(bench);
  });

  test("without metadata, but with the same content, is accepted as the merge", async () => {
    const bench = await compactionBench(COUNT);
    const [made] = await compactInto(bench.target, 1, new CompactionProgress());
    // The node id changes the bytes of the same pages.
    await rewriteObject(bench.store, made!.key, { header: { nodeId: 7n } });
    expect([...(await mergeAgain(bench)).verified.keys()]).toEqual([made!.key]);
  });
});

describe("retention", () => {
  /** Increments up to 8 with snapshots of 1, 4, 6 and 8; their keys by TXID. */
  async function snapshotBench() {
    const bench = await compactionBench(2);
    const keys = new Map<number, string>();
    for (let txid = 3; txid <= 8; txid++) {
      await putTiny(bench.store, "app", bench.history.commit(BENCH_START_MS + txid * 1000));
      if (txid % 2 === 0) keys.set(txid, await putTiny(bench.store, "app", bench.history.snapshot()));
    }
    return { ...bench, snapshotKeys: keys };
  }

  /** The remaining snapshots after a retention of two. */
  async function snapshotsLeft({ store, target }: CompactionBench): Promise<number[]> {
    const policy = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
    await applyRetention(target, policy, true, new CompactionProgress());
    const objects = await listObjects(store, "app");
    return objects.filter(({ level }) => level === 9).map(({ maxTxid }) => Number(maxTxid));
  }

  type Change = (bench: CompactionBench, key: string) => Promise<void>;
  const DAMAGE: readonly (readonly [what: string, act: Change])[] = [
    ["has another time", ({ store }, key) => editMetadata(store, key, { "litestream-timestamp": LATE })],
    ["has another chain value", ({ store }, key) => editMetadata(store, key, { chain: OTHER })],
    ["has another SHA-256", ({ store }, key) => editMetadata(store, key, { sha256: OTHER })],
    [
      "has neither metadata nor checksums, where the increments have both",
      ({ store }, key) => rewriteObject(store, key, { dropsChecksums: true }),
    ],
    [
      "is of another history, and has no metadata",
      async ({ store }, key) => {
        const other = await compactionBench(30);
        const foreign = await readObject(other.store, await putSnapshotOf(other, 8));
        await store.put(key, { kind: "bytes", bytes: foreign.bytes }, { metadata: {} });
      },
    ],
  ];

  /** Puts the state of a history at one TXID as a snapshot of another TXID. */
  async function putSnapshotOf({ store, history }: CompactionBench, txid: number): Promise<string> {
    const { maxTxid, ...snapshot } = history.snapshot();
    const key = await putTiny(store, "app", { ...snapshot, maxTxid });
    await rewriteObject(store, key, { header: { maxTxid: txid as typeof maxTxid } });
    return key;
  }

  test.each(DAMAGE)("does not count a snapshot that %s", async (_, act) => {
    const bench = await snapshotBench();
    await act(bench, bench.snapshotKeys.get(8)!);
    expect(await snapshotsLeft(bench)).toEqual([4, 6, 8]);
  });

  test("counts a snapshot without metadata: its database checksum proves its pages", async () => {
    const bench = await snapshotBench();
    for (const key of bench.snapshotKeys.values()) await stripMetadata(bench.store, key);
    expect(await snapshotsLeft(bench)).toEqual([6, 8]);
  });

  test("counts a snapshot by Litestream: a restore also has only its LTX checksums", async () => {
    const bench = await snapshotBench();
    for (const { key } of await listObjects(bench.store, "app")) {
      await rewriteObject(bench.store, key, { dropsChecksums: true });
    }
    expect(await snapshotsLeft(bench)).toEqual([6, 8]);
  });
});

const NONE = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };

/** A bench whose store remembers, with a merge of TXIDs 2 to 12 that expires them, and increment 13. */
async function rememberingBench(inner = new MemoryStore()) {
  const bench = await compactionBench(COUNT, () => false, inner);
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
const CHANGES_BY_OTHERS: readonly (readonly [
  what: string,
  act: (bench: Bench) => Promise<unknown>,
  code: string,
])[] = [
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

// Regression: the merge was compared with its listed size, not with the size that was judged.
test("expiry deletes no source of a merge that was cut and then listed anew", async () => {
  const bench = await rememberingBench();
  const { bytes, metadata } = await readObject(bench.store, bench.mergedKey);
  const half = bytes.slice(0, bytes.length / 2);
  await bench.store.inner.put(bench.mergedKey, { kind: "bytes", bytes: half }, { metadata });
  await listObjects(bench.remembering, "app");
  expect(await failureOf(bench.expireNow())).toMatchObject({ context: { key: bench.mergedKey } });
  expect(bench.deletes()).toEqual([]);
});

// Regression: other bytes of the same size, under the same metadata, passed for the merge that was judged.
test("expiry deletes no source of a merge for which the store states another checksum", async () => {
  const bench = await rememberingBench(new MemoryStore({ hasChecksums: true }));
  const { bytes, metadata } = await readObject(bench.store, bench.mergedKey);
  await bench.store.inner.put(bench.mergedKey, { kind: "bytes", bytes: bytes.toReversed() }, { metadata });
  for (let time = 0; time < 3; time++) {
    expect(await failureOf(bench.expireNow())).toMatchObject({ context: { key: bench.mergedKey } });
  }
  expect(bench.deletes()).toEqual([]);
  await bench.store.inner.put(bench.mergedKey, { kind: "bytes", bytes }, { metadata });
  expect(await bench.expireNow()).toHaveLength(COUNT - 1);
});

// Regression: without a SHA-256, any object of the same size passed for the one that was judged.
test("expiry judges a merge without a SHA-256 right before it deletes the sources", async () => {
  const bench = await rememberingBench();
  const { store, mergedKey, progress, remembering } = bench;
  const { bytes } = await readObject(store, mergedKey);
  // As after a merge onto this object, which then had no metadata and the same content.
  progress.verified.set(mergedKey, null);
  await store.inner.put(mergedKey, { kind: "bytes", bytes: bytes.toReversed() });
  await listObjects(remembering, "app");
  store.calls.length = 0;
  expect(await failureOf(bench.expireNow())).toMatchObject({ context: { key: mergedKey } });
  expect(bench.deletes()).toEqual([]);
});

describe("expiry from memory", () => {
  test("asks the store once for each merge, and lists nothing", async () => {
    const { store, expireNow, mergedKey } = await rememberingBench();
    expect(await expireNow()).toHaveLength(COUNT - 1);
    expect(store.calls).toHaveLength(2);
    expect(store.calls[0]).toBe(`head ${mergedKey}`);
    expect(store.calls[1]).toStartWith("delete ");
  });

  test.each(CHANGES_BY_OTHERS)("deletes no source of a merge that %s", async (_, act, code) => {
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

// Regression: the index remembered our own clock at the put, so a host that booted with an old time deleted
// sources at once when its clock was set.
test("expiry from memory counts the lifetime from the time that the store states", async () => {
  const bench = await rememberingBench();
  // The store has the merge since this moment; the clock of this host was days behind.
  const storedMs = BENCH_START_MS + 10_000 * DAY_MS - 1000;
  const { inner } = bench.store;
  const head = inner.head.bind(inner);
  inner.head = async (key, options) => ({ ...(await head(key, options)), modifiedMs: storedMs });
  expect(await bench.expireNow()).toEqual([]);
  expect(bench.deletes()).toEqual([]);
  bench.setNow(storedMs + POLICY.lifetimesMs[0]!);
  expect(await bench.expireNow()).toHaveLength(COUNT - 1);
});

// Regression: the wrong size of a damaged source was remembered, so that compaction, expiry and retention
// failed for up to a day after the repair.
test("Maintenance lists the bucket anew after a job that found a damaged object", async () => {
  const bench = await compactionBench(COUNT);
  const { name, env } = bench.target;
  const index = new ObjectIndex({ folder: tempFolder("index") });
  const target = { ...bench.target, store: new RememberingStore(bench.store, name, index, env) };
  const maintenance = new Maintenance(configWith({ compaction: { levelsMs: [1, 1, 1] } }), 0);
  const run = (nowMs: number): Promise<unknown[]> =>
    maintenance.run(target, nowMs, { txid: COUNT, bytes: 0 }, new AbortController().signal);
  const key = bench.keys.get(5)!;
  const { bytes, metadata } = await readObject(bench.store, key);
  await bench.store.inner.put(key, { kind: "bytes", bytes: bytes.slice(0, 150) }, { metadata });
  expect((await failureOf(run(1))).context).toMatchObject({ key });
  expect((await failureOf(run(2))).context).toMatchObject({ key });
  await bench.store.inner.put(key, { kind: "bytes", bytes }, { metadata });
  expect(await run(3)).toHaveLength(3);
  bench.store.calls.length = 0;
  await run(4);
  expect(bench.store.calls.filter((call) => call.startsWith("list "))).toEqual([]);
});

// A snapshot that bridges a gap is retained. The remembered objects do not show the gap.
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
