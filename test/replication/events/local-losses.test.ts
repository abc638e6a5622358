/**
 * A local file that is torn, wrong or missing when a watch starts: the state, the page sums, and a captured
 * file that waits for its upload. The watch finds the loss, a WARN names it, and every commit is restored.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { askForSync } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

type Loss = (path: string) => void;

const GONE: Loss = (path) => rmSync(path);
const EMPTY: Loss = (path) => truncateSync(path, 0);
const TORN: Loss = (path) => truncateSync(path, Math.floor(readFileSync(path).length / 2));
const WRONG: Loss = (path) => {
  const bytes = readFileSync(path);
  for (let at = 100; at < bytes.length; at += 50) bytes[at] = bytes[at]! ^ 0xff;
  writeFileSync(path, bytes);
};

/** The footer is sound, and the pages are not what was captured. */
const FLIPPED: Loss = (path) => {
  const bytes = readFileSync(path);
  bytes[500] = bytes[500]! ^ 0xff;
  writeFileSync(path, bytes);
};

const CASES: readonly (readonly [file: string, loss: string, Loss, said: RegExp])[] = [
  ["state.json", "gone", GONE, /there is no local state: continuing after TXID 2/],
  ["state.json", "empty", EMPTY, /the local state is lost \(.+\): continuing after TXID 2/],
  ["state.json", "torn", TORN, /the local state is lost \(.+\): continuing after TXID 2/],
  ["state.json", "wrong", WRONG, /the local state is lost \(.+\): continuing after TXID 2/],
  ["pages.sum", "gone", GONE, /the page sums are lost/],
  ["pages.sum", "empty", EMPTY, /the page sums are lost/],
  ["pages.sum", "torn", TORN, /the page sums are lost/],
  ["pages.sum", "wrong", WRONG, /the page sums are lost/],
  ["a captured file", "gone", GONE, /the bucket lacks objects.+; a new snapshot follows/],
  [
    "a captured file",
    "empty",
    EMPTY,
    /captured files are lost \(.+ is incomplete\): continuing after TXID 2/,
  ],
  ["a captured file", "torn", TORN, /captured files are lost \(.+ is incomplete\): continuing after TXID 2/],
  ["a captured file", "wrong", FLIPPED, /is not what was captured: continuing after TXID 2/],
];

test.each(CASES)("%s that is %s is found, named and repaired", async (file, _, lose, said) => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const change = { sync: { shutdownTimeoutMs: 50 } };
  const first = await new WatchRun([targetOf(path)], store, change).watching();
  await first.uploaded(1);
  await first.commit(app, "INSERT INTO t(v) VALUES (randomblob(60000))");
  // The page sums are lost where nothing waits: a captured file that waits is replayed into them.
  const isWaiting = file !== "pages.sum";
  if (isWaiting) {
    store.before = (operation) => {
      if (operation === "put") throw unreachable();
    };
    await app.must("INSERT INTO t(v) VALUES (randomblob(60000))");
    await first.until("the capture", () => first.status().txid === 3);
  }
  await first.stop();
  const { folder, spoolFolder } = targetOf(path).paths;
  const [captured = ""] = readdirSync(spoolFolder).filter((name) => name.endsWith(".ltx"));
  lose(file === "a captured file" ? join(spoolFolder, captured) : join(folder, file));
  store.before = () => {};

  const second = await new WatchRun([targetOf(path)], store, change).watching();
  const warnings = (): string[] =>
    second.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  await second.until("the WARN", () => warnings().some((message) => said.test(message)));
  await second.until("all uploads", () => second.status().pendingCount === 0 && second.status().txid >= 2);
  await app.must("INSERT INTO t(v) VALUES ('after')");
  const txid = second.status().txid + 1;
  await second.until("the commit", () => second.uploadedTxid() >= Math.min(txid, second.status().txid));
  expect(await second.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
});

