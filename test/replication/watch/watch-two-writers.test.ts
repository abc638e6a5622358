/**
 * Two watches that write one prefix: a copied folder, an undetectable clone, a host that took over. At most
 * one of them continues, no restart takes the prefix back, and the bucket has one history.
 */
import { describe, expect, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { cloneFolderOf, copyFolderOf } from "../../support/histories/copied-folder.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys, keysAt, newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const COPIED = "the local state was copied here from another folder or machine";

function writerOf(path: string): string {
  const reading = readState(stateFolderOf(path));
  if (reading.kind !== "state") throw new Error(`the state is ${reading.kind}`);
  return reading.state.writer;
}

/** A database with TXIDs 1 and 2 in `store`, neither watched nor open. */
async function watchedOnce(store: MemoryStore): Promise<string> {
  const { path, app } = await newDatabase();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES ('second')");
  await run.stop();
  await app.close();
  return path;
}

async function writerIn(store: MemoryStore, key: string): Promise<string | undefined> {
  return (await store.head(key)).metadata["walrust-writer"];
}

/** A watch that stops as soon as it reads the bucket, before it writes anything. */
async function expectRefused(path: string, store: MemoryStore): Promise<WatchRun> {
  const faulty = new FaultyStore(store);
  const run = new WatchRun([targetOf(path)], faulty);
  const { stopped } = await run.done;
  expect(stopped.map(({ error }) => [error.code, error.exitCode])).toEqual([["foreign-writer", 4]]);
  expect(stopped[0]!.error.hint).toContain(`remove ${stateFolderOf(path).folder} and start again`);
  expect(faulty.puts).toEqual([]);
  return run;
}

async function expectNewest(store: MemoryStore, path: string): Promise<void> {
  await provenHistory(store, "app");
  expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
}

/** Waits until a watch was stopped because of another writer. */
async function stoppedByOther(run: WatchRun): Promise<string> {
  await run.until("the stop", () => run.all("stopped").length > 0);
  const [event] = run.all("stopped");
  expect(event).toMatchObject({ code: "foreign-writer" });
  await run.done;
  return event!.message;
}

describe("watch of a folder that was copied with its state", () => {
  test("a copy is a new writer, logs this once, and uploads nothing because of it", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const copy = copyFolderOf(path);
    const keys = await allKeys(store);
    const run = await watchOne(copy, store);
    await run.stop();
    expect([run.saidCount(COPIED), await allKeys(store)]).toEqual([1, keys]);
    expect(writerOf(copy)).not.toBe(writerOf(path));
    const again = await watchOne(copy, store);
    await again.stop();
    expect(again.isSaid(COPIED)).toBe(false);
  });

  test("one of original and copy is stopped and refused again, the other continues alone", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const copy = copyFolderOf(path);
    const [app, other] = [await SqliteProcess.open(path), await SqliteProcess.open(copy)];
    const original = await watchOne(path, store);
    const copied = await watchOne(copy, store);
    await other.must("INSERT INTO t(v) VALUES ('in the copy')");
    await copied.uploaded(3);
    await app.must("INSERT INTO t(v) VALUES ('in the original')");
    expect(await stoppedByOther(original)).toContain(`another writer (${writerOf(copy)})`);
    for (let restart = 0; restart < 2; restart++) {
      expect((await expectRefused(path, store)).isSaid(writerOf(copy))).toBe(true);
      await copied.commit(other, `INSERT INTO t(v) VALUES ('after restart ${restart}')`);
    }
    await copied.stop();
    // The copy is another file, so the capture is by difference.
    const reasons = copied.all("re-anchored").map(({ reason }) => reason);
    expect(reasons).toEqual(["the database file was written while it was not watched"]);
    expect(copied.isSaid("with a full file")).toBe(false);
    await expectNewest(store, copy);
    await Promise.all([app.close(), other.close()]);
  });

  test("a copy whose original continued uploads in full and names the bucket's writer", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const copy = copyFolderOf(path);
    const app = await SqliteProcess.open(path);
    const original = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('later')");
    await original.uploaded(3);
    await original.stop();
    const run = await watchOne(copy, store);
    await run.uploaded(4);
    await run.stop();
    expect(run.isSaid(`${COPIED} (writer ${writerOf(path)}), and the bucket is ahead`)).toBe(true);
    expect(run.isSaid(`this history belongs to another writer id (${writerOf(path)}): a deleted`)).toBe(true);
    expect(await writerIn(store, (await keysAt(store, "app", 0)).at(-1)!)).toBe(writerOf(copy));
    await expectNewest(store, copy);
    await app.close();
  });

  test("a copy of another history than the bucket's uploads in full", async () => {
    const copy = copyFolderOf(await watchedOnce(new MemoryStore()));
    const store = new MemoryStore();
    await watchedOnce(store);
    const run = await watchOne(copy, store);
    await run.uploaded(3);
    await run.stop();
    expect(run.isSaid(`and the bucket holds another history: continuing after TXID 2`)).toBe(true);
    await expectNewest(store, copy);
  });

  test("watch captures from a copy during an outage, and checks the bucket before it sends", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const copy = copyFolderOf(path);
    const app = await SqliteProcess.open(path);
    const original = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('later')");
    await original.uploaded(3);
    await original.stop();
    const other = await SqliteProcess.open(copy);
    const faulty = new FaultyStore(store);
    faulty.before = () => {
      throw unreachable();
    };
    const run = await new WatchRun([targetOf(copy)], faulty).watching();
    await other.must("INSERT INTO t(v) VALUES ('in the copy')");
    await run.until("a capture", () => run.status().pendingCount > 0);
    faulty.before = () => {};
    await run.uploaded(4);
    await run.stop();
    expect([run.saidCount(COPIED), run.all("stopped")]).toEqual([1, []]);
    await expectNewest(store, copy);
    await Promise.all([app.close(), other.close()]);
  });

  test("pending files in a copy are sent where the bucket ends just before them", async () => {
    const store = new MemoryStore();
    const { path, app } = await newDatabase();
    const faulty = new FaultyStore(store);
    const run = await watchOne(path, faulty, { sync: { shutdownTimeoutMs: 50 } });
    faulty.before = (operation) => {
      if (operation === "put") throw new Error("no network");
    };
    await app.must("INSERT INTO t(v) VALUES ('waits')");
    await run.until("the capture", () => run.status().pendingCount > 0);
    await run.stop();
    await app.close();
    const copy = copyFolderOf(path);
    const copied = await watchOne(copy, store);
    await copied.uploaded(2);
    await copied.stop();
    expect([copied.saidCount(COPIED), copied.all("re-anchored")]).toEqual([1, []]);
    // The original sends the same bytes, so it is not another writer.
    const original = await watchOne(path, store);
    await original.stop();
    expect(original.all("stopped")).toEqual([]);
    await expectNewest(store, path);
  });

  test("a renamed folder is no copy", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const writer = writerOf(path);
    const folder = join(tempFolder("moved"), "folder");
    renameSync(dirname(path), folder);
    const run = await watchOne(join(folder, "app.db"), store);
    await run.stop();
    expect([run.isSaid(COPIED), writerOf(join(folder, "app.db"))]).toEqual([false, writer]);
  });
});

