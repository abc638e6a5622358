/**
 * Failures under a running watch: of the store, of the disk, of the files beside the database, and by other
 * writers. Captured files arrive later and in order. The log reports a failure once and its end once.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { blockReplacing } from "../../support/blocked-path.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { keysAt, newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, hang, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

function stateTxid(path: string): number {
  const reading = readState(stateFolderOf(path));
  return reading.kind === "state" ? reading.state.txid : 0;
}

async function expectSame(store: MemoryStore, path: string, name = "app"): Promise<void> {
  expect(Buffer.compare(await newestImage(store, name), imageOf(path))).toBe(0);
}

describe("watch while the store fails", () => {
  test("all is uploaded in order afterwards; failed and recovered are logged once", async () => {
    const { path, app } = await newDatabase();
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const run = await watchOne(path, store);
    let refused = 0;
    store.before = (operation) => {
      if (operation !== "put") return;
      refused++;
      throw unreachable();
    };
    for (let txid = 2; txid <= 6; txid++) {
      await app.must(`INSERT INTO t(v) VALUES (${txid})`);
      await run.until(`the capture of ${txid}`, () => stateTxid(path) === txid);
    }
    await run.until("a second try", () => refused >= 2);
    store.before = () => {};
    await run.uploaded(6);
    await run.until("recovered", () => run.all("recovered").length > 0);
    await run.stop();
    // Files that waited behind the failed one go as one.
    const points = run.all("uploaded").map(({ txid }) => txid);
    expect([points.slice(0, 2), points.at(-1), points.length < 6]).toEqual([[1, 2], 6, true]);
    expect(run.all("failed").map(({ code }) => code)).toEqual(["storage"]);
    expect(run.all("recovered").length).toBe(1);
    await expectSame(memory, path);
    await app.close();
  });

  test("a put that took effect before it failed is not sent again as another object", async () => {
    const { path, app } = await newDatabase();
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const failed = new Set<string>();
    store.after = (operation, key) => {
      if (operation !== "put" || failed.has(key)) return;
      failed.add(key);
      throw unreachable();
    };
    const run = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2);
    await run.stop();
    expect((await provenHistory(memory, "app")).length).toBe(2);
    await expectSame(memory, path);
    await app.close();
  });

  test("a stop with a store that hangs ends at the shutdown timeout and reports pending files", async () => {
    const { path, app } = await newDatabase();
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 200 } });
    store.before = (operation, _, signal) => (operation === "put" ? hang(signal) : undefined);
    await app.must("INSERT INTO t(v) VALUES ('stays here')");
    await run.until("the capture", () => stateTxid(path) === 2);
    const startedMs = performance.now();
    expect(await run.stop()).toEqual({ stopped: [], undrained: ["app"], uncaptured: [] });
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    store.before = () => {};
    const next = await watchOne(path, store);
    await next.uploaded(2);
    await next.stop();
    await expectSame(memory, path);
    await app.close();
  });

  test.each(["head", "list"] as const)(
    "a stop ends at the timeout when a %s hangs after an upload",
    async (hung) => {
      const { path, app } = await newDatabase();
      const memory = new MemoryStore();
      const store = new FaultyStore(memory);
      const run = new WatchRun([targetOf(path)], store, { sync: { shutdownTimeoutMs: 200 } });
      let isHanging = false;
      store.before = (operation, _, signal) => {
        if (operation !== hung || !store.puts.length) return;
        isHanging = true;
        return hang(signal);
      };
      store.after = (operation) => {
        if (hung === "head" && operation === "put") throw unreachable();
      };
      await run.until("the hanging call", () => isHanging);
      const ended = run.stop();
      await run.until("the end", () => run.isDone);
      await ended;
      await app.close();
    },
  );

  test("a manifest that cannot be written stops nothing", async () => {
    const { path, app } = await newDatabase();
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    store.before = (operation, key) => {
      if (operation === "put" && key.endsWith("manifest.json")) throw unreachable();
    };
    const run = await watchOne(path, store);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    await run.stop();
    expect(run.lines.some(({ message }) => message.includes("manifest"))).toBe(true);
    await expectSame(memory, path);
    await app.close();
  });
});

describe("watch and another writer", () => {
  test("a foreign object at the next TXID stops that database as foreign-writer, not others", async () => {
    const one = await newDatabase();
    const two = await newDatabase();
    const store = new MemoryStore();
    const run = new WatchRun([targetOf(one.path, "one"), targetOf(two.path, "two")], store);
    await run.uploaded(1, "one");
    await run.uploaded(1, "two");
    const key = "one/0000/0000000000000002-0000000000000002.ltx";
    const metadata = { "walrust-writer": "f".repeat(32), sha256: "0".repeat(64), chain: "0".repeat(64) };
    await store.put(key, { kind: "bytes", bytes: Buffer.from("theirs") }, { metadata, createOnly: true });
    await one.app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the stop", () => run.all("stopped").length > 0);
    expect(run.all("stopped")[0]).toMatchObject({ database: "one", code: "foreign-writer" });
    await two.app.must("INSERT INTO t(v) VALUES (1)");
    await run.uploaded(2, "two");
    const { stopped } = await run.stop();
    expect(stopped.map(({ database, error }) => [database, error.exitCode])).toEqual([["one", 4]]);
    expect(await (await store.get(key)).bytes()).toEqual(new Uint8Array(Buffer.from("theirs")));
    await expectSame(store, two.path, "two");
    await Promise.all([one.app.close(), two.app.close()]);
  });

  test("a foreign writer found only while draining does not delay the end", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, {
      sync: { walSyncIntervalMs: 3_600_000, shutdownTimeoutMs: 30_000 },
    });
    const key = "app/0000/0000000000000002-0000000000000002.ltx";
    const metadata = { "walrust-writer": "f".repeat(32) };
    await store.put(key, { kind: "bytes", bytes: Buffer.from("theirs") }, { metadata });
    await app.must("INSERT INTO t(v) VALUES (1)");
    const startedMs = performance.now();
    const { stopped } = await run.stop();
    expect(stopped.map(({ error }) => error.code)).toEqual(["foreign-writer"]);
    expect(performance.now() - startedMs).toBeLessThan(20_000);
    await app.close();
  });

  test("an object of our own writer that the state lacks is adopted, not overwritten", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    const folder = stateFolderOf(path);
    const [state, sums] = [readFileSync(folder.statePath), readFileSync(folder.sumsPath)];
    await run.commit(app, "INSERT INTO t(v) VALUES ('a')");
    await run.stop();
    // The object appears between the check at the start and the upload.
    const [key] = (await keysAt(store, "app", 0)) as [string];
    const { chunks, metadata } = await store.get(key);
    const bytes = Buffer.concat(await Array.fromAsync(chunks));
    await store.delete([key]);
    const faulty = new FaultyStore(store);
    const late = gate();
    faulty.before = (operation) => (operation === "put" ? late.passed : null);
    writeFileSync(folder.statePath, state);
    writeFileSync(folder.sumsPath, sums);
    await app.must("INSERT INTO t(v) VALUES ('b')");
    const next = new WatchRun([targetOf(path)], faulty);
    await next.until("the upload", () => faulty.puts.length > 0);
    await store.put(key, { kind: "bytes", bytes }, { metadata });
    late.open();
    await next.until("the conflict", () =>
      next.isSaid("was written by this writer, from a state that is lost"),
    );
    await next.uploaded(3);
    await next.stop();
    expect((await provenHistory(store, "app")).length).toBe(3);
    await expectSame(store, path);
    await app.close();
  });
});

describe("watch while the disk fails", () => {
  test("a first snapshot that cannot be written is taken as soon as possible", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const { folder, sumsPath } = stateFolderOf(path);
    const unblock = blockReplacing(sumsPath);
    const run = new WatchRun([targetOf(path)], store);
    await run.until("the failure", () => run.all("failed").length > 0);
    unblock();
    await run.uploaded(1);
    await run.until("recovered", () => run.all("recovered").length > 0);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    await run.stop();
    expect(existsSync(folder)).toBe(true);
    await expectSame(store, path);
    await app.close();
  });

  test("a spool that cannot be written delays the capture and loses nothing", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    const { spoolFolder } = stateFolderOf(path);
    renameSync(spoolFolder, `${spoolFolder}.away`);
    writeFileSync(spoolFolder, "in the way");
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the failure", () => run.all("failed").length > 0);
    await app.must("INSERT INTO t(v) VALUES (2)");
    rmSync(spoolFolder);
    renameSync(`${spoolFolder}.away`, spoolFolder);
    await run.until("recovered", () => run.all("recovered").length > 0);
    await run.stop();
    expect(run.all("failed").length).toBe(1);
    expect((await keysAt(store, "app", 9)).length).toBe(1);
    await expectSame(store, path);
    await app.close();
  });

  test("an anchor whose page sums cannot be put in place is the only file of its TXID", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    const unblock = blockReplacing(stateFolderOf(path).sumsPath);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await run.until("the failure", () => run.all("failed").length > 0);
    unblock();
    await run.uploaded(2);
    await run.commit(app, "INSERT INTO t(v) VALUES (2)");
    await run.stop();
    expect((await provenHistory(store, "app")).map(({ txid }) => Number(txid))).toEqual([1, 2, 3]);
    expect(run.saidCount("with a full file")).toBe(0);
    await expectSame(store, path);
    await app.close();
  });

  // Captures on top of sums for another position have wrong checksums, and no TXID after them restores.
  test("wrong page sums that cannot be made again at once never lead to a wrong checksum", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const first = await watchOne(path, store);
    await first.commit(app, "INSERT INTO t(v) VALUES (1)");
    await first.stop();
    const { sumsPath } = stateFolderOf(path);
    writeFileSync(sumsPath, readFileSync(sumsPath).fill(0xab));
    const unblock = blockReplacing(sumsPath);
    const run = new WatchRun([targetOf(path)], store);
    await run.until("the failure", () => run.all("failed").length > 0);
    await app.must("UPDATE t SET v = 'changed'");
    unblock();
    await run.uploaded(3);
    await run.stop();
    await expectSame(store, path);
    await app.close();
  });
});
