/**
 * Restore around damaged objects: the newest TXID is restored if and only if the sound objects lead there.
 * The result names the damaged objects.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { formatTxid } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { type RestoreResult, restore } from "../../../src/recovery/restore/restore-database.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { rebuildManifest } from "../../../src/storage/bucket/manifest.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { BENCH_START_MS, compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { cloneStore, ltxKeys } from "../../support/histories/recorded-bucket.ts";
import { putTiny, TinyHistory } from "../../support/histories/tiny-history.ts";
import { allKeys, readObject } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const LATEST: PointInTime = { kind: "latest" };

/** Increments 2 to 12, of which 2 to 8 are merged too, and snapshots of 1, 8 and 12. */
async function richBucket() {
  const bench = await compactionBench(8);
  await putTiny(bench.store, "app", bench.history.snapshot());
  await compactInto(bench.target, 1, new CompactionProgress());
  for (let txid = 9; txid <= 12; txid++) {
    await putTiny(bench.store, "app", bench.history.commit(BENCH_START_MS + txid * 1000));
  }
  await putTiny(bench.store, "app", bench.history.snapshot());
  return { store: await cloneStore(bench.store), images: bench.history.images };
}

async function restoreFrom(store: ObjectStore, point = LATEST, dryRun = false, name = "app") {
  const { env, lines } = recordingEnv({ nowMs: () => BENCH_START_MS + 3_600_000 });
  const outputPath = join(tempFolder("around"), "out.db");
  const request = { name, outputPath, point, force: false, dryRun };
  let result: RestoreResult | null = null;
  let error: WalrustError | null = null;
  try {
    result = await restore(request, { store, env });
  } catch (thrown) {
    if (!(thrown instanceof WalrustError)) throw thrown;
    error = thrown;
  }
  const warnings = lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  const image = existsSync(outputPath) ? readFileSync(outputPath) : null;
  return { result, error, warnings, image };
}

const NEWEST_SNAPSHOT = "app/0009/0000000000000001-000000000000000c.ltx";

// Once this was exit 5, although the previous snapshot and all increments were whole.
test("a damaged newest snapshot is named, and the restore goes without it", async () => {
  const { store, images } = await richBucket();
  await flip(store, NEWEST_SNAPSHOT, 150);
  const { result, warnings, image } = await restoreFrom(store);
  expect(result).toMatchObject({ txid: 12, damaged: [NEWEST_SNAPSHOT], notice: null });
  expect(result!.checks).toMatchObject({ unchainedObjects: 0, integrityCheck: "ok" });
  expect<unknown>(image).toEqual(images.get(12)!);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toStartWith(`${NEWEST_SNAPSHOT} cannot be used, restoring without it: `);
});

test("a dry run reads no object, and gives the preferred path", async () => {
  const { store } = await richBucket();
  await flip(store, NEWEST_SNAPSHOT, 150);
  const { result, warnings } = await restoreFrom(store, LATEST, true);
  expect([result?.txid, result?.objects, result?.damaged, warnings]).toEqual([12 as Txid, 1, [], []]);
});

test("any objects damaged: the exact bytes if sound ones lead there, else exit 5", async () => {
  const { store, images } = await richBucket();
  const keys = await ltxKeys(store, "app");
  const listing = await listObjects(store, "app");
  const random = seededRandom(20260305);
  const endings = { around: 0, refused: 0 };
  for (let round = 0; round < 200; round++) {
    const copy = await cloneStore(store);
    const damaged = keys.filter((key) => random() < (key.includes("/0009/") ? 0.5 : 0.08));
    for (const key of damaged) {
      const { sizeBytes } = await copy.head(key);
      await flip(copy, key, Math.floor(random() * sizeBytes));
    }
    const txid = (random() < 0.6 ? 12 : 2 + Math.floor(random() * 10)) as Txid;
    const { result, error, warnings, image } = await restoreFrom(copy, { kind: "txid", txid });
    const sound = listing.filter(({ key }) => !damaged.includes(key));
    if (planRestore(sound, txid).kind !== "plan") {
      expect([round, error?.exitCode, image]).toEqual([round, 5, null]);
      expect(damaged.some((key) => error!.message.includes(key))).toBe(true);
      endings.refused++;
      continue;
    }
    expect([round, error, result?.txid]).toEqual([round, null, txid]);
    expect<unknown>(image).toEqual(images.get(txid)!);
    expect(result!.damaged.every((key) => damaged.includes(key))).toBe(true);
    expect(warnings).toHaveLength(result!.damaged.length);
    if (warnings.length > 0) endings.around++;
  }
  expect(endings.around).toBeGreaterThan(20);
  expect(endings.refused).toBeGreaterThan(20);
});

/**
 * Puts an object of another history into a bucket: of a writer that was stopped, after it had made TXIDs 7
 * and 8 of its own.
 */
