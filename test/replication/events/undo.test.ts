/**
 * A watch after an undo. Where no watch has run on the restored file, the watch continues from the earlier
 * state. Where one has, the history goes on from there with the pages that differ.
 */
import { expect, spyOn, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { Txid } from "../../../src/format/types.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { DraftFile } from "../../../src/recovery/restore/draft-file.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import type { UndoneState } from "../../../src/recovery/restore/restored-state.ts";
import { undoRestore } from "../../../src/recovery/restore/undo-restore.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { expectStillCaptured, loggedAnchors, provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, type WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const env = systemEnv(SILENT_LOG);
const places = LocalPlaces.standard();
const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
  INSERT INTO t(v) SELECT randomblob(900) FROM n`;
const CHANGE = "UPDATE t SET v = randomblob(900) WHERE id < 5";

/** A stopped watch of a database at TXID 3, closed or killed. */
async function watched(store: MemoryStore, end: "close" | "kill" = "close"): Promise<string> {
  const { path, app } = await newDatabase();
  await app.must(FILL);
  const run = await watchOne(path, store);
  await run.commit(app, CHANGE);
  await run.commit(app, CHANGE);
  await run.stop();
  await app[end]();
  return path;
}

async function restoreOver(path: string, store: MemoryStore, txid: number): Promise<void> {
  const point = { kind: "txid", txid: txid as Txid } as const;
  const request = { name: "app", outputPath: path, point, force: true, dryRun: false };
  await restore(request, { store, env, places });
}

function undoneState(path: string): UndoneState {
  return undoRestore(path, { env, places }).state;
}

/** One commit on the present database, by a watch of its own. */
async function watchOnce(path: string, store: MemoryStore): Promise<void> {
  const run = await watchOne(path, store);
  await run.until("the end of the anchor", () => run.status().state === "watching");
  const app = await SqliteProcess.open(path);
  await app.must("INSERT INTO t(v) VALUES ('on the restored file')");
  await run.until("its upload", () => run.status().pendingCount === 0 && run.all("uploaded").length > 0);
  await app.close();
  await run.stop();
}

/** A watch that has captured a first commit, perhaps after a difference, and then one without an anchor. */
async function continued(path: string, store: MemoryStore): Promise<WatchRun> {
  const run = await watchOne(path, store);
  const before = run.all("watching")[0]!.txid;
  const app = await SqliteProcess.open(path);
  await app.must("INSERT INTO t(v) VALUES ('after the undo')");
  await run.until("its upload", () => run.uploadedTxid() > before && run.status().pendingCount === 0);
  await app.close();
  await expectStillCaptured(run, path);
  for (const { mode } of loggedAnchors(run)) expect(mode).toBe("difference");
  return run;
}

test.each(["close", "kill"] as const)(
  "undo before any watch of the restored file: the watch continues, after a %s of the application",
  async (end) => {
    const store = new MemoryStore();
    const path = await watched(store, end);
    await restoreOver(path, store, 2);
    expect(undoneState(path)).toBe("returned");
    const keys = await allKeys(store);
    const run = await continued(path, store);
    expect(await allKeys(store)).toEqual(expect.arrayContaining(keys));
    expect(run.all("uploaded").map(({ kind }) => kind)).not.toContain("snapshot");
    await provenEnd(run, path, store);
  },
);

test("undo after a watch of the restored file: the history goes on with a difference", async () => {
  const store = new MemoryStore();
  const path = await watched(store);
  await restoreOver(path, store, 3);
  await watchOnce(path, store);
  expect(undoneState(path)).toBe("kept");
  const run = await watchOne(path, store);
  await run.until("the anchor", () => loggedAnchors(run).length > 0);
  await run.until("its upload", () => run.status().pendingCount === 0);
  expect(loggedAnchors(run).map(({ mode }) => mode)).toEqual(["difference"]);
  await expectStillCaptured(run, path);
  await provenEnd(run, path, store);
});

test("undo of the undo, with a watch in between: the history goes on with a difference", async () => {
  const store = new MemoryStore();
  const path = await watched(store);
  await restoreOver(path, store, 3);
  undoneState(path);
  await watchOnce(path, store);
  expect(undoneState(path)).toBe("kept");
  const run = await watchOne(path, store);
  await run.until("the anchor", () => loggedAnchors(run).length > 0);
  await run.until("its upload", () => run.status().pendingCount === 0);
  expect(loggedAnchors(run)[0]!.mode).toBe("difference");
  await provenEnd(run, path, store);
});

test("a restore that ends before it replaces the file leaves a state that no watch trusts", async () => {
  const store = new MemoryStore();
  const path = await watched(store);
  const image = imageOf(path);
  const mock = spyOn(DraftFile.prototype, "publish").mockImplementation(() => {
    throw new Error("killed");
  });
  await expect(restoreOver(path, store, 2)).rejects.toThrow("killed");
  mock.mockRestore();
  expect(Buffer.compare(imageOf(path), image)).toBe(0);
  const run = await watchOne(path, store);
  await run.until("the anchor", () => loggedAnchors(run).length > 0);
  await run.until("its upload", () => run.status().pendingCount === 0);
  await expectStillCaptured(run, path);
  await provenEnd(run, path, store);
});

test("captures that waited for their upload are uploaded after the undo", async () => {
  const bucket = new MemoryStore();
  const store = new FaultyStore(bucket);
  const { path, app } = await newDatabase();
  await app.must(FILL);
  const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 50 } });
  await run.commit(app, CHANGE);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  await app.must(CHANGE);
  await run.until("a capture", () => run.status().pendingCount > 0);
  await run.stop();
  await app.close();
  await restoreOver(path, bucket, 1);
  expect(undoneState(path)).toBe("returned");
  const again = await continued(path, bucket);
  expect(again.all("uploaded").map(({ txid }) => txid)).toContain(3);
  const history = await provenEnd(again, path, bucket);
  expect(history.slice(0, 3).map(({ txid }) => txid)).toEqual([1, 2, 3]);
});

test("captures that waited are dropped where a watch of the restored file took their TXID", async () => {
  const bucket = new MemoryStore();
  const store = new FaultyStore(bucket);
  const { path, app } = await newDatabase();
  await app.must(FILL);
  const run = await watchOne(path, store, { sync: { shutdownTimeoutMs: 50 } });
  await run.commit(app, CHANGE);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  await app.must(CHANGE);
  await run.until("a capture", () => run.status().pendingCount > 0);
  await run.stop();
  await app.close();
  await restoreOver(path, bucket, 1);
  await watchOnce(path, bucket);
  expect(undoneState(path)).toBe("kept");
  const again = await continued(path, bucket);
  await provenEnd(again, path, bucket);
});
