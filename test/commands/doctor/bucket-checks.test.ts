/** The objects of a database that the bucket has lost, and the objects of another writer. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { checkBucket } from "../../../src/commands/doctor/bucket-checks.ts";
import { type Check, Checks } from "../../../src/commands/doctor/check.ts";
import type { FoundDatabase } from "../../../src/discovery/finder.ts";
import { writeState } from "../../../src/local/state.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { recordForeignWriter } from "../../../src/replication/upload/foreign-writer.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { listObjects, newestObjectOrNull } from "../../../src/storage/bucket/catalog.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { captureNext, spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const { env } = recordingEnv();
const never = new AbortController().signal;

async function uploadAll(live: LiveDatabase, store: MemoryStore): Promise<void> {
  const context = { store, uploads: new Semaphore(1), version: "test", env, emit() {}, keepsSent: false };
  expect(await uploadPending(live, context, never, "links")).toEqual({ kind: "drained" });
}

/** A database with three captures in the bucket. */
async function uploaded() {
  const { live, history } = spooledHistory(3);
  const store = new MemoryStore();
  await uploadAll(live, store);
  return { live, history, store };
}

async function check(live: LiveDatabase, store: MemoryStore, isWatched = false): Promise<Check | undefined> {
  const { path, name, paths } = live;
  const found = { path, name, paths } as FoundDatabase;
  const checks = new Checks("database", path);
  await checkBucket(found, { store, env, signal: never, isWatched }, checks);
  expect(checks.all.length).toBeLessThanOrEqual(1);
  return checks.all[0];
}

test("checkBucket finds the newest object, or without a state the history to continue", async () => {
  const { live, store } = await uploaded();
  expect(await check(live, store)).toMatchObject({ check: "bucket", status: "ok" });
  rmSync(live.paths.statePath);
  const found = await check(live, store);
  expect([found!.status, found!.message]).toEqual(["warning", expect.stringContaining("up to TXID 3, by")]);
  expect(await check(live, new MemoryStore())).toBeUndefined();
});

test("checkBucket has nothing to say before the first upload", async () => {
  const { live } = spooledHistory(3);
  expect(await check(live, new MemoryStore())).toBeUndefined();
});

test("checkBucket fails for a bucket that has lost every object, or the newest", async () => {
  const { live, store } = await uploaded();
  const { txid } = live.state!;
  const objects = await listObjects(store, live.name);
  const keys = objects.map(({ key }) => key);
  await store.delete([newestObjectOrNull(objects)!.key]);
  const behind = await check(live, store);
  expect(behind).toMatchObject({ status: "failure", exit: 4 });
  expect(behind!.message).toContain(`TXID ${txid} of ${live.name} was uploaded, but ${store.url} ends with`);
  expect(behind!.hint).toContain("walrust snapshot");
  for (const isWatched of [false, true]) {
    await store.delete(keys);
    const empty = await check(live, store, isWatched);
    expect([empty!.status, empty!.message]).toEqual([
      "failure",
      expect.stringContaining("has no object of it"),
    ]);
  }
});

test("checkBucket says that another writer went on: a failure beside a watch, else a warning", async () => {
  const { live, history, store } = await uploaded();
  const own = live.state!;
  captureNext(live, history);
  live.state = { ...live.state!, writer: "ab".repeat(16) };
  await uploadAll(live, store);
  writeState(live.paths, own);
  const alone = await check(live, store);
  expect([alone!.status, alone!.message]).toEqual(["warning", expect.stringContaining("ab".repeat(16))]);
  expect(await check(live, store, true)).toMatchObject({ status: "failure", exit: 4 });
});

test("checkBucket takes the object of an earlier writer as the one that a restore continues", async () => {
  const { live, store } = await uploaded();
  writeState(live.paths, { ...live.state!, writer: "cd".repeat(16) });
  const found = await check(live, store);
  expect([found!.status, found!.message]).toEqual(["ok", expect.stringContaining("of an earlier writer")]);
});

test("checkBucket repeats the refusal of a watch that stopped because of another writer", async () => {
  const { live, store } = await uploaded();
  const { name } = live;
  const mark = {
    destination: store.url,
    name,
    writer: "ef".repeat(16),
    otherWriter: null,
    key: "k",
    txid: 2,
  };
  recordForeignWriter(live.paths, mark, env);
  const found = await check(live, store);
  expect([found!.exit, found!.message]).toEqual([4, expect.stringContaining("because of another writer")]);
});