test("a state folder that is gone with a waiting capture is made anew, and the watch continues", async () => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.uploaded(1);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  // Too large to be held in memory until the upload.
  await app.must("INSERT INTO t(v) VALUES (randomblob(200000))");
  await run.until("the capture", () => run.status().txid === 2);
  rmSync(targetOf(path).paths.folder, { recursive: true });
  store.before = () => {};
  await run.uploaded(2);
  await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
  await run.until("recovered", () => run.status().failure === null);
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
  await app.close();
});

/** A database whose newest capture is lost before it is uploaded, and its store, which does not answer. */
async function lostCapture() {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const first = await new WatchRun([targetOf(path)], store, { sync: { shutdownTimeoutMs: 50 } }).watching();
  await first.uploaded(1);
  store.before = () => {
    throw unreachable();
  };
  await app.must("INSERT INTO t(v) VALUES ('captured')");
  await first.until("the capture", () => first.status().txid === 2);
  expect((await first.stop()).undrained).toEqual(["app"]);
  const { spoolFolder } = targetOf(path).paths;
  for (const name of readdirSync(spoolFolder)) rmSync(join(spoolFolder, name), { recursive: true });
  return { path, app, store };
}

// Seeds 2046 and 9888 of the simulator: nothing waited, so nothing compared the bucket before the next
// commit.
test("captured files that are lost while the bucket does not answer are missed by a sync", async () => {
  const { path, app, store } = await lostCapture();
  const second = await new WatchRun([targetOf(path)], store).watching();
  expect(second.isSaid("cannot check the bucket yet")).toBe(true);
  expect((await askForSync(store, 300))[0]).toMatchObject({ outcome: "behind", uploadedTxid: 0 });
  store.before = () => {};
  expect((await askForSync(store, 10_000))[0]).toMatchObject({ outcome: "synced" });
  expect(Buffer.compare(await newestImage(store.inner, "app"), imageOf(path))).toBe(0);
  await second.stop();
  await app.close();
});

// Seed 133 of the simulator: a power cut took the captured file.
test("captured files that are lost are not shown as uploaded before the bucket answers", async () => {
  const { path, app, store } = await lostCapture();
  const clock = new ShiftedClock();
  const second = await new WatchRun([targetOf(path)], store, {}, clock.overrides).watching();
  expect(second.status()).toMatchObject({ txid: 2, uploadedTxid: 0, pendingCount: 0 });
  await second.until("a look", () => (second.status().lagMs ?? 0) > 0);
  clock.pass(61_000);
  await second.until("the condition", () => second.status().conditions.length > 0);
  const { conditions, lagMs, uploadedTxid } = second.status();
  expect(conditions.map(({ code }) => code)).toEqual(["bucket-unchecked"]);
  expect(uploadedTxid).toBe(0);
  expect(lagMs).toBeGreaterThanOrEqual(61_000);

  store.before = () => {};
  clock.pass(60_000);
  await second.until("the lost commit", () => second.status().uploadedTxid >= 2);
  const isWell = (): boolean => second.status().lagMs === 0 && second.status().failure === null;
  await second.until("health", () => isWell() && second.status().conditions.length === 0, 20_000);
  expect(Buffer.compare(await newestImage(store.inner, "app"), imageOf(path))).toBe(0);
  await second.stop();
  await app.close();
});

test("a new attach while the bucket does not answer keeps the TXID that the watch has uploaded", async () => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.uploaded(1);
  const txid = await run.commit(app, "INSERT INTO t(v) VALUES ('uploaded')");
  store.before = () => {
    throw unreachable();
  };
  const attaches = run.saidCount("cannot check the bucket yet");
  rmSync(`${path}-shm`);
  await run.until("the attach", () => run.saidCount("cannot check the bucket yet") > attaches, 15_000);
  await run.until("the capture", () => run.status().state !== "starting");
  expect(run.status().uploadedTxid).toBe(txid);
  store.before = () => {};
  await run.until("health", () => run.status().failure === null, 20_000);
  expect(run.status().uploadedTxid).toBeGreaterThanOrEqual(txid);
  await run.stop();
  await app.close();
}, 40_000);
