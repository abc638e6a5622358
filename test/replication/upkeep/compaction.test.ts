/**
 * Merging: the merged object compared with its sources one by one, its metadata, and the origin of the
 * sources.
 */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Env } from "../../../src/env.ts";
import { hex, nextChain, sha256 } from "../../../src/format/chain.ts";
import { LtxDecoder } from "../../../src/format/ltx-decoder.ts";
import { CHECKSUM_FLAG, type Checksum, type Txid } from "../../../src/format/types.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { closeSources, type MergeSource } from "../../../src/replication/upkeep/merge-sources.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { encodeSample, type SamplePage, sampleHeader } from "../../format/samples.ts";
import { failureOf } from "../../support/failure-of.ts";
import { applied, BENCH_START_MS, compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { putTiny, TINY_WRITER } from "../../support/histories/tiny-history.ts";
import { keysAt, readObject } from "../../support/oracles/history-oracle.ts";
import { tempFolder } from "../../support/temp.ts";

const SOURCES: readonly [where: string, isLocal: (txid: number) => boolean][] = [
  ["the bucket", () => false],
  ["the spool", () => true],
  ["both, in turn", (txid) => txid % 2 === 0],
];

test.each(SOURCES)("compactInto from %s gives the state of the sources one by one", async (_, isLocal) => {
  const { history, store, target, keys } = await compactionBench(24, isLocal);
  const [made] = await compactInto(target, 1, new CompactionProgress());
  expect(made).toMatchObject({ level: 1, minTxid: 2, maxTxid: 24, sources: 23 });
  const key = "app/0001/0000000000000002-0000000000000018.ltx";
  expect(made!.key).toBe(key);
  let image: Uint8Array = history.images.get(1)!;
  for (let txid = 2; txid <= 24; txid++) image = await applied(store, keys.get(txid)!, image);
  expect(Buffer.compare(image, history.images.get(24)!)).toBe(0);
  expect(Buffer.compare(await applied(store, key, history.images.get(1)!), image)).toBe(0);
});

test.each(SOURCES)(
  "compactInto from %s reads no other source and leaves no file behind",
  async (_, isLocal) => {
    const { store, target, keys } = await compactionBench(9, isLocal);
    const before = readdirSync(target.spoolFolder, { recursive: true }).sort();
    const [made] = await compactInto(target, 1, new CompactionProgress());
    const wanted = [...keys].filter(([txid]) => txid > 1 && !isLocal(txid)).map(([, key]) => `get ${key}`);
    expect(store.calls.filter((call) => call.startsWith("get "))).toEqual([...wanted, `get ${made!.key}`]);
    expect(readdirSync(target.spoolFolder, { recursive: true }).sort()).toEqual(before);
  },
);

test("a merged object carries the newest time, the chain at both ends, and its writer", async () => {
  const { history, store, target } = await compactionBench(12);
  const [made] = await compactInto(target, 1, new CompactionProgress());
  const { bytes, metadata } = await readObject(store, made!.key);
  const timeMs = BENCH_START_MS + 12_000;
  expect(metadata).toEqual({
    "litestream-timestamp": new Date(timeMs).toISOString(),
    sha256: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
    chain: hex(history.chains.get(12)!),
    "prev-chain": hex(history.chains.get(1)!),
    "walrust-writer": TINY_WRITER,
    "walrust-version": "test",
  });
  const decoder = new LtxDecoder();
  decoder.push(bytes);
  while (decoder.next()) expect(decoder.page.length).toBe(512);
  expect(decoder.header).toMatchObject({ minTxid: 2, maxTxid: 12, timestampMs: timeMs, nodeId: 0n });
  expect(made!.bytes).toBe(bytes.length);
});

test("levels 2 and 3 are merged from the levels below, link after link of the chain", async () => {
  const { history, store, target } = await compactionBench(30);
  const progress = new CompactionProgress();
  await compactInto(target, 1, progress);
  for (const level of [2, 3]) {
    const [made] = await compactInto(target, level, progress);
    expect(made).toMatchObject({ level, minTxid: 2, maxTxid: 30, sources: 1 });
    const { metadata } = await readObject(store, made!.key);
    expect([metadata["prev-chain"], metadata["chain"]]).toEqual([
      hex(history.chains.get(1)!),
      hex(history.chains.get(30)!),
    ]);
    const image = await applied(store, made!.key, history.images.get(1)!);
    expect(Buffer.compare(image, history.images.get(30)!)).toBe(0);
  }
});

test("compactInto again does nothing, with or without its memory of the bucket", async () => {
  const { store, target } = await compactionBench(8);
  const progress = new CompactionProgress();
  expect((await compactInto(target, 1, progress)).length).toBe(1);
  store.calls.length = 0;
  expect(await compactInto(target, 1, progress)).toEqual([]);
  expect(await compactInto(target, 1, new CompactionProgress())).toEqual([]);
  expect(store.puts).toEqual([]);
});

test("compactInto a store with the merges of a lost process continues after them", async () => {
  const { store, target } = await compactionBench(300);
  const made = await compactInto(target, 1, new CompactionProgress());
  expect(made.map(({ minTxid, maxTxid }) => [minTxid, maxTxid].map(Number))).toEqual([
    [2, 129],
    [130, 257],
    [258, 300],
  ]);
  await store.delete(made.slice(1).map(({ key }) => key));
  const again = await compactInto(target, 1, new CompactionProgress());
  expect(again.map(({ key }) => key)).toEqual(made.slice(1).map(({ key }) => key));
});

test("compactInto a folder: the modification time is the newest capture's, to the millisecond", async () => {
  const files = new FileStore({ path: join(tempFolder("bucket"), "new") });
  const { store, target } = await compactionBench(5, () => false, files);
  await compactInto(target, 1, new CompactionProgress());
  const [key] = await keysAt(store, "app", 1);
  expect(key).toBe("app/ltx/1/0000000000000002-0000000000000005.ltx");
  expect((await store.head(key!)).modifiedMs).toBe(BENCH_START_MS + 5000);
});

/** A bench with TXID 1, and increments of this many random pages in the store. */
async function largeBench(pageCounts: readonly number[]) {
  const bench = await compactionBench(1);
  let chain = bench.history.chains.get(1)!;
  for (const [index, pageCount] of pageCounts.entries()) {
    const txid = (index + 2) as Txid;
    const bytes = largeObject(txid, pageCount);
    const previousChain = chain;
    chain = nextChain(previousChain, sha256(bytes));
    const timeMs = BENCH_START_MS + txid;
    const object = { level: 0, minTxid: txid, maxTxid: txid, timeMs, bytes, previousChain, chain };
    await putTiny(bench.store, "app", object);
  }
  bench.store.calls.length = 0;
  return bench;
}

test("compactInto of large objects gives other work a turn for each megabyte of their pages", async () => {
  const pageCount = 1_024;
  const { target } = await largeBench([pageCount, pageCount, pageCount]);
  let turnCount = 0;
  const env: Env = {
    ...target.env,
    turn: async () => {
      turnCount++;
    },
  };
  await compactInto({ ...target, env }, 1, new CompactionProgress());
  // One more turn after each source.
  expect(turnCount - 3).toBeGreaterThanOrEqual((3 * pageCount * LARGE_PAGE_SIZE) / 1024 / 1024);
});

test("compactInto of one large object streams it: the disk holds the merged file alone", async () => {
  const { target, store } = await largeBench([3_000]);
  const spooled: string[][] = [];
  store.before = async (operation) => {
    if (operation === "put") spooled.push(readdirSync(target.spoolFolder).sort());
  };
  const [made] = await compactInto(target, 1, new CompactionProgress());
  const name = "0001-0000000000000002-0000000000000002.ltx";
  expect(spooled).toEqual([[name, "sent"]]);
  expect(store.calls.filter((call) => call.startsWith("get "))).toHaveLength(2);
  const source = await readObject(store, made!.key.replace("/0001/", "/0000/"));
  const merged = await readObject(store, made!.key);
  expect(Buffer.compare(merged.bytes, source.bytes)).toBe(0);
  expect(merged.metadata).toMatchObject({
    chain: source.metadata["chain"]!,
    "prev-chain": source.metadata["prev-chain"]!,
  });
});

test("compactInto of one large object that is damaged makes nothing and leaves no file", async () => {
  const { target, store } = await largeBench([3_000]);
  const [key] = await keysAt(store, "app", 0);
  await flip(store.inner, key!, 9_000_000);
  expect((await failureOf(compactInto(target, 1, new CompactionProgress()))).code).toBe("integrity");
  expect([await keysAt(store, "app", 1), readdirSync(target.spoolFolder)]).toEqual([[], ["sent"]]);
});

test("closeSources closes all sources when one of them fails", () => {
  const closed: string[] = [];
  const source = (name: string, error: Error | null): MergeSource => ({
    ...{ chain: null, previousChain: null, pageSizeBytes: null, read: () => 0 },
    close() {
      closed.push(name);
      if (error !== null) throw error;
    },
  });
  const sources = [source("a", new Error("first")), source("b", new Error("second")), source("c", null)];
  expect(() => closeSources(sources)).toThrow("first");
  expect(closed).toEqual(["a", "b", "c"]);
});

const LARGE_PAGE_SIZE = 4_096;

/** An increment of random pages. */
function largeObject(txid: Txid, pageCount: number): Uint8Array {
  const checksum = (CHECKSUM_FLAG | 5n) as Checksum;
  const header = sampleHeader({
    pageSizeBytes: LARGE_PAGE_SIZE,
    commit: pageCount,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: BENCH_START_MS + txid,
    preApplyChecksum: checksum,
  });
  const pages = Array.from({ length: pageCount }, (_, index): SamplePage => {
    return [index + 1, crypto.getRandomValues(new Uint8Array(LARGE_PAGE_SIZE))];
  });
  return encodeSample(header, pages, checksum);
}
