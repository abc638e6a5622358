/**
 * A merged object of another writer's history stands in the way of ours. Compaction does not build upon it,
 * and does not delete it while its writer may still run. Nothing below it is deleted because of it.
 */
import { expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { expire } from "../../../src/replication/upkeep/expiry.ts";
import { coveringOrNull, STRAY_AGE_MS } from "../../../src/replication/upkeep/stray-merge.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import {
  applied,
  type CompactionBench,
  compactionBench,
  flip,
} from "../../support/histories/compaction-bench.ts";
import { assertSoundObject } from "../../support/judged-object.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";

const COUNT = 30;
const DAY_MS = 86_400_000;

/** Our history of level 0, and on level 1 another writer's merge of its TXIDs 2 to `maxTxid`. */
async function benchWithStray(maxTxid: number): Promise<CompactionBench & { strayKey: string }> {
  const bench = await compactionBench(COUNT);
  const other = await compactionBench(maxTxid);
  const [made] = await compactInto(other.target, 1, new CompactionProgress());
  const { bytes, metadata } = await readObject(other.store, made!.key);
  await bench.store.put(made!.key, { kind: "bytes", bytes }, { metadata, createOnly: true });
  bench.store.calls.length = 0;
  return { ...bench, strayKey: made!.key };
}

async function makeOld({ store, setNow }: CompactionBench, key: string): Promise<void> {
  const { storedMs, modifiedMs } = (await listObjects(store, "app")).find((object) => object.key === key)!;
  setNow((storedMs ?? modifiedMs) + STRAY_AGE_MS);
}

function deletesOf({ store }: CompactionBench): string[] {
  return store.calls.filter((call) => call.startsWith("delete "));
}

/** Restores by the plan over the listing, without the checks of chain values. */
async function restored({ store }: CompactionBench): Promise<Uint8Array> {
  const plan = planRestore(await listObjects(store, "app"), null);
  let image: Uint8Array = new Uint8Array();
  for (const { key } of plan.kind === "plan" ? plan.objects : []) {
    await assertSoundObject(store, key);
    image = await applied(store, key, image);
  }
  return image;
}

test("a merge of another history is removed once it is old, and merged again from our own", async () => {
  const bench = await benchWithStray(7);
  const { target, history, strayKey } = bench;
  const progress = new CompactionProgress();
  await makeOld(bench, strayKey);
  expect(await compactInto(target, 1, progress)).toEqual([]);
  expect(deletesOf(bench)).toEqual([`delete ${strayKey}`]);
  const made = await compactInto(target, 1, progress);
  expect(made.map(({ minTxid, maxTxid }) => [Number(minTxid), Number(maxTxid)])).toEqual([[2, COUNT]]);
  expect(Buffer.compare(await restored(bench), history.images.get(COUNT)!)).toBe(0);
});

test("nothing is merged beyond the stray merge, and it stays, while its writer may still run", async () => {
  const bench = await benchWithStray(7);
  const objects = await listObjects(bench.store, "app");
  bench.setNow(Math.max(...objects.map(({ storedMs, modifiedMs }) => storedMs ?? modifiedMs)));
  for (let turn = 0; turn < 2; turn++)
    expect(await compactInto(bench.target, 1, new CompactionProgress())).toEqual([]);
  expect(deletesOf(bench)).toEqual([]);
});

test("it stays if the level below does not prove our history, and nothing is merged beyond", async () => {
  const bench = await benchWithStray(7);
  await bench.store.delete([bench.keys.get(4)!]);
  bench.store.calls.length = 0;
  await makeOld(bench, bench.strayKey);
  const merging = compactInto(bench.target, 1, new CompactionProgress());
  await expect(merging).rejects.toMatchObject({ code: "integrity", context: { key: bench.strayKey } });
  expect(deletesOf(bench)).toEqual([]);
});

test("it stays where an object of the level below is damaged, because a restore may need it", async () => {
  const bench = await benchWithStray(7);
  await flip(bench.store.inner, bench.keys.get(4)!, 130);
  await makeOld(bench, bench.strayKey);
  const merging = compactInto(bench.target, 1, new CompactionProgress());
  await expect(merging).rejects.toMatchObject({ code: "integrity", context: { key: bench.strayKey } });
  expect(deletesOf(bench)).toEqual([]);
});

test("a stray merge at our own key is not accepted as ours", async () => {
  const bench = await benchWithStray(7);
  for (let txid = 8; txid <= COUNT; txid++) await bench.store.delete([bench.keys.get(txid)!]);
  const progress = new CompactionProgress();
  progress.covered[1] = 0;
  const merging = compactInto(bench.target, 1, progress);
  await expect(merging).rejects.toMatchObject({ code: "integrity", context: { key: bench.strayKey } });
  expect(progress.verified.size).toBe(0);
});

test("expire keeps the objects that the stray merge covers, though it is sound and old", async () => {
  const bench = await benchWithStray(7);
  const { target, store, history, strayKey } = bench;
  const objects = await listObjects(store, "app");
  bench.setNow(Math.max(...objects.map(({ storedMs, modifiedMs }) => storedMs ?? modifiedMs)) + 30 * DAY_MS);
  const expiring = expire(target, objects, DEFAULT_CONFIG.compaction, new CompactionProgress());
  await expect(expiring).rejects.toMatchObject({ code: "integrity", context: { key: strayKey } });
  expect(deletesOf(bench)).toEqual([]);
  await store.delete([strayKey]);
  expect(Buffer.compare(await restored(bench), history.images.get(COUNT)!)).toBe(0);
});

test.each([
  [
    "singles",
    [
      [2, 2],
      [3, 3],
      [4, 4],
    ],
    4,
  ],
  [
    "ranges",
    [
      [2, 3],
      [4, 4],
    ],
    4,
  ],
  [
    "a hole",
    [
      [2, 2],
      [4, 4],
    ],
    null,
  ],
  [
    "one that passes its end",
    [
      [2, 3],
      [4, 5],
    ],
    null,
  ],
  ["one that begins before it", [[1, 4]], null],
  ["nothing", [], null],
] as const)("coveringOrNull: %s", (_, ranges, wanted) => {
  const object = (level: number, minTxid: number, maxTxid: number) => {
    const [min, max] = [minTxid as Txid, maxTxid as Txid];
    return { key: `${minTxid}-${maxTxid}`, level, minTxid: min, maxTxid: max, sizeBytes: 1, modifiedMs: 0 };
  };
  const below = ranges.map(([min, max]) => object(0, min, max));
  expect(coveringOrNull(object(1, 2, 4), below)?.at(-1)?.maxTxid ?? null).toBe(wanted as Txid | null);
});
