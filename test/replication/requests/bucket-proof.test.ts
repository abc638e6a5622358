/**
 * A sync lists the bucket: it is never answered with "synced" while objects are missing, repairs a loss
 * within its time, and names the loss otherwise.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import {
  BucketProof,
  BucketProofs,
  type ProvableDatabase,
} from "../../../src/replication/requests/bucket-proof.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { type SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { askForSync } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const LONG_MS = 60_000;

const apps: SqliteProcess[] = [];
const runs: WatchRun[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  for (const app of apps.splice(0)) await app.kill();
});

/** A watch with four uploaded TXIDs, whose check at the start is over. */
async function watched() {
  const { path, app } = await newDatabase();
  apps.push(app);
  const clock = new ShiftedClock();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store, {}, clock.overrides).watching();
  runs.push(run);
  await run.uploaded(1);
  for (let row = 0; row < 3; row++) await run.commit(app, `INSERT INTO t(v) VALUES (${row})`);
  await run.until("the check at the start", () => run.status().listedTimeMs !== null);
  return { path, app, store, run, clock };
}

type Watched = Awaited<ReturnType<typeof watched>>;

const LOSSES: readonly (readonly [string, string, (store: MemoryStore) => Promise<readonly string[]>])[] = [
  [
    "everything",
    "the bucket holds no snapshot to begin a restore with, though TXID 4 was acknowledged",
    async (store) => [...(await keysAt(store, "app", 0)), ...(await keysAt(store, "app", 9))],
  ],
  [
    "the snapshot",
    "the bucket holds no snapshot to begin a restore with, though TXID 4 was acknowledged",
    (store) => keysAt(store, "app", 9),
  ],
  [
    "an increment in the middle",
    "the bucket lacks TXID 3 to 3, which it had acknowledged",
    async (store) => (await keysAt(store, "app", 0)).slice(1, 2),
  ],
  [
    "the newest increment",
    "the bucket lacks TXID 4 to 4, which it had acknowledged",
    async (store) => (await keysAt(store, "app", 0)).slice(-1),
  ],
];

/** Deletes objects behind the back of the watch. */
async function lose({ store }: Watched, lost: (typeof LOSSES)[number][2] = LOSSES[0]![2]): Promise<void> {
  const inner = store.inner as MemoryStore;
  await inner.delete(await lost(inner));
}

describe("sync of a database whose bucket lost objects", () => {
  test.each(LOSSES)("%s: a new snapshot is in the bucket when it ends", async (_, missing, lost) => {
    const run = await watched();
    await lose(run, lost);
    const [synced] = await askForSync(run.store, LONG_MS);
    expect(synced).toMatchObject({ outcome: "synced", missing, problem: null });
    expect(Buffer.compare(await restoredImage(run.store, "app"), imageOf(run.path))).toBe(0);
    expect(run.run.all("condition").map(({ code, state }) => [code, state])).toEqual([
      ["not-restorable", "raised"],
      ["not-restorable", "cleared"],
    ]);
    // The next one finds nothing.
    expect(await askForSync(run.store, LONG_MS)).toMatchObject([{ outcome: "synced", missing: null }]);
  });

  test("is behind with the loss as its reason until the snapshot is uploaded; status shows it", async () => {
    const { store, run, clock, ...rest } = await watched();
    await lose({ store, run, clock, ...rest });
    store.before = (operation) => {
      if (operation === "put") throw unreachable();
    };
    const late = askForSync(store, LONG_MS);
    await run.until("the condition", () => run.status().conditions.length > 0);
    await run.until("the snapshot", () => run.status().pendingCount > 0);
    clock.pass(LONG_MS);
    const [behind] = await late;
    expect(behind).toMatchObject({ outcome: "behind", missing: LOSSES[0]![1] });
    expect(run.status().conditions.map(({ code }) => code)).toEqual(["not-restorable"]);
    store.before = () => {};
    expect(await askForSync(store, LONG_MS)).toMatchObject([{ outcome: "synced" }]);
    await run.until("the end of the condition", () => run.status().conditions.length === 0);
  });

  test("is behind while the bucket cannot be listed, and waits for its answer", async () => {
    const { store, run, clock } = await watched();
    store.before = (operation) => {
      if (operation === "list") throw unreachable();
    };
    const late = askForSync(store, LONG_MS);
    await waitUntil(() => store.calls.at(-1)!.startsWith("list "));
    clock.pass(LONG_MS);
    expect(await late).toMatchObject([
      {
        outcome: "behind",
        problem: { code: "storage", message: expect.stringContaining("cannot be listed: Cannot reach") },
      },
    ]);
    const failed = store.calls.length;
    const second = askForSync(store, LONG_MS);
    await waitUntil(() => store.calls.length > failed);
    store.before = () => {};
    clock.pass(2_000);
    expect(await second).toMatchObject([{ outcome: "synced", missing: null }]);
    expect(run.all("condition")).toEqual([]);
  });
});

