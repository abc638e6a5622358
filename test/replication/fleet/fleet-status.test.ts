/**
 * The parts that each database has for itself: its options, its circuit breaker, its status, and its time to
 * drain.
 */
import { describe, expect, spyOn, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { Pin } from "../../../src/database/pin/pin.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { Validation } from "../../../src/replication/context/watch-events.ts";
import { breakerOf } from "../../support/config.ts";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import { isWalFree } from "../../support/processes/outside-checkpoint.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, ownConfig, tenant } from "../../support/runs/fleet-run.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { FaultyStore, gate, hang, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

/** A store that refuses all requests for one name. */
function storeWithout(memory: MemoryStore): { store: FaultyStore; away: Set<string> } {
  const store = new FaultyStore(memory);
  const away = new Set<string>();
  store.before = (_, key) => {
    if (away.has(key.slice(0, key.indexOf("/")))) throw unreachable();
  };
  return { store, away };
}

describe("the options of a database", () => {
  test("are its own, or those of the watch where it has none", async () => {
    const slow = ownConfig({ sync: { walSyncIntervalMs: 3_600_000 } });
    const one = await tenant("one");
    const two = { ...(await tenant("two")), config: slow };
    const store = new MemoryStore();
    const run = await new FleetRun([one, two], store).watching(2);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    const [first, second] = [await SqliteProcess.open(one.path), await SqliteProcess.open(two.path)];
    await second.must("INSERT INTO t(v) VALUES ('later')");
    await first.must("INSERT INTO t(v) VALUES ('at once')");
    await run.uploaded(2, "one");
    expect(run.uploadedTxid("two")).toBe(1);
    expect([run.status("one").walSyncIntervalMs, run.status("two").walSyncIntervalMs]).toEqual([
      1, 3_600_000,
    ]);
    run.clock.pass(3_600_000);
    await run.uploaded(2, "two");
    await run.stop();
    await first.close();
    await second.close();
  });

  test("have no validations where the database sets none, though the watch has them", async () => {
    const validations: string[] = [];
    const validate = async (name: string): Promise<Validation> => {
      validations.push(name);
      return { status: "ok", messages: [] };
    };
    const one = await tenant("one");
    const two = { ...(await tenant("two")), config: ownConfig({}) };
    const config = { sync: { validationIntervalMs: 60_000 } };
    const run = await new FleetRun([one, two], new MemoryStore(), { config, validate }).watching(2);
    for (let round = 1; round <= 2; round++) {
      run.clock.pass(60_000);
      await run.until("a validation", () => validations.length >= round);
    }
    await run.stop();
    expect(new Set(validations)).toEqual(new Set(["one"]));
  });

  test("limit its drain, and not the drain of another", async () => {
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const one = { ...(await tenant("one")), config: ownConfig({ sync: { shutdownTimeoutMs: 100 } }) };
    const two = { ...(await tenant("two")), config: ownConfig({ sync: { shutdownTimeoutMs: 20_000 } }) };
    const run = await new FleetRun([one, two], store).watching(2);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    const [first, second] = [await SqliteProcess.open(one.path), await SqliteProcess.open(two.path)];
    let isShut = true;
    store.before = (operation, key, signal) => {
      if (operation !== "put" || !key.includes("/0000/")) return;
      if (key.startsWith("one/")) return hang(signal);
      if (isShut) throw unreachable();
    };
    await first.must("INSERT INTO t(v) VALUES (1)");
    await second.must("INSERT INTO t(v) VALUES (1)");
    const stopped = run.stop();
    await run.until("the end of the first", () => isWalFree(one.path));
    expect(run.uploadedTxid("two")).toBe(1);
    isShut = false;
    expect((await stopped).undrained).toEqual(["one"]);
    expect(run.uploadedTxid("two")).toBe(2);
    await first.close();
    await second.close();
  });
});

describe("the status of a database", () => {
  test("has the captured and the uploaded TXID", async () => {
    const one = await tenant("one");
    const { store, away } = storeWithout(new MemoryStore());
    const run = await new FleetRun([one], store).watching();
    await run.uploaded(1, "one");
    const first = run.status("one");
    expect(first).toMatchObject({ database: "one", path: one.path, state: "watching", txid: 1 });
    expect(first).toMatchObject({
      uploadedTxid: 1,
      pendingCount: 0,
      pendingBytes: 0,
      lagMs: 0,
      walFrames: 0,
    });
    expect(first).toMatchObject({ circuit: "closed", failure: null });
    expect(Math.abs((first.uploadedTimeMs ?? 0) - Date.now())).toBeLessThan(10_000);
    expect(first.snapshotTimeMs).toBe(first.uploadedTimeMs);
    away.add("one");
    const app = await SqliteProcess.open(one.path);
    const startedMs = performance.now();
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the failure", () => run.status("one").state === "failing");
    run.clock.pass(20_000);
    await app.must("INSERT INTO t(v) VALUES (2)");
    await run.until("the other capture", () => run.status("one").pendingCount === 2);
    const behind = run.status("one");
    expect(behind).toMatchObject({ txid: 3, uploadedTxid: 1, walFrames: 2, failure: { code: "storage" } });
    expect(behind.pendingBytes).toBeGreaterThan(200);
    expect(behind.snapshotTimeMs).toBe(first.snapshotTimeMs);
    const passedMs = 20_000 + (performance.now() - startedMs);
    const lagMs = behind.lagMs ?? 0;
    expect([lagMs >= 20_000, lagMs <= passedMs]).toEqual([true, true]);
    away.clear();
    run.clock.pass(30_000);
    await run.uploaded(3, "one");
    await run.until("recovered", () => run.status("one").state === "watching");
    expect(run.status("one")).toMatchObject({ uploadedTxid: 3, lagMs: 0, failure: null });
    await run.stop();
    await app.close();
  });

  // Seed 332 of the simulator: one -shm that could not be read was an error of the whole status.
  test("is whole when the wal-index cannot be read", async () => {
    const one = await tenant("one");
    const run = await new FleetRun([one], new MemoryStore()).watching();
    await run.uploaded(1, "one");
    const reading = spyOn(Pin.prototype, "walIndex").mockImplementation(() => {
      throw new Error("EIO");
    });
    try {
      expect(run.status("one")).toMatchObject({ txid: 1, uploadedTxid: 1, walFrames: null });
    } finally {
      reading.mockRestore();
    }
    await run.stop();
  });

  test("has the TXID of the local state while it cannot be watched", async () => {
    const one = await tenant("one");
    const store = new MemoryStore();
    const first = await new FleetRun([one], store).watching();
    await first.uploaded(1, "one");
    const app = await SqliteProcess.open(one.path);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await first.uploaded(2, "one");
    await first.stop();
    await app.must("PRAGMA journal_mode = DELETE");
    await app.close();
    const run = new FleetRun([one], store);
    await run.until("the refusal", () => run.status("one").state === "failing");
    const { txid, snapshotTimeMs, pendingCount } = run.status("one");
    expect([txid, snapshotTimeMs === null, pendingCount]).toEqual([2, false, 0]);
    await run.stop();
  });

  test("lags while capture is impossible, and no longer afterwards without a commit", async () => {
    const one = await tenant("one");
    const run = await new FleetRun([one], new MemoryStore()).watching();
    await run.uploaded(1, "one");
    const { sumsPath } = stateFolderOf(one.path);
    const app = await SqliteProcess.open(one.path);
    rmSync(sumsPath);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the re-anchor", () => run.all("re-anchored").length === 1);
    await run.until("no lag", () => run.status("one").lagMs === 0 && run.status("one").state === "watching");
    expect(existsSync(sumsPath)).toBe(true);
    await run.stop();
    await app.close();
  });
});

describe("the circuit breaker of a database", () => {
  test("opens once in an outage, affects no other, and its end is the recovery", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const memory = new MemoryStore();
    const { store, away } = storeWithout(memory);
    const config = { retry: breakerOf(2, 60_000) };
    const run = await new FleetRun([one, two], store, { config }).watching(2);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    const [first, second] = [await SqliteProcess.open(one.path), await SqliteProcess.open(two.path)];
    away.add("one");
    await first.must("INSERT INTO t(v) VALUES (1)");
    await run.until("a failure", () => run.all("failed", "one").length === 1);
    run.clock.pass(1_000);
    await run.until("an open circuit", () => run.status("one").circuit === "open");
    const sent = store.calls.length;
    run.clock.pass(30_000);
    await second.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2, "two");
    expect(store.calls.slice(sent).filter((call) => call.includes("one/"))).toEqual([]);
    run.clock.pass(31_000);
    await run.until("a trial", () => store.calls.slice(sent).some((call) => call.includes("one/")));
    await run.until("open again", () => run.status("one").circuit === "open");
    expect([run.all("circuit-open").length, run.saidCount("are suspended until")]).toEqual([1, 1]);
    expect(run.all("circuit-open")[0]).toMatchObject({ database: "one", failures: 2 });
    away.clear();
    run.clock.pass(60_000);
    await run.uploaded(2, "one");
    await run.until("recovered", () => run.all("recovered").length === 1);
    expect([run.status("one").circuit, run.status("two").circuit]).toEqual(["closed", "closed"]);
    expect(run.all("failed").length).toBe(1);
    await run.stop();
    expect((await provenHistory(memory, "one")).length).toBe(2);
    await first.close();
    await second.close();
  });

  test("that opened over validations alone recovers with them", async () => {
    const one = await tenant("one");
    const { store, away } = storeWithout(new MemoryStore());
    const config = { retry: breakerOf(2, 60_000), sync: { validationIntervalMs: 60_000 } };
    let validations = 0;
    const validate = async (_name: string, _signal: AbortSignal, own: FaultyStore | unknown) => {
      validations++;
      await (own as FaultyStore).head("one/nothing").catch((error) => {
        if (error.code !== "not-found") throw error;
      });
      return { status: "ok", messages: [] } as const;
    };
    const run = await new FleetRun([one], store, { config, validate }).watching();
    await run.uploaded(1, "one");
    await run.until("an empty queue", () => store.puts.length === 2);
    away.add("one");
    for (let round = 1; round <= 4; round++) {
      run.clock.pass(60_000);
      await run.until("a validation", () => validations === round);
    }
    await run.until("an open circuit", () => run.all("circuit-open").length === 1);
    expect(run.saidCount("cannot be verified")).toBe(1);
    away.clear();
    run.clock.pass(61_000);
    await run.until("recovered", () => run.all("recovered").length === 1);
    await run.until("its end", () => run.isSaid("cannot be verified: recovered"));
    expect(run.all("failed")).toEqual([]);
    await run.stop();
  });
});

