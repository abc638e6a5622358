/**
 * Files that a glob finds and that cannot be watched. The watch logs each once a reason, tries each again at
 * every discovery, and does not fail for them. Also discoveries that fail themselves.
 */
import { describe, expect, test } from "bun:test";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, foundTarget, tenant } from "../../support/runs/fleet-run.ts";
import { askForSync } from "../../support/runs/watch-requests.ts";
import { targetOf } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

describe("a find that cannot be watched", () => {
  test("is logged once, and watched as soon as possible", async () => {
    const path = `${tempFolder("refused")}/app.db`;
    const app = await SqliteProcess.open(path);
    await app.must("PRAGMA journal_mode = DELETE", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const store = new MemoryStore();
    const run = new FleetRun([foundTarget(path, "a")], store);
    await run.until("the warning", () => run.isSaid("not in WAL mode"));
    for (let round = 0; round < 3; round++) await run.discovery();
    expect(run.saidCount("not watched")).toBe(1);
    const { state, failure, lagMs } = run.status("a");
    expect([state, failure?.code, lagMs]).toEqual(["failing", "not-wal", null]);
    await app.must("PRAGMA journal_mode = WAL");
    await run.discovery();
    await run.uploaded(1, "a");
    expect(run.status("a").state).toBe("watching");
    const result = await run.stop();
    expect(result.stopped).toEqual([]);
    expect([run.all("failed"), run.all("stopped")]).toEqual([[], []]);
    await app.close();
  });

  test("is logged again when the reason changes", async () => {
    const one = await tenant("one");
    writeFileSync(
      one.path,
      "no database at all, but long enough to be looked at as if it were one".repeat(9),
    );
    const run = new FleetRun([one], new MemoryStore());
    await run.until("the warning", () => run.isSaid("not a SQLite database"));
    rmSync(one.path);
    await run.discovery();
    await run.until("the other", () => run.saidCount("not watched") === 2);
    await run.discovery();
    expect(run.saidCount("not watched")).toBe(2);
    await run.stop();
  });

  test("that is only just created, or deleted again, is not logged at first sight", async () => {
    const one = await tenant("one");
    const two = await tenant("two");
    writeFileSync(one.path, "");
    rmSync(dirname(two.path), { recursive: true });
    const run = new FleetRun([one, two], new MemoryStore());
    await run.until(
      "a look at both",
      () => run.status("one").failure !== null && run.status("two").failure !== null,
    );
    await run.find(one);
    expect(await run.gone("two")).toBe("its file is gone");
    expect(run.saidCount("not watched")).toBe(1);
    expect(run.lines.filter(({ level }) => level === "error")).toEqual([]);
    await run.stop();
  });

  test("is taken over from another walrust when the other ends, with its history", async () => {
    const one = await tenant("one");
    const store = new MemoryStore();
    const first = await new FleetRun([one], store).watching();
    await first.uploaded(1, "one");
    const second = new FleetRun([one], store);
    await second.until("the warning", () => second.isSaid("another walrust has it"));
    await second.discovery();
    const app = await SqliteProcess.open(one.path);
    await app.must("INSERT INTO t(v) VALUES ('of the first')");
    await first.uploaded(2, "one");
    await first.stop();
    await second.discovery();
    await second.until("watching", () => second.all("watching").length === 1);
    await app.must("INSERT INTO t(v) VALUES ('of the second')");
    await second.uploaded(3, "one");
    await second.stop();
    expect([second.saidCount("not watched"), second.all("stopped"), second.all("failed")]).toEqual([
      1,
      [],
      [],
    ]);
    expect((await provenHistory(store, "one")).length).toBe(3);
    await app.close();
  });

  test("that the store prevents is a failure, and tried again", async () => {
    const one = await tenant("one");
    const store = new FaultyStore(new MemoryStore());
    store.before = () => {
      throw unreachable();
    };
    const run = new FleetRun([one], store);
    await run.until("the failure", () => run.all("failed").length === 1);
    await run.until("lag", () => (run.status("one").lagMs ?? 0) > 0);
    store.before = () => {};
    await run.uploaded(1, "one");
    await run.until("recovered", () => run.all("recovered").length === 1);
    expect([run.status("one").lagMs, run.status("one").failure]).toEqual([0, null]);
    expect(run.saidCount("not watched")).toBe(0);
    await run.stop();
  });

  test("that another writer has stops for good, and the watch continues", async () => {
    const one = await tenant("one");
    const store = new MemoryStore();
    const run = await new FleetRun([one], store).watching();
    await run.uploaded(1, "one");
    const key = "one/0000/0000000000000002-0000000000000002.ltx";
    const metadata = { "walrust-writer": "f".repeat(32), sha256: "0".repeat(64) };
    await store.put(key, { kind: "bytes", bytes: new Uint8Array(9) }, { metadata });
    const app = await SqliteProcess.open(one.path);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the end of it", () => run.all("stopped").length === 1);
    await run.discovery();
    await run.discovery();
    expect([run.isDone, run.status("one").state, run.all("watching").length]).toEqual([false, "stopped", 1]);
    const { stopped } = await run.stop();
    expect(stopped.map(({ error }) => error.code)).toEqual(["foreign-writer"]);
    await app.close();
  });

  test("with the name of another is logged once until the name is free", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const twin = foundTarget(two.path, "one");
    const store = new MemoryStore();
    const run = await new FleetRun([one, twin], store).watching();
    for (let round = 0; round < 2; round++) await run.discovery();
    expect([run.databases, run.saidCount("has the same name")]).toEqual([["one"], 1]);
    const synced = (await askForSync(store, 10_000)).map(({ path, outcome }) => [path, outcome]);
    expect(Object.fromEntries(synced)).toEqual({ [one.path]: "synced", [two.path]: "stopped" });
    await run.find(twin);
    await run.gone("one");
    await run.until("the other", () => run.all("watching").at(-1)?.path === two.path);
    await run.stop();
  });
});