describe("watch of an undetectable clone", () => {
  test("the writer that has uploaded is stopped at the other's object, and stays so", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const clone = cloneFolderOf(path);
    const [app, other] = [await SqliteProcess.open(path), await SqliteProcess.open(clone)];
    const original = await watchOne(path, store);
    await app.must("INSERT INTO t(v) VALUES ('in the original')");
    await original.uploaded(3);
    const cloned = await watchOne(clone, store);
    await cloned.uploaded(4);
    await app.must("INSERT INTO t(v) VALUES ('again in the original')");
    expect(await stoppedByOther(original)).toContain("another process that has a copy of our local state");
    await expectRefused(path, store);
    await cloned.commit(other, "INSERT INTO t(v) VALUES ('in the clone')");
    await cloned.stop();
    await expectNewest(store, clone);
    await Promise.all([app.close(), other.close()]);
  });

  test("the writer that had uploaded nothing continues once, and the other is stopped", async () => {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const clone = cloneFolderOf(path);
    const [app, other] = [await SqliteProcess.open(path), await SqliteProcess.open(clone)];
    const original = await watchOne(path, store);
    const cloned = await watchOne(clone, store);
    await other.must("INSERT INTO t(v) VALUES ('in the clone')");
    await cloned.uploaded(3);
    await app.must("INSERT INTO t(v) VALUES ('in the original')");
    await original.uploaded(4);
    expect(original.isSaid("from a state that is lost")).toBe(true);
    await other.must("INSERT INTO t(v) VALUES ('again in the clone')");
    await stoppedByOther(cloned);
    await original.commit(app, "INSERT INTO t(v) VALUES ('again in the original')");
    await original.stop();
    await expectNewest(store, path);
    await Promise.all([app.close(), other.close()]);
  });
});

