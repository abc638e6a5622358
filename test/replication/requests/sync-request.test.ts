/**
 * `sync` is true: a commit that was made before the call is in the bucket when the call returns, whatever the
 * watch is doing.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { WalrustError } from "../../../src/errors.ts";
import type { ProofState, ProvableDatabase, Prover } from "../../../src/replication/requests/bucket-proof.ts";
import type { RequestFacts } from "../../../src/replication/requests/requests.ts";
import {
  answerSync,
  type SyncableDatabase,
  SyncWait,
} from "../../../src/replication/requests/sync-request.ts";
import { breakerOf, type ConfigChange } from "../../support/config.ts";
import { rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { type SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { askForSnapshot, askForSync } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const HOUR_MS = 3_600_000;
const LONG_MS = 60_000;
/** Without a sync, nothing is captured for an hour after a capture. */
const SELDOM = { sync: { walSyncIntervalMs: HOUR_MS } };

const apps: SqliteProcess[] = [];
const runs: WatchRun[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  for (const app of apps.splice(0)) await app.kill();
});

/** A watch whose last capture has just been uploaded. */
async function watched(change: ConfigChange = SELDOM, more: ConstructorParameters<typeof WatchRun>[3] = {}) {
  const { path, app } = await newDatabase();
  apps.push(app);
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store, change, more).watching();
  runs.push(run);
  await run.uploaded(1);
  return { path, app, store, run };
}

/** The values that a restore of the newest state has. */
async function restored(store: FaultyStore): Promise<unknown[]> {
  return rowsOf(await newestImage(store, "app"), "SELECT v FROM t ORDER BY id").flat();
}

async function insert(app: SqliteProcess, value: string): Promise<void> {
  await app.must(`INSERT INTO t(v) VALUES ('${value}')`);
}

describe("sync", () => {
  test("captures and uploads a commit that waits for wal_sync_interval", async () => {
    const { app, store, run } = await watched();
    for (const value of ["a", "b", "c"]) {
      await insert(app, value);
      const [synced] = await askForSync(store, LONG_MS);
      expect(synced).toMatchObject({ name: "app", outcome: "synced", pendingCount: 0, problem: null });
      expect((await restored(store)).at(-1)).toBe(value);
    }
    // Nothing new is an answer, too, and makes no object.
    const before = store.puts.length;
    expect(await askForSync(store, LONG_MS)).toMatchObject([{ outcome: "synced" }]);
    expect(store.puts.length).toBe(before);
    await run.stop();
    await provenHistory(store, "app");
  });

  test("of all databases has no result while the search for databases does not end", async () => {
    const { path, app } = await newDatabase();
    apps.push(app);
    const store = new FaultyStore(new MemoryStore());
    const searching = { isNamedOnly: false };
    runs.push(await new WatchRun([targetOf(path)], store, SELDOM, {}, searching).watching());
    expect(await askForSync(store, 300)).toEqual([]);
    expect(await askForSync(store, LONG_MS, ["app"])).toMatchObject([{ outcome: "synced" }]);
  });

  test("captures beside a snapshot that does not end", async () => {
    const door = gate();
    let isHeld = false;
    let turns = 0;
    const turn = async (): Promise<void> => {
      turns++;
      if (isHeld) await door.passed;
      else await new Promise((resolve) => setImmediate(resolve));
    };
    const { path, app, store } = await watched(SELDOM, { turn });
    await app.must("INSERT INTO t(v) VALUES (zeroblob(3000000))");
    await askForSync(store, LONG_MS);
    isHeld = true;
    const before = turns;
    const snapshot = askForSnapshot(path, store);
    await waitUntil(() => turns > before);
    await insert(app, "beside");
    const [synced] = await askForSync(store, LONG_MS);
    expect(synced!.outcome).toBe("synced");
    expect((await restored(store)).at(-1)).toBe("beside");
    door.open();
    await snapshot;
  });

  test.each([
    ["with a cache", {}],
    ["without one", { cache: { enabled: false } }],
  ])("waits for a backlog and for the commits behind it, %s", async (_, change) => {
    const { app, store } = await watched({ ...change });
    const door = gate();
    store.before = (operation) => (operation === "put" ? door.passed : undefined);
    await insert(app, "one");
    await waitUntil(() => store.puts.at(-1)!.includes("0000000000000002"));
    await insert(app, "two");
    let isAnswered = false;
    const sync = askForSync(store, LONG_MS).finally(() => {
      isAnswered = true;
    });
    await insert(app, "three");
    await askForSync(store, 50, ["none"]);
    expect(isAnswered).toBe(false);
    door.open();
    expect(await sync).toMatchObject([{ outcome: "synced" }]);
    expect(await restored(store)).toContain("two");
  });

  test("says what is behind when the time is over, and is true after an outage", async () => {
    const clock = new ShiftedClock();
    const change = { ...SELDOM, retry: breakerOf(1, HOUR_MS) };
    const { app, store, run } = await watched(change, clock.overrides);
    await insert(app, "before");
    await askForSync(store, LONG_MS);
    store.before = () => {
      throw unreachable();
    };
    await insert(app, "during");
    const late = askForSync(store, LONG_MS);
    await run.until("the failure", () => run.all("circuit-open").length > 0);
    clock.pass(LONG_MS);
    const [behind] = await late;
    expect(behind).toMatchObject({ outcome: "behind", pendingCount: 1, uploadedTxid: 2 });
    expect(behind!.problem).toMatchObject({
      code: "storage",
      message: expect.stringContaining("Cannot reach"),
    });
    // The circuit is open for an hour: the request tries the store all the same.
    store.before = () => {};
    expect(await askForSync(store, LONG_MS)).toMatchObject([{ outcome: "synced", pendingCount: 0 }]);
    expect((await restored(store)).at(-1)).toBe("during");
  });

  test("waits for the anchor after the history was broken", async () => {
    const { path, app, store, run } = await watched();
    await insert(app, "pinned");
    rmSync(targetOf(path).paths.statePath);
    rmSync(`${path}-shm`);
    await insert(app, "blind");
    const [synced] = await askForSync(store, LONG_MS);
    expect(synced!.outcome).toBe("synced");
    const values = await restored(store);
    expect([values.includes("pinned"), values.includes("blind")]).toEqual([true, true]);
    expect(run.status().conditions.map(({ code }) => code)).toContain("not-shared");
    // Without locks the WAL is read at once, and not only every second.
    for (const value of ["c", "d", "e"]) {
      await insert(app, value);
      expect(await askForSync(store, LONG_MS)).toMatchObject([{ outcome: "synced" }]);
      expect(await restored(store)).toContain(value);
    }
  });

  test("of a database that cannot be watched is stopped at once, and of the others goes on", async () => {
    const { path, app } = await newDatabase();
    apps.push(app);
    const store = new FaultyStore(new MemoryStore());
    const absent = { ...targetOf(`${path}.none`, "absent"), path: `${path}.none` };
    const run = await new WatchRun([targetOf(path), absent], store, SELDOM).watching();
    runs.push(run);
    await run.until("the refusal", () => run.status("absent").state === "failing");
    await insert(app, "here");
    const all = await askForSync(store, LONG_MS);
    expect(all.map(({ name, outcome, problem }) => [name, outcome, problem?.code])).toEqual([
      ["app", "synced", undefined],
      ["absent", "stopped", "database"],
    ]);
    expect(await askForSync(store, LONG_MS, ["app"])).toMatchObject([{ name: "app", outcome: "synced" }]);
    expect(await askForSync(store, LONG_MS, ["none"])).toEqual([]);
  });
});

