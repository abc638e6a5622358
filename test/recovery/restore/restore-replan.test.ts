/**
 * Compaction, expiry and retention under a restore: objects of the plan vanish in each phase, and others
 * replace them. The restore plans again, and gives the recorded bytes of the requested point; or it reports
 * that the point was merged away. The log has no warning.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restoreNewest } from "../../../src/recovery/replica/replica-bootstrap.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import type { GetOptions, ObjectBody } from "../../../src/storage/contract/store.ts";
import {
  BENCH_START_MS,
  type CompactionBench,
  compactionBench,
} from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { FaultyStore, type StoreOperation } from "../../support/servers/faulty-store.ts";
import { tempFolder } from "../../support/temp.ts";

const COUNT = 12;
const LATEST: PointInTime = { kind: "latest" };
const AT_9: PointInTime = { kind: "time", timeMs: BENCH_START_MS + 9_500 };

/** A change of the bucket by the upkeep of a watch. */
type Change = (bench: CompactionBench) => Promise<void>;

/** Merges level 0, and deletes the sources at once. */
async function mergeAndExpire({ target, store, keys }: CompactionBench): Promise<void> {
  await compactInto({ ...target, store: store.inner }, 1, new CompactionProgress());
  await store.inner.delete([...keys].filter(([txid]) => txid > 1).map(([, key]) => key));
}

/** Takes a snapshot, and deletes all that is older. */
async function snapshotAndRetain({ store, history }: CompactionBench): Promise<void> {
  const older = await listObjects(store.inner, "app");
  const key = await putTiny(store.inner, "app", history.snapshot());
  await store.inner.delete(older.map((object) => object.key).filter((other) => other !== key));
}

/** When a change happens: at an operation, whose number among the reads of objects is `gets`. */
type When = (operation: StoreOperation, key: string, gets: number) => boolean;

/** A bucket that changes once. */
async function changingBucket(change: Change, when: When) {
  const bench = await compactionBench(COUNT);
  const store = new FaultyStore(bench.store.inner);
  let changing: Promise<void> | null = null;
  let gets = 0;
  store.before = async (operation, key) => {
    if (operation === "get" && key.endsWith(".ltx")) gets++;
    if (changing === null && when(operation, key, gets)) changing = change(bench);
    // Requests that are made meanwhile are answered afterwards.
    await changing;
  };
  return { bench, store, isChanged: () => changing !== null };
}

/** Restores from a bucket that changes once. */
async function restoreDuring(change: Change, when: When, point: PointInTime = LATEST) {
  const { bench, store, isChanged } = await changingBucket(change, when);
  const { env, lines } = recordingEnv({ nowMs: () => BENCH_START_MS + 3_600_000 });
  const outputPath = join(tempFolder("replan"), "out.db");
  const request = { name: "app", outputPath, point, force: false, dryRun: false };
  const result = await restore(request, { store, env }).catch((error) => error);
  expect(isChanged()).toBe(true);
  const warnings = lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  const isRight = (): boolean => readFileSync(outputPath).equals(bench.history.images.get(result.txid)!);
  const plannedAgain = lines.filter(({ message }) => message.includes("planning again")).length;
  return { result, warnings, isRight, plannedAgain };
}

const CHANGES: readonly (readonly [name: string, change: Change])[] = [
  ["a compaction whose sources expire", mergeAndExpire],
  ["retention after a new snapshot", snapshotAndRetain],
];

describe.each(CHANGES)("restore during %s", (_, change) => {
  test("right after the listing, before the first object", async () => {
    const ending = await restoreDuring(change, (operation, _key, gets) => operation === "get" && gets === 1);
    expect([ending.result.txid, ending.isRight(), ending.warnings]).toEqual([COUNT, true, []]);
    expect(ending.plannedAgain).toBeGreaterThan(0);
  });

  test.each([2, 5, COUNT])("before its object %d", async (index) => {
    const ending = await restoreDuring(
      change,
      (operation, _key, gets) => operation === "get" && gets === index,
    );
    expect([ending.result.txid, ending.isRight(), ending.warnings]).toEqual([COUNT, true, []]);
  });

  test("between the listings of two levels", async () => {
    const ending = await restoreDuring(
      change,
      (operation, key) => operation === "list" && key.includes("/0001/"),
    );
    expect([ending.result.txid, ending.isRight(), ending.warnings]).toEqual([COUNT, true, []]);
  });

  test("of a TXID that is merged away: exit 6 names the nearest points", async () => {
    const point: PointInTime = { kind: "txid", txid: 7 as Txid };
    const { result } = await restoreDuring(
      change,
      (operation, _key, gets) => operation === "get" && gets === 1,
      point,
    );
    expect([result.exitCode, result.message]).toEqual([
      6,
      expect.stringContaining("TXID 7 is not restorable"),
    ]);
    expect(result.hint).toContain("txid:12");
  });
});

describe("restore of a time during a compaction whose sources expire", () => {
  // The search for a time reads headers of objects that the next moment may delete.
  test.each([1, 2, 3, 4])("while it searches, before header %d", async (index) => {
    const { result, plannedAgain, isRight } = await restoreDuring(
      mergeAndExpire,
      (operation, _key, gets) => operation === "get" && gets === index,
      AT_9,
    );
    // Only TXID 1 is left before that time: the merged object ends after it.
    expect([result.txid, isRight(), plannedAgain > 0]).toEqual([1, true, true]);
  });
});