test("a finding of a validation is logged once, and again when the finding changes", async () => {
  const one = await tenant("one");
  const results: Validation[] = [
    { status: "errors", messages: ["a gap"] },
    { status: "errors", messages: ["a gap"] },
    { status: "warnings", messages: ["an orphan"] },
    { status: "ok", messages: [] },
    { status: "ok", messages: [] },
  ];
  let round = 0;
  const validate = async (): Promise<Validation> => results[round++]!;
  const setup = { config: { sync: { validationIntervalMs: 60_000 } }, validate };
  const run = await new FleetRun([one], new MemoryStore(), setup).watching();
  for (let count = 1; count <= results.length; count++) {
    run.clock.pass(60_000);
    await run.until("a validation", () => run.all("validated").length === count);
  }
  const said = ["a gap", "an orphan", "nothing is wrong any more"].map((text) => run.saidCount(text));
  // The end of the condition names the finding once more.
  expect(said).toEqual([2, 1, 1]);
  await run.stop();
});

test("the socket moves when its database is removed", async () => {
  const [one, two] = [await tenant("one"), await tenant("two")];
  const store = new MemoryStore();
  const run = await new FleetRun([one, two], store).watching(2);
  expect((await askForSnapshot(two.path, store))?.txid).toBe(1);
  rmSync(dirname(one.path), { recursive: true });
  await run.find(two);
  await run.gone("one");
  await run.discovery();
  expect((await askForSnapshot(two.path, store))?.txid).toBe(1);
  await run.stop();
});

// Regression: the requested snapshot replaced the file of the first one while that waited. The file then
// differed from the state, and a full file continued the history.
test("a snapshot requested before the first is uploaded is the first", async () => {
  const one = await tenant("one");
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const door = gate();
  store.before = (operation) => (operation === "put" ? door.passed : undefined);
  const run = await new FleetRun([one], store).watching();
  const asked = askForSnapshot(one.path, store);
  await run.until("the request", () => run.lines.some(({ message }) => message.includes("(requested)")));
  door.open();
  expect((await asked)?.txid).toBe(1);
  await run.stop();
  expect([run.all("re-anchored"), (await provenHistory(memory, "one")).length]).toEqual([[], 1]);
});