test("a sync costs five listings and a head, and a watch without syncs none", async () => {
  const { app, run, store } = await watched();
  const asked = (): string[] => store.calls.filter((call) => /^(list|head) app/.test(call));
  await waitUntil(() => store.calls.length > 0);
  const before = asked().length;
  for (let row = 0; row < 3; row++) await run.commit(app, `INSERT INTO t(v) VALUES (${row})`);
  expect(asked().length).toBe(before);
  await askForSync(store, LONG_MS);
  expect(
    asked()
      .slice(before)
      .map((call) => call.split(" ")[0]),
  ).toEqual(["list", "list", "list", "list", "list", "head"]);
});

/** A database with three acknowledged TXIDs, in a bucket that has none of them. */
function emptied() {
  const { live } = spooledHistory(3);
  live.pending.length = 0;
  const store = new FaultyStore(new MemoryStore());
  const upkeep = {
    soundMs: -1,
    vainMs: -1,
    asked: 0,
    objectsMissing: () => void upkeep.asked++,
    listed() {},
  };
  const database: ProvableDatabase = {
    live,
    context: { store },
    poller: { request: () => {} },
    record: { upkeep },
  };
  return { database, store, upkeep };
}

test("a snapshot that did not help ends the proof with the reason", async () => {
  const { database, upkeep } = emptied();
  let nowMs = 1_000;
  const env = { monotonicMs: () => nowMs };
  const proof = new BucketProof(database, env, new Semaphore(1), new AbortController().signal);
  expect(proof.poll()).toBe("open");
  await waitUntil(() => proof.missing !== null);
  expect([upkeep.asked, proof.missing]).toEqual([1, expect.stringContaining("TXID 3 was acknowledged")]);
  expect(proof.delay().message).toContain("a new snapshot is not in the bucket yet");
  expect(proof.poll()).toBe("open");
  nowMs = 2_000;
  upkeep.vainMs = nowMs;
  expect(proof.poll()).toBe("vain");
  expect(proof.delay()).toBeInstanceOf(WalrustError);
  expect(proof.delay().message).toContain("a new snapshot did not help");
});

test("a few databases of one sync are listed at once, and an ended sync lists no more", async () => {
  const ending = new AbortController();
  const prover = new BucketProofs({ monotonicMs: () => 0 }, ending.signal);
  const door = gate();
  const all = Array.from({ length: 20 }, () => emptied());
  let listing = 0;
  for (const { store } of all) {
    store.before = async (operation) => {
      if (operation === "list") listing++;
      await door.passed;
    };
  }
  const proofs = all.map(({ database }) => prover.of(database));
  for (const proof of proofs) expect(proof.poll()).toBe("open");
  await waitUntil(() => listing === 40);
  ending.abort();
  door.open();
  await waitUntil(() => proofs.every(({ failure, missing }) => failure !== null || missing !== null));
  expect(all.filter(({ store }) => store.calls.length > 0).length).toBe(8);
});
