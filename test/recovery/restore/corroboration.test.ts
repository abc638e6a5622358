/**
 * Objects of another history under the keys of this one, sound by themselves: the objects beside the path and
 * the manifest contradict them. Each case once restored another database, or an older point than the
 * requested time, with exit 0.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hex } from "../../../src/format/chain.ts";
import type { Txid } from "../../../src/format/types.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../../src/storage/bucket/manifest.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { rewriteObject, stripMetadata } from "../../support/histories/changed-object.ts";
import { BENCH_START_MS } from "../../support/histories/compaction-bench.ts";
import { cloneStore, putObject, withChanged } from "../../support/histories/recorded-bucket.ts";
import { putTiny, TINY_WRITER, TinyHistory } from "../../support/histories/tiny-history.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const COUNT = 40;
/** A snapshot in the middle of the history. */
const MIDDLE = 20;
const SNAPSHOT = keyOf(9, 1, MIDDLE);
const NEWEST_SNAPSHOT = keyOf(9, 1, COUNT);

interface Bucket {
  readonly store: MemoryStore;
  readonly history: TinyHistory;
}

let own: Bucket;
let foreign: Bucket;

/** TXIDs 1 to 40, a second apart, and snapshots of 1, 20 and 40. */
async function bucketOf(seed: number, startMs: number): Promise<Bucket> {
  const history = new TinyHistory(seededRandom(seed));
  const store = new MemoryStore();
  for (let txid = 1; txid <= COUNT; txid++) {
    await putTiny(store, "app", history.commit(startMs + txid * 1000));
    if (txid === MIDDLE || txid === COUNT) await putTiny(store, "app", history.snapshot());
  }
  return { store, history };
}

beforeAll(async () => {
  own = await bucketOf(1, BENCH_START_MS);
  foreign = await bucketOf(2, BENCH_START_MS + 700);
});

function keyOf(level: number, minTxid: number, maxTxid: number): string {
  const [min, max] = [minTxid, maxTxid].map((txid) => txid.toString(16).padStart(16, "0"));
  return `app/000${level}/${min}-${max}.ltx`;
}

/** The own bucket with objects of the other history. */
async function withForeign(keys: readonly string[], base: ObjectStore = own.store): Promise<MemoryStore> {
  const store = await cloneStore(base);
  for (const key of keys) await putObject(store, key, await readObject(foreign.store, key));
  return store;
}

/** The own bucket after three merges, without their sources. The second one holds few pages, and TXID 20. */
async function merged(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const { env } = recordingEnv({ turn: () => Promise.resolve() });
  const place = { store, name: "app", spoolFolder: tempFolder("spool"), writer: TINY_WRITER, env };
  const target = { ...place, version: "test" };
  const objects = await listObjects(own.store, "app");
  for (const [from, to] of [
    [1, 18],
    [19, 22],
    [23, COUNT],
  ] as const) {
    for (const { key, maxTxid } of objects) {
      if (from <= maxTxid && maxTxid <= to) await putObject(store, key, await readObject(own.store, key));
    }
    await compactInto(target, 1, new CompactionProgress());
  }
  await store.delete(objects.filter(({ level }) => level === 0).map(({ key }) => key));
  return store;
}

async function restored(store: ObjectStore, point: PointInTime = { kind: "latest" }) {
  const { env } = recordingEnv({ nowMs: () => BENCH_START_MS + 3_600_000 });
  const outputPath = join(tempFolder("corroborated"), "out.db");
  const request = { name: "app", outputPath, point, force: false, dryRun: false };
  const { txid, damaged } = await restore(request, { store, env });
  return { txid: Number(txid), damaged, image: readFileSync(outputPath) };
}

/** Expects a refusal that names the object. */
async function expectRefused(store: ObjectStore, key: string, point?: PointInTime): Promise<void> {
  const error = await restored(store, point).catch((failure) => failure);
  expect([error.exitCode, error.message]).toEqual([5, expect.stringContaining(key)]);
}

const txidPoint = (txid: number): PointInTime => ({ kind: "txid", txid: txid as Txid });
const timePoint = (txid: number): PointInTime => ({
  kind: "time",
  timeMs: BENCH_START_MS + txid * 1000 + 100,
});