/** Finds every object in the bucket: `bucket-proof.test.ts` has the others. */
const PROVEN: Prover = {
  of: () => ({
    poll: () => "proven",
    missing: null,
    failure: null,
    delay: () => new WalrustError("storage", ""),
  }),
};

/** A database whose facts the test sets. */
function fakeDatabase() {
  const facts: { -readonly [Key in keyof RequestFacts]: RequestFacts[Key] } = {
    givenUp: null,
    isClosing: false,
    failure: null,
    isSuspended: false,
    isAttached: true,
    isReadable: true,
    isJobRunning: false,
    isAdopting: false,
    pending: [],
    taken: null,
    refused: null,
    isLeaving: false,
    hidden: null,
    isSpoolFull: false,
    isSettled: true,
    uploadedTxid: 9,
    whole: { txid: 5, generation: 1 },
    generation: 1,
  };
  const asked = { captures: 0, lifts: 0 };
  const database: SyncableDatabase = {
    target: targetOf("/srv/app.db"),
    poller: { request: () => void asked.captures++ },
    circuit: { lift: () => void asked.lifts++ },
    requestFacts: facts,
    ...({} as Pick<ProvableDatabase, "live" | "context" | "record">),
  };
  return { facts, asked, database };
}

// Regression: the rest of the time was too small to move the clock, and the wait never ended.
test("answerSync ends at its time limit, whatever the fractions of the clock", async () => {
  const random = seededRandom(1);
  for (let run = 0; run < 500; run++) {
    // Past a power of two, the fractions of a number are coarser than those of the start.
    let nowMs = 2 ** 13 - 400 * Math.sqrt(random());
    let sleeps = 0;
    const sleep = async (durationMs: number): Promise<void> => {
      if (++sleeps > 1_000) throw new Error("it does not end");
      nowMs += durationMs;
    };
    const { database } = fakeDatabase();
    const [result] = await answerSync([database], 500, { monotonicMs: () => nowMs, sleep });
    expect(result!.outcome).toBe("behind");
  }
});