describe("a watched find", () => {
  test("that is replaced by something else fails like every other, and recovers", async () => {
    const [one, two] = [await tenant("one"), await tenant("two")];
    const store = new MemoryStore();
    const run = await new FleetRun([one], store).watching();
    await run.uploaded(1, "one");
    for (const suffix of ["-wal", "-shm"]) rmSync(`${one.path}${suffix}`, { force: true });
    writeFileSync(`${one.path}.new`, "no database".repeat(99));
    renameSync(`${one.path}.new`, one.path);
    run.clock.pass(1_500);
    await run.until("the failure", () => run.all("failed").length === 1);
    run.clock.pass(9_000);
    expect(run.status("one").lagMs).toBeGreaterThanOrEqual(9_000);
    renameSync(two.path, one.path);
    run.clock.pass(30_000);
    await run.until("recovered", () => run.all("recovered").length === 1);
    await run.until("no lag", () => run.status("one").lagMs === 0);
    await run.stop();
    expect(Buffer.compare(await newestImage(store, "one"), imageOf(one.path))).toBe(0);
  });

  test("whose file is missing though the glob still finds it is logged once", async () => {
    const one = await tenant("one");
    const run = await new FleetRun([one], new MemoryStore()).watching();
    await run.uploaded(1, "one");
    rmSync(one.path);
    run.clock.pass(1_500);
    await run.until("a look", () => run.lines.some(({ message }) => message.includes("was replaced")));
    for (let round = 0; round < 4; round++) await run.discovery();
    expect([run.saidCount("is gone"), run.all("failed")]).toEqual([1, []]);
    await run.stop();
  });

  test("that is named stays a failure while its file is missing", async () => {
    const { path } = await tenant("one");
    const named = targetOf(path, "one");
    const run = await new FleetRun([named], new MemoryStore()).watching();
    await run.uploaded(1, "one");
    rmSync(path);
    run.clock.pass(1_500);
    await run.until("the failure", () => run.all("failed").length === 1);
    await run.find();
    await run.discovery();
    expect([run.databases, run.all("let-go")]).toEqual([["one"], []]);
    await run.stop();
  });
});

describe("a discovery", () => {
  test("that fails is logged once and changes nothing, and its end is logged once", async () => {
    const one = await tenant("one");
    let failures = 0;
    let isBroken = true;
    const discover = async () => {
      if (!isBroken) return [one];
      failures++;
      throw new Error("permission denied");
    };
    const run = new FleetRun([one], new MemoryStore(), { discover });
    await run.uploaded(1, "one");
    for (let count = 1; count <= 3; count++) {
      run.clock.pass(5_000);
      await run.until("a failure", () => failures === count);
    }
    isBroken = false;
    run.clock.pass(5_000);
    await run.until("its end", () => run.isSaid("databases can be discovered again"));
    expect([run.saidCount("permission denied"), run.databases]).toEqual([1, ["one"]]);
    await run.stop();
  });

  test("that is slow runs once, delays no other work, and the end does not wait for it", async () => {
    const one = await tenant("one");
    const door = gate();
    let asked = 0;
    const discover = async () => {
      asked++;
      await door.passed;
      return [];
    };
    const run = new FleetRun([one], new MemoryStore(), { discover });
    await run.uploaded(1, "one");
    const app = await SqliteProcess.open(one.path);
    run.clock.pass(5_000);
    await run.until("the discovery", () => asked === 1);
    run.clock.pass(60_000);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2, "one");
    expect(asked).toBe(1);
    await run.stop();
    door.open();
    await new Promise((resolve) => setImmediate(resolve));
    expect([run.all("let-go"), run.all("watching").length]).toEqual([[], 1]);
    await app.close();
  });
});