describe("a foreign snapshot that ends at the requested TXID", () => {
  test("is left out, and the own increments lead there", async () => {
    for (const [key, txid] of [
      [NEWEST_SNAPSHOT, COUNT],
      [SNAPSHOT, MIDDLE],
    ] as const) {
      const ending = await restored(await withForeign([key]), txidPoint(txid));
      expect([ending.txid, ending.damaged]).toEqual([txid, [key]]);
      expect(ending.image.equals(own.history.images.get(txid)!)).toBe(true);
    }
  });

  test("with a foreign increment that agrees with it is left out, too", async () => {
    const increment = keyOf(0, COUNT, COUNT);
    await expectRefused(await withForeign([NEWEST_SNAPSHOT, increment]), NEWEST_SNAPSHOT);
  });

  test("does not make a sound snapshot suspicious: a foreign increment is passed over", async () => {
    const ending = await restored(await withForeign([keyOf(0, MIDDLE, MIDDLE)]), txidPoint(MIDDLE));
    expect([ending.damaged, ending.image.equals(own.history.images.get(MIDDLE)!)]).toEqual([[], true]);
  });

  test("is found without its metadata, by the checksum of the database", async () => {
    const store = await withForeign([NEWEST_SNAPSHOT]);
    await stripMetadata(store, NEWEST_SNAPSHOT);
    expect((await restored(store)).damaged).toEqual([NEWEST_SNAPSHOT]);
  });

  test("inside a merged object contradicts the state that the merged object leads to", async () => {
    const store = await merged();
    const sound = await restored(store, txidPoint(MIDDLE));
    expect(sound.image.equals(own.history.images.get(MIDDLE)!)).toBe(true);
    await expectRefused(await withForeign([SNAPSHOT], store), SNAPSHOT, txidPoint(MIDDLE));
  });

  test("alone in the bucket contradicts the manifest", async () => {
    const store = new MemoryStore();
    const first = keyOf(9, 1, 1);
    await putObject(store, first, await readObject(foreign.store, first));
    expect((await restored(store)).txid).toBe(1);
    const mark = { pageSizeBytes: 512, txid: 1 as Txid, timeMs: BENCH_START_MS, writer: TINY_WRITER };
    const chain = hex(own.history.chains.get(1)!);
    await writeManifest(store, buildManifest("app", await listObjects(store, "app"), { ...mark, chain }));
    await expectRefused(store, first);
  });
});

describe("the point of a time", () => {
  test("is not the one before a hole", async () => {
    const store = await withChanged(own.store, keyOf(0, 10, 10), () => null);
    await expectRefused(store, "TXID 10", timePoint(10));
    expect((await restored(store, timePoint(8))).txid).toBe(8);
  });

  // The search reads headers alone; the time of a foreign object is right by its own metadata.
  test("is not chosen by the time of a foreign increment", async () => {
    const key = keyOf(0, 10, 10);
    const point: PointInTime = { kind: "time", timeMs: BENCH_START_MS + 10_500 };
    expect((await restored(own.store, point)).txid).toBe(10);
    await expectRefused(await withForeign([key]), key, point);
  });

  test("is not chosen by the time of a foreign snapshot inside a merged object", async () => {
    const point: PointInTime = { kind: "time", timeMs: BENCH_START_MS + MIDDLE * 1000 + 500 };
    const store = await merged();
    expect((await restored(store, point)).txid).toBe(MIDDLE);
    await expectRefused(await withForeign([SNAPSHOT], store), SNAPSHOT, point);
  });

  test("is not chosen by a damaged header without metadata", async () => {
    const key = keyOf(0, 10, 10);
    const store = await withChanged(own.store, key, ({ bytes }) => {
      const damaged = bytes.slice();
      // Half a minute later.
      damaged[38] = damaged[38]! ^ 0x80;
      return { bytes: damaged, metadata: {} };
    });
    await expectRefused(store, key, timePoint(10));
  });

  // Litestream stamps a snapshot when it takes it, later than the increment that ends at the same TXID.
  test("is that of the increment, although the snapshot that is restored has a later time", async () => {
    const store = await cloneStore(own.store);
    for (const { key, level, maxTxid } of await listObjects(store, "app")) {
      const timestampMs = BENCH_START_MS + maxTxid * 1000 + (level === 9 ? 5000 : 0);
      await rewriteObject(store, key, { dropsChecksums: true, header: { timestampMs } });
    }
    const ending = await restored(store, timePoint(MIDDLE));
    expect([ending.txid, ending.damaged]).toEqual([MIDDLE, []]);
    expect(ending.image.equals(own.history.images.get(MIDDLE)!)).toBe(true);
  });
});