describe.each(CHANGES)("beside %s", (_, change) => {
  test.each([1, 4, COUNT])(
    "a replica bootstraps to the newest state, changed before object %d",
    async (index) => {
      const { bench, store, isChanged } = await changingBucket(change, (...[, , gets]) => gets === index);
      const { env } = recordingEnv();
      const path = join(tempFolder("replica"), "replica.db");
      const { signal } = new AbortController();
      const { point } = await restoreNewest(path, { store, name: "app", env, signal }, () => {});
      expect([isChanged(), point.txid as number]).toEqual([true, COUNT]);
      expect(readFileSync(path).equals(bench.history.images.get(COUNT)!)).toBe(true);
    },
  );

  test.each([1, 4, COUNT + 3])("verify --restore finds nothing, changed before object %d", async (index) => {
    const { store, isChanged } = await changingBucket(change, (...[, , gets]) => gets === index);
    const { env } = recordingEnv();
    const { findings, checked } = await verifyDatabase(store, "app", { restore: true }, env);
    const errors = findings.filter(({ code }) => code !== "manifest-missing");
    expect([isChanged(), errors, checked.restoredTxid as number]).toEqual([true, [], COUNT]);
  });
});

/** A store whose bodies of one key break off because the object was deleted meanwhile. */
class VanishingStore extends FaultyStore {
  constructor(
    readonly bench: CompactionBench,
    readonly key: string,
  ) {
    super(bench.store.inner);
  }

  override async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const body = await super.get(key, options);
    if (key !== this.key || options.range !== undefined) return body;
    const bytes = async (): Promise<Uint8Array> =>
      new Uint8Array(Buffer.concat(await Array.fromAsync(this.#vanishing(body))));
    return { ...body, chunks: this.#vanishing(body), bytes };
  }

  async *#vanishing(body: ObjectBody): AsyncGenerator<Uint8Array> {
    const whole = await body.bytes();
    yield whole.subarray(0, whole.length >> 1);
    await mergeAndExpire(this.bench);
    await this.inner.get(this.key);
  }
}

test("restore of an object that vanishes in the middle of its body", async () => {
  const bench = await compactionBench(COUNT);
  const { env, lines } = recordingEnv();
  const store = new VanishingStore(bench, bench.keys.get(5)!);
  const outputPath = join(tempFolder("replan"), "out.db");
  const request = { name: "app", outputPath, point: LATEST, force: false, dryRun: false };
  const { txid, damaged } = await restore(request, { store, env });
  expect([txid, damaged]).toEqual([COUNT, []]);
  expect(readFileSync(outputPath).equals(bench.history.images.get(COUNT)!)).toBe(true);
  expect(lines.filter(({ level }) => level === "warn")).toEqual([]);
});

test("restore of an object that is missing, there and missing again", async () => {
  const bench = await compactionBench(COUNT);
  const key = bench.keys.get(5)!;
  const store = new FaultyStore(bench.store.inner);
  let asked = 0;
  store.before = async (operation, asking) => {
    if (operation !== "get" || asking !== key || ++asked % 2 === 0) return;
    await store.inner.get("app/no-such-object");
  };
  const { env } = recordingEnv();
  const outputPath = join(tempFolder("replan"), "out.db");
  const request = { name: "app", outputPath, point: LATEST, force: false, dryRun: false };
  expect((await restore(request, { store, env })).txid).toBe(COUNT as never);
  expect(readFileSync(outputPath).equals(bench.history.images.get(COUNT)!)).toBe(true);
});

test("restore of a time whose objects are listed and never found: exit 5", async () => {
  const bench = await compactionBench(COUNT);
  const store = new FaultyStore(bench.store.inner);
  store.before = async (operation, key) => {
    if (operation === "get" && key.endsWith(".ltx")) await store.inner.get("app/no-such-object");
  };
  const { env } = recordingEnv({ nowMs: () => BENCH_START_MS + 3_600_000 });
  const outputPath = join(tempFolder("replan"), "out.db");
  const request = { name: "app", outputPath, point: AT_9, force: false, dryRun: false };
  const error = await restore(request, { store, env }).catch((failure) => failure);
  expect([error.exitCode, error.message]).toEqual([
    5,
    expect.stringContaining("although the bucket lists it"),
  ]);
});

// Level 0 is listed after its objects were deleted, and level 9 before the snapshot that replaces them. The
// sources of a merge outlive it by an hour, so no listing straddles a compaction.
test("restore whose listings of two levels straddle retention", async () => {
  const bench = await compactionBench(COUNT);
  const store = new FaultyStore(bench.store.inner);
  const { env } = recordingEnv();
  let isChanged = false;
  store.before = async (operation, key) => {
    if (operation !== "list" || !key.includes("/0000/") || isChanged) return;
    isChanged = true;
    await env.turn();
    await snapshotAndRetain(bench);
  };
  const outputPath = join(tempFolder("replan"), "out.db");
  const request = { name: "app", outputPath, point: LATEST, force: false, dryRun: false };
  expect((await restore(request, { store, env })).txid).toBe(COUNT as never);
  expect(readFileSync(outputPath).equals(bench.history.images.get(COUNT)!)).toBe(true);
});
