/** Compaction with damaged sources and failing stores: it deletes nothing, and a later run can repeat it. */

import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import { SENT_FOLDER } from "../../../src/local/spool.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { expire } from "../../../src/replication/upkeep/expiry.ts";
import { upkeepOnce } from "../../../src/replication/upkeep/maintenance.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { failureOf } from "../../support/failure-of.ts";
import { applied, BENCH_START_MS, compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { assertSoundObject } from "../../support/judged-object.ts";
import { allKeys } from "../../support/oracles/history-oracle.ts";
import { unreachable } from "../../support/servers/faulty-store.ts";
import { DAY_MS, HOUR_MS } from "../../support/shifted-clock.ts";
import { tempFolder } from "../../support/temp.ts";

test("a damaged source anywhere in the bucket is named, and nothing is put or deleted", async () => {
  const { store, target, keys } = await compactionBench(9);
  const key = keys.get(5)!;
  const size = (await store.head(key)).sizeBytes;
  for (const offset of [0, 40, 99, 105, Math.floor(size / 2), size - 17, size - 1]) {
    await flip(store, key, offset);
    store.calls.length = 0;
    const error = await failureOf(compactInto(target, 1, new CompactionProgress()));
    expect([offset, error.code, error.message.includes(key)]).toEqual([offset, "integrity", true]);
    expect(store.calls.filter((call) => /^(put|delete) /.test(call))).toEqual([]);
    expect(readdirSync(target.spoolFolder)).toEqual([SENT_FOLDER]);
    await flip(store, key, offset);
  }
  expect((await compactInto(target, 1, new CompactionProgress())).length).toBe(1);
});

test("a source deleted between listing and reading ends the merge and nothing else", async () => {
  const { store, target, keys } = await compactionBench(9);
  store.before = async (operation, key) => {
    if (operation === "get" && key === keys.get(4)) await store.inner.delete([key]);
  };
  const error = await failureOf(compactInto(target, 1, new CompactionProgress()));
  expect(error.code).toBe("not-found");
  expect(store.puts).toEqual([]);
});

// Regression: a damaged local copy was not named, and blocked the merge though the bucket's object is sound.
test("a damaged copy in the spool does not keep the bucket from being compacted", async () => {
  const { target } = await compactionBench(9, () => true);
  const path = join(target.spoolFolder, SENT_FOLDER, "0000-0000000000000005-0000000000000005.ltx");
  const bytes = readFileSync(path);
  bytes[150]! ^= 1;
  writeFileSync(path, bytes);
  expect((await compactInto(target, 1, new CompactionProgress())).length).toBe(1);
});

test("a put that fails after taking effect is found again and not overlapped by a longer merge", async () => {
  const { history, store, target } = await compactionBench(9);
  const progress = new CompactionProgress();
  store.after = (operation) => {
    if (operation === "put") throw unreachable();
  };
  await failureOf(compactInto(target, 1, progress));
  store.after = () => {};
  const later = history.commit(BENCH_START_MS + 60_000);
  await putTiny(store, "app", later);
  const made = await compactInto(target, 1, progress);
  expect(made.map(({ minTxid, maxTxid }) => [Number(minTxid), Number(maxTxid)])).toEqual([[10, 10]]);
});

test("an object at the merge's key is verified and accepted, not written again", async () => {
  const { store, target } = await compactionBench(9);
  await compactInto(target, 1, new CompactionProgress());
  const progress = new CompactionProgress();
  progress.covered[1] = 0;
  store.calls.length = 0;
  const [made] = await compactInto(target, 1, progress);
  expect(progress.verified.has(made!.key)).toBe(true);
  expect(store.calls.filter((call) => call === `get ${made!.key}`).length).toBe(1);
});

test("a store that keeps other bytes than it received is detected before any deletion", async () => {
  const { store, target, setNow } = await compactionBench(30);
  store.after = async (operation, key) => {
    if (operation === "put") await flip(store.inner, key, 130);
  };
  const error = await failureOf(compactInto(target, 1, new CompactionProgress()));
  expect(["corrupt", "integrity"]).toContain(error.code);
  expect(error.message).toContain("app/0001/");
  const objects = await listObjects(store, "app");
  setNow(Math.max(...objects.map(({ modifiedMs }) => modifiedMs)) + 30 * DAY_MS);
  await expire(target, objects, DEFAULT_CONFIG.compaction, new CompactionProgress());
  const deletes = store.calls.filter((call) => call.startsWith("delete "));
  expect(deletes.filter((call) => call.includes("/0000/"))).toEqual([]);
});

// Regression: the object stayed in the bucket, restores preferred it, and every later try found its key
// taken.
test("an object that the store corrupted is removed, so that restores use the increments", async () => {
  const { store, target, history } = await compactionBench(12);
  store.after = async (operation, key) => {
    if (operation === "put") await flip(store.inner, key, 130);
  };
  await failureOf(compactInto(target, 1, new CompactionProgress()));
  store.after = () => {};
  const plan = planRestore(await listObjects(store, "app"), null);
  let image: Uint8Array = new Uint8Array();
  for (const { key } of plan.kind === "plan" ? plan.objects : []) {
    await assertSoundObject(store, key);
    image = await applied(store, key, image);
  }
  expect(Buffer.compare(image, history.images.get(12)!)).toBe(0);
});

test("expire deletes verified sources after their lifetime, with no request twice", async () => {
  const { store, target, setNow } = await compactionBench(30);
  const progress = new CompactionProgress();
  const [made] = await compactInto(target, 1, progress);
  const modifiedMs = (await store.head(made!.key)).modifiedMs;
  setNow(modifiedMs + HOUR_MS - 1);
  const tooEarly = await expire(target, await listObjects(store, "app"), DEFAULT_CONFIG.compaction, progress);
  expect(tooEarly).toEqual({ deleted: [], refused: [] });
  setNow(modifiedMs + HOUR_MS);
  store.calls.length = 0;
  const objects = await listObjects(store, "app");
  const newest = objects.findLast(({ level }) => level === 0)!;
  // Ten newer increments, so that no merged increment is among the preserved ones.
  const newer = Array.from({ length: 10 }, (_, index) => {
    const txid = (newest.maxTxid + 1 + index) as Txid;
    return { ...newest, key: `app/0000/newer-${txid}.ltx`, minTxid: txid, maxTxid: txid };
  });
  const gone = await expire(
    target,
    [...objects, ...newer],
    DEFAULT_CONFIG.compaction,
    new CompactionProgress(),
  );
  expect(gone.deleted.length).toBe(29);
  expect(store.calls.filter((call) => call === `get ${made!.key}`).length).toBe(1);
  expect((await allKeys(store)).filter((key) => key.includes("/0000/")).length).toBe(0);
});

// Regression: a folder reported the capture's time as modification time, so the lifetime was over at once.
test("compact of an old folder keeps the increments for their hour", async () => {
  const files = new FileStore({ path: join(tempFolder("bucket"), "new") });
  const { target, setNow } = await compactionBench(30, () => false, files);
  setNow(BENCH_START_MS + 30 * DAY_MS);
  expect((await upkeepOnce(target, DEFAULT_CONFIG, true)).expired).toEqual([]);
});

test("upkeepOnce without force changes nothing and reports its plan", async () => {
  const { store, target } = await compactionBench(20);
  const before = await allKeys(store);
  store.calls.length = 0;
  const result = await upkeepOnce(target, DEFAULT_CONFIG, false);
  expect(result.compacted).toMatchObject([{ level: 1, minTxid: 2, maxTxid: 20, sources: 19 }]);
  expect(store.calls.filter((call) => /^(put|delete) /.test(call))).toEqual([]);
  expect(await allKeys(store)).toEqual(before);
});
