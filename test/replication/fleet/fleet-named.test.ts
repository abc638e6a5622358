/**
 * Named databases that cannot be watched at start. While the watch continues for others, it shows them as
 * failing, logs them once, and watches them as soon as possible. They alone keep no watch running.
 */
import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Unwatchable } from "../../../src/discovery/discovered.ts";
import { type ErrorCode, WalrustError } from "../../../src/errors.ts";
import { isBeating } from "../../../src/observability/heartbeat.ts";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, tenant } from "../../support/runs/fleet-run.ts";
import { type RunTarget, targetOf } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const NAMED = { isNamedOnly: true };

/** A named database. */
async function named(name: string): Promise<RunTarget> {
  return targetOf((await tenant(name)).path, name);
}

/** A store that fails with a code for all requests of some names, without retries. */
function refusingStore(code: ErrorCode, ...names: string[]): { store: FaultyStore; refused: Set<string> } {
  const store = new FaultyStore(new MemoryStore());
  const refused = new Set(names);
  store.before = (_, key) => {
    if (refused.has(key.slice(0, key.indexOf("/")))) throw new WalrustError(code, `${code} it is`);
  };
  return { store, refused };
}

function codesOf(stopped: readonly { database: string; error: WalrustError }[]): [string, string][] {
  return stopped.map(({ database, error }) => [database, error.code]);
}

describe("a named database beside another", () => {
  test.each(["missing-bucket", "auth", "storage", "precondition"] as const)(
    "that the store refuses at start with %s is watched once the store accepts it",
    async (code) => {
      const [one, two] = [await named("one"), await named("two")];
      const { store, refused } = refusingStore(code, "one");
      const run = new FleetRun([one, two], store, NAMED);
      await run.uploaded(1, "two");
      await run.until("the refusal", () => run.all("stopped").length === 1);
      for (let round = 0; round < 3; round++) {
        const before = store.calls.length;
        run.clock.pass(25_000);
        const isTried = (): boolean => store.calls.slice(before).some((call) => call.includes("one/"));
        await run.until("another try", isTried);
      }
      const status = run.status("one");
      expect([status.state, status.failure?.code]).toEqual(["failing", code]);
      expect(status.lagMs).toBeGreaterThanOrEqual(75_000);
      expect(isBeating([run.status("two")], 60_000)).toBe(true);
      expect(isBeating([status], 60_000)).toBe(false);
      expect([run.saidCount(`${code} it is`), run.all("stopped").length, run.isDone]).toEqual([1, 1, false]);
      refused.clear();
      run.clock.pass(5_000);
      await run.uploaded(1, "one");
      await run.until("recovered", () => run.all("recovered", "one").length === 1);
      expect(run.status("one")).toMatchObject({ state: "watching", lagMs: 0, failure: null });
      expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    },
  );

  test("that another walrust has is taken over when the other ends, with its history", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const store = new MemoryStore();
    const first = await new FleetRun([one], store).watching();
    await first.uploaded(1, "one");
    const second = new FleetRun([one, two], store, NAMED);
    await second.uploaded(1, "two");
    await second.until("the refusal", () => second.all("stopped").length === 1);
    expect(second.status("one")).toMatchObject({ state: "failing", failure: { code: "locked" } });
    await first.stop();
    second.clock.pass(5_000);
    await second.until("watching", () => second.all("watching", "one").length === 1);
    const app = await SqliteProcess.open(one.path);
    await app.must("INSERT INTO t(v) VALUES ('of the second')");
    await second.uploaded(2, "one");
    await second.stop();
    expect((await provenHistory(store, "one")).length).toBe(2);
    await app.close();
  });

  test("that is not in WAL mode, or whose file is missing, is watched afterwards", async () => {
    const [one, two, three] = [await named("one"), await named("two"), await named("three")];
    const app = await SqliteProcess.open(one.path);
    await app.must("PRAGMA journal_mode = DELETE");
    rmSync(two.path);
    const run = new FleetRun([one, two, three], new MemoryStore(), NAMED);
    await run.uploaded(1, "three");
    await run.until("both refusals", () => run.all("stopped").length === 2);
    expect(run.all("stopped").map(({ database, code }) => [database, code])).toEqual([
      ["one", "not-wal"],
      ["two", "database"],
    ]);
    await app.must("PRAGMA journal_mode = WAL");
    const other = await SqliteProcess.open(two.path);
    await other.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    run.clock.pass(5_000);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    expect((await run.stop()).stopped).toEqual([]);
    await Promise.all([app.close(), other.close()]);
  });

  test("that another writer has is not tried again", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const { store } = refusingStore("foreign-writer", "one");
    const run = new FleetRun([one, two], store, NAMED);
    await run.uploaded(1, "two");
    await run.until("the stop", () => run.all("stopped").length === 1);
    const calls = store.calls.length;
    run.clock.pass(60_000);
    await run.discovery();
    const app = await SqliteProcess.open(two.path);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2, "two");
    expect(store.calls.slice(calls).filter((call) => call.includes("one/"))).toEqual([]);
    expect(run.status("one").state).toBe("stopped");
    expect(codesOf((await run.stop()).stopped)).toEqual([["one", "foreign-writer"]]);
    await app.close();
  });

  test("that another process keeps locked is logged, though it is no failure", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const app = await SqliteProcess.open(one.path);
    await app.must("PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO t(v) VALUES (1)");
    const run = new FleetRun([one, two], new MemoryStore(), NAMED);
    await run.uploaded(1, "two");
    await run.until("the line", () => run.isSaid("not watched yet"));
    run.clock.pass(30_000);
    await run.until("its lag", () => (run.status("one").lagMs ?? 0) >= 30_000);
    expect([run.status("one").state, run.saidCount("not watched yet")]).toEqual(["failing", 1]);
    await app.close();
    run.clock.pass(30_000);
    await run.uploaded(1, "one");
    await run.stop();
  });
});