describe("SyncWait", () => {
  const WHOLE = { txid: 7, generation: 1 };

  test("does not count a capture from before the request, though all of it is uploaded", () => {
    const { facts, asked, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    expect([wait.step(0, false), asked.captures > 0, asked.lifts]).toEqual([false, true, 1]);
    facts.whole = WHOLE;
    expect(wait.step(1, false)).toBe(true);
    expect(wait.result).toMatchObject({ outcome: "synced", uploadedTxid: 9, durationMs: 1 });
    expect(asked.lifts).toBe(1);
  });

  test("waits for the acknowledgement of the capture's own TXID, and for no later one", () => {
    const { facts, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    facts.whole = WHOLE;
    facts.uploadedTxid = 6;
    expect(wait.step(1, false)).toBe(false);
    facts.whole = { txid: 20, generation: 1 };
    facts.uploadedTxid = 7;
    expect(wait.step(2, false)).toBe(true);
  });

  test("begins anew after an anchor, which may continue another history", () => {
    const { facts, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    facts.whole = WHOLE;
    facts.uploadedTxid = 6;
    expect(wait.step(1, false)).toBe(false);
    facts.generation = 2;
    facts.uploadedTxid = 30;
    expect(wait.step(2, false)).toBe(false);
    facts.whole = { txid: 31, generation: 2 };
    expect(wait.step(3, false)).toBe(false);
    facts.uploadedTxid = 31;
    expect(wait.step(4, false)).toBe(true);
  });

  test("does not end before the bucket is listed, and lists again for another history", () => {
    const { facts, database } = fakeDatabase();
    let begun = 0;
    let state: ProofState = "open";
    const prover: Prover = {
      of: () => {
        begun++;
        return { ...PROVEN.of(database), poll: () => state, missing: begun > 1 ? "two" : "one" };
      },
    };
    const wait = new SyncWait(database, prover);
    expect([wait.step(1, false), begun]).toEqual([false, 0]);
    facts.whole = WHOLE;
    expect([wait.step(2, false), wait.step(3, false), begun]).toEqual([false, false, 1]);
    facts.generation = 2;
    facts.whole = { txid: 8, generation: 2 };
    expect(wait.step(4, false)).toBe(false);
    facts.whole = { txid: 9, generation: 2 };
    state = "proven";
    expect([wait.step(5, false), begun, wait.result]).toMatchObject([true, 2, { missing: "two" }]);
  });

  test("ends when a new snapshot did not help", () => {
    const { facts, database } = fakeDatabase();
    const delay = () => new WalrustError("storage", "did not help");
    const wait = new SyncWait(database, {
      of: () => ({ ...PROVEN.of(database), poll: () => "vain", delay }),
    });
    facts.whole = WHOLE;
    expect(wait.step(1, false)).toBe(true);
    expect(wait.result).toMatchObject({ outcome: "behind", problem: { message: "did not help" } });
  });

  test("does not end while a job, an anchor or an adoption may change the history", () => {
    const { facts, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    facts.whole = WHOLE;
    facts.isSettled = false;
    expect(wait.step(1, false)).toBe(false);
    facts.isSettled = true;
    expect(wait.step(2, false)).toBe(true);
  });

  test.each([
    ["the store fails", { failure: unreachable() }, "Cannot reach the store"],
    ["the spool is full", { isSpoolFull: true }, "Captures are paused"],
    ["requests are suspended", { isSuspended: true }, "suspended"],
    ["it is not attached", { isAttached: false }, "not attached yet"],
    ["nothing is captured", {}, "not captured yet"],
  ] as const)("says why the time was not enough: %s", (_, change, message) => {
    const { facts, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    Object.assign(facts, change);
    expect(wait.step(5, true)).toBe(true);
    expect(wait.result).toMatchObject({
      outcome: "behind",
      problem: { message: expect.stringContaining(message) },
    });
  });

  test("does not blame the time if no file has the commits, or the database cannot be watched", () => {
    const hidden = {
      code: "not-shared",
      health: "unhealthy",
      message: "no file has them",
      hint: "restart",
    } as const;
    const failure = new WalrustError("foreign-wal", "the -wal is of another file");
    for (const change of [{ hidden, whole: WHOLE }, { failure }]) {
      const { facts, database } = fakeDatabase();
      const wait = new SyncWait(database, PROVEN);
      Object.assign(facts, change);
      expect(wait.step(5, true)).toBe(true);
      expect(wait.result).toMatchObject({ outcome: "stopped", problem: { message: expect.any(String) } });
    }
  });

  test.each([
    ["replication has stopped", { givenUp: new WalrustError("foreign-writer", "another") }, "foreign-writer"],
    ["it is set aside", { refused: new WalrustError("not-wal", "rollback") }, "not-wal"],
    ["the watch ends", { isClosing: true }, "database"],
    ["it leaves the watch", { isLeaving: true }, "database"],
  ] as const)("is stopped at once when %s", (_, change, code) => {
    const { facts, database } = fakeDatabase();
    const wait = new SyncWait(database, PROVEN);
    Object.assign(facts, change);
    expect(wait.step(0, false)).toBe(true);
    expect(wait.result).toMatchObject({ outcome: "stopped", problem: { code } });
  });
});