async function putStranger(store: ObjectStore, kind: "merge" | "snapshot"): Promise<string> {
  const { target } = await compactionBench(1);
  const source = new MemoryStore();
  const other = new TinyHistory(seededRandom(11));
  for (let txid = 1; txid <= 8; txid++) {
    const timeMs = BENCH_START_MS + txid * 1000 + (txid > 6 ? 1 : 0);
    await putTiny(source, "app", other.commit(timeMs));
  }
  await putTiny(source, "app", other.snapshot());
  await compactInto({ ...target, store: source }, 1, new CompactionProgress());
  const first = kind === "merge" ? "0001/0000000000000002" : "0009/0000000000000001";
  const key = `app/${first}-0000000000000008.ltx`;
  const { bytes, metadata } = await readObject(source, key);
  await store.put(key, { kind: "bytes", bytes }, { metadata });
  return key;
}

// Once the object after the stranger was blamed, no path led on without it, and the restore ended with exit
// 5.
test.each(["merge", "snapshot"] as const)("a %s of another history is left out", async (kind) => {
  const { store, history } = await compactionBench(11);
  const key = await putStranger(store.inner, kind);
  const { result, warnings, image } = await restoreFrom(store.inner);
  expect(result).toMatchObject({ txid: 11, damaged: [key] });
  expect<unknown>(image).toEqual(history.images.get(11)!);
  expect(warnings[0]).toStartWith(`${key} cannot be used, restoring without it: `);
});

test("without another path the error is that of the first damaged object", async () => {
  const { store } = await richBucket();
  const increment = "app/0000/000000000000000a-000000000000000a.ltx";
  await flip(store, NEWEST_SNAPSHOT, 150);
  await flip(store, increment, 110);
  const { error, image } = await restoreFrom(store);
  expect([error?.exitCode, image]).toEqual([5, null]);
  expect(error!.message).toContain(NEWEST_SNAPSHOT);
  expect(error!.hint).toBeString();
});

// The search for a time ended with exit 5 at the first damaged header that it read, wherever that was.
test.each([
  // The path, and the capture after it; and the two captures after that one, of which the header is read.
  [7, [2, 3, 4, 5, 6, 7, 8], [9, 10]],
  [8, [8, 9], [10, 11]],
  [10, [9, 10, 11], [12]],
])("a time of TXID %d is found unless one of %p or %p is damaged", async (found, whole, headers) => {
  const { store, images } = await richBucket();
  const timeMs = BENCH_START_MS + found * 1000 + 500;
  for (const offset of [0, 15, 110]) {
    const needed = offset === 0 ? [...whole, ...headers] : whole;
    for (let txid = 2; txid <= 12; txid++) {
      const copy = await cloneStore(store);
      await flip(copy, `app/0000/${formatTxid(txid as Txid)}-${formatTxid(txid as Txid)}.ltx`, offset);
      const { result, error, image } = await restoreFrom(copy, { kind: "time", timeMs });
      expect([txid, error?.exitCode]).toEqual([txid, needed.includes(txid) ? 5 : undefined]);
      if (error !== null) continue;
      expect([txid, result?.txid]).toEqual([txid, found as Txid]);
      expect<unknown>(image).toEqual(images.get(found)!);
    }
  }
});

test("the folder of another database is named: it was exchanged or renamed", async () => {
  const { store } = await richBucket();
  expect(await rebuildManifest(store, "app")).toBeNull();
  const moved = new MemoryStore();
  for (const key of await allKeys(store)) {
    const { bytes, metadata } = await readObject(store, key);
    await moved.put(key.replace("app/", "other/"), { kind: "bytes", bytes }, { metadata });
  }
  expect((await restoreFrom(store)).warnings).toEqual([]);
  const { result, warnings } = await restoreFrom(moved, LATEST, false, "other");
  expect([result?.txid, warnings]).toEqual([
    12 as Txid,
    ['the manifest of other is that of "app": is this the right backup?'],
  ]);
});

test("an object that is listed but repeatedly unreadable is avoided", async () => {
  const { store, images } = await richBucket();
  const faulty = new FaultyStore(store);
  faulty.before = (operation, key) => {
    if (operation !== "get" || key !== NEWEST_SNAPSHOT) return;
    throw new WalrustError("not-found", `Cannot read ${key}: no such object`);
  };
  const { result, image } = await restoreFrom(faulty);
  expect(result).toMatchObject({ txid: 12, damaged: [NEWEST_SNAPSHOT] });
  expect<unknown>(image).toEqual(images.get(12)!);
});

test("a restore with everything damaged ends, for any number of objects", async () => {
  const bench = await compactionBench(2);
  for (let txid = 3; txid <= 40; txid++) {
    await putTiny(bench.store, "app", bench.history.commit(BENCH_START_MS + txid * 1000));
  }
  const store = await cloneStore(bench.store);
  const last = await bench.store.get("app/0000/0000000000000028-0000000000000028.ltx");
  const bytes = await last.bytes();
  // Thirty false merges, each of which would be the last step of another path.
  for (let first = 3; first < 33; first++) {
    const key = `app/0001/${first.toString(16).padStart(16, "0")}-0000000000000028.ltx`;
    await store.put(key, { kind: "bytes", bytes }, { metadata: last.metadata });
  }
  const faulty = new FaultyStore(store);
  const { error } = await restoreFrom(faulty);
  expect(error?.exitCode).toBe(5);
  expect(new Set(faulty.calls.filter((call) => call.startsWith("get app/0001/"))).size).toBeLessThan(30);
});