describe("a watch of named databases", () => {
  test("ends at once when none of them can be watched", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const { store } = refusingStore("auth", "one", "two");
    rmSync(two.path);
    const run = new FleetRun([one, two], store, NAMED);
    expect(codesOf((await run.done).stopped)).toEqual([
      ["one", "auth"],
      ["two", "database"],
    ]);
    expect(run.all("stopped").length).toBe(2);
  });

  test("ends when the last watched one is stopped, though another is set aside", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const { store } = refusingStore("auth", "one");
    const run = new FleetRun([one, two], store, NAMED);
    await run.uploaded(1, "two");
    const key = "two/0000/0000000000000002-0000000000000002.ltx";
    const metadata = { "walrust-writer": "f".repeat(32), sha256: "0".repeat(64) };
    await store.inner.put(key, { kind: "bytes", bytes: new Uint8Array(9) }, { metadata });
    const app = await SqliteProcess.open(two.path);
    await app.must("INSERT INTO t(v) VALUES (1)");
    expect(codesOf((await run.done).stopped)).toEqual([
      ["one", "auth"],
      ["two", "foreign-writer"],
    ]);
    await app.close();
  });

  test("continues beside a glob when no named one can be watched, and with a find of the glob", async () => {
    const [one, two] = [await named("one"), await tenant("two")];
    const { store, refused } = refusingStore("missing-bucket", "one");
    const run = new FleetRun([one], store);
    await run.until("the refusal", () => run.all("stopped").length === 1);
    await run.find(one, two);
    await run.uploaded(1, "two");
    expect(run.isDone).toBe(false);
    refused.clear();
    run.clock.pass(5_000);
    await run.uploaded(1, "one");
    await run.stop();
  });
});

describe("a database that discovery omits", () => {
  const error = new WalrustError("database", "Cannot find /srv/of/two.db (walrust.toml:3): ENOENT");

  test("is shown as failing until it exists, and keeps no watch running", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const missing: Unwatchable = { path: two.path, name: "two", isMissing: true, error };
    const run = new FleetRun([one], new MemoryStore(), { ...NAMED, unwatchable: [missing] });
    await run.uploaded(1, "one");
    expect(run.status("two")).toMatchObject({ state: "failing", failure: { code: "database" } });
    expect(run.status("two").failure?.message).toBe("Cannot find two.db (walrust.toml:3): ENOENT");
    run.clock.pass(61_000);
    await run.discovery();
    expect(run.status("two").lagMs).toBeGreaterThanOrEqual(61_000);
    expect(isBeating([run.status("one")], 1e9)).toBe(true);
    expect(isBeating([run.status("two")], 1e9)).toBe(false);
    run.unwatchable = [];
    await run.find(one, two);
    await run.uploaded(1, "two");
    expect([run.databases, run.status("two").state]).toEqual([["one", "two"], "watching"]);
    await run.stop();

    const three = await named("three");
    const { store } = refusingStore("auth", "three");
    const alone = new FleetRun([three], store, { ...NAMED, unwatchable: [missing] });
    expect(codesOf((await alone.done).stopped)).toEqual([["three", "auth"]]);
  });

  test("is shown under its own name, without lag if a glob found it, and not twice", async () => {
    const one = await named("one");
    const twin = { path: "/srv/of/one.db", name: "one", isMissing: false, error };
    const watched = { ...twin, path: one.path };
    const run = await new FleetRun([one], new MemoryStore(), {
      unwatchable: [twin, twin, watched],
    }).watching();
    run.clock.pass(61_000);
    await run.discovery();
    expect(run.databases).toEqual(["one", "of/one.db"]);
    expect(run.status("of/one.db")).toMatchObject({ state: "failing", lagMs: null });
    await run.stop();
  });
});

test("a first attach that the store does not answer is a failure after 60 s, until it does", async () => {
  const one = await named("one");
  const store = new FaultyStore(new MemoryStore());
  const door = gate();
  store.before = () => door.passed;
  const run = new FleetRun([one], store, NAMED);
  await run.until("a look at the bucket", () => store.calls.length > 0);
  expect(run.status("one")).toMatchObject({ state: "starting", lagMs: null });
  // Two polls have passed when a discovery ended. The time of the attach counts from the first poll.
  await run.discovery();
  run.clock.pass(61_000);
  await run.until("the failure", () => run.all("failed").length === 1);
  expect(run.status("one")).toMatchObject({ state: "failing", failure: { code: "storage" } });
  expect(run.status("one").lagMs).toBeGreaterThanOrEqual(60_000);
  run.clock.pass(61_000);
  await run.discovery();
  expect(run.saidCount("the store has not answered for 60 s")).toBe(1);
  door.open();
  await run.uploaded(1, "one");
  await run.until("recovered", () => run.all("recovered").length === 1);
  expect(run.status("one")).toMatchObject({ state: "watching", lagMs: 0, failure: null });
  await run.stop();
});