describe("watch of a prefix that another host took over", () => {
  /** A is watched and idle; C, without state, took its prefix over and wrote TXIDs 3 and 4. */
  async function takenOver(): Promise<{
    store: MemoryStore;
    path: string;
    app: SqliteProcess;
    host: string;
  }> {
    const store = new MemoryStore();
    const path = await watchedOnce(store);
    const host = copyFolderOf(path);
    rmSync(stateFolderOf(host).folder, { recursive: true });
    const [app, other] = [await SqliteProcess.open(path), await SqliteProcess.open(host)];
    const run = await watchOne(path, store);
    const taken = await watchOne(host, store);
    await taken.uploaded(3);
    await taken.commit(other, "INSERT INTO t(v) VALUES ('on the new host')");
    expect(taken.isSaid(`this history belongs to another writer id (${writerOf(path)}): a deleted`)).toBe(
      true,
    );
    await app.must("INSERT INTO t(v) VALUES ('on the old host')");
    await stoppedByOther(run);
    await taken.stop();
    await other.close();
    return { store, path, app, host };
  }

  test("the stopped one is refused again; without its state folder it takes over, and logs it", async () => {
    const { store, path, app, host } = await takenOver();
    await expectRefused(path, store);
    await expectNewest(store, host);
    const theirs = writerOf(host);
    rmSync(stateFolderOf(path).folder, { recursive: true });
    const run = await watchOne(path, store);
    await run.uploaded(5);
    expect(run.isSaid(`this history belongs to another writer id (${theirs}): a deleted`)).toBe(true);
    await run.stop();
    await expectNewest(store, path);
    await app.close();
  });

  test("the stopped one may write another prefix, and its own without the other's objects", async () => {
    const { store, path, app } = await takenOver();
    const elsewhere = await watchOne(path, new MemoryStore({ url: "s3://elsewhere" }));
    expect((await elsewhere.stop()).stopped).toEqual([]);
    rmSync(stateFolderOf(path).statePath);
    await expectRefused(path, store);
    const keys = await keysAt(store, "app", 0);
    await store.delete(keys.slice(1));
    const run = await watchOne(path, store);
    await run.until("TXID 3", () => run.uploadedTxid() >= 3);
    expect(run.isSaid("newest object is not the other writer")).toBe(true);
    await run.stop();
    await expectNewest(store, path);
    await app.close();
  });

  test("the stopped one begins anew in an emptied prefix", async () => {
    const { store, path, app } = await takenOver();
    await store.delete(await allKeys(store));
    const run = await watchOne(path, store);
    expect((await run.stop()).stopped).toEqual([]);
    await expectNewest(store, path);
    await app.close();
  });
});

const OTHERS_KEY = "app/0000/0000000000000003-0000000000000003.ltx";

// Between the begin and the end of such an upload the watch looks at the database several times.
test("a slow upload of several commits is followed by the check for another writer", async () => {
  let turns = 0;
  const sleep = (durationMs: number, signal?: AbortSignal): Promise<void> => {
    turns++;
    return systemEnv(SILENT_LOG).sleep(durationMs, signal);
  };
  const { path, app } = await newDatabase();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const run = new WatchRun([targetOf(path)], store, {}, { sleep });
  await run.watching();
  await run.uploaded(1);
  store.before = async (operation, key) => {
    if (operation !== "put" || !key.startsWith("app/0000/")) return;
    const isFirst = !isMerged(key);
    const before = turns;
    await waitUntil(() => (isFirst ? run.status().pendingCount >= 3 : turns > before + 10));
    if (!isFirst) await memory.put(OTHERS_KEY, { kind: "bytes", bytes: Buffer.from("theirs") });
  };
  for (let pending = 0; pending < 3; pending++) {
    await run.until("the capture", () => run.status().pendingCount >= pending);
    await app.must(`INSERT INTO t(v) VALUES (${pending})`);
  }
  expect(await stoppedByOther(run)).toContain(OTHERS_KEY);
  await app.close();
});

/** Whether an object holds several TXIDs. */
function isMerged(key: string): boolean {
  const [minTxid, maxTxid] = key.slice(key.lastIndexOf("/") + 1, -".ltx".length).split("-");
  return minTxid !== maxTxid && key.startsWith("app/0000/");
}
