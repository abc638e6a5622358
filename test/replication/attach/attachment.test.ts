/** The attachment where the disk refuses, and where the pin was released before the bucket answers. */
import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { AttachTarget } from "../../../src/discovery/attach-target.ts";
import { WalrustError } from "../../../src/errors.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import { ClosingSignal } from "../../../src/replication/context/closing-signal.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import { OwnWriters } from "../../../src/replication/context/own-writers.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import type { Snapshots } from "../../../src/replication/upkeep/snapshots.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { Attachment } from "../../../src/replication/watch/attachment.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { CAPTURES_ONLY } from "../../support/config.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, targetOf, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

function attachmentOf(
  target: AttachTarget,
  url: string,
  { env } = recordingEnv(),
  store: ObjectStore = new MemoryStore({ url }),
): Attachment {
  const context = {
    store,
    env,
    config: CAPTURES_ONLY,
    attaches: new Semaphore(1),
    anchors: new Semaphore(1),
    writers: new OwnWriters(),
    closing: new ClosingSignal(),
    emit: () => {},
    conditions: new Conditions(null, env, () => {}),
  } as unknown as WatchContext;
  const snapshots = { begin() {}, begun() {}, captured() {}, request() {} } as unknown as Snapshots;
  return new Attachment(target, context, new WalPoller(target.name, context), snapshots);
}

function readStateTxid(path: string): number | null {
  const reading = readState(stateFolderOf(path));
  return reading.kind === "state" ? reading.state.txid : null;
}

test("Attachment.keepDetached returns the failure of the disk, and later the captures", () => {
  const { live } = spooledHistory(3);
  const { path, name, paths } = live;
  const attachment = attachmentOf({ path, name, paths }, live.state!.destination);
  const inTheWay = { ...paths, statePath: paths.statePath, spoolFolder: `${paths.folder}/file` };
  writeFileSync(inTheWay.spoolFolder, "");
  const refused = attachmentOf({ path, name, paths: inTheWay }, live.state!.destination);
  expect(refused.keepDetached(true)).toMatchObject({ message: expect.stringContaining("ENOTDIR") });
  expect(refused.captured).toBeNull();
  rmSync(inTheWay.spoolFolder);
  expect(refused.keepDetached(true)).toBeNull();
  expect(attachment.keepDetached(true)).toBeNull();
  expect(attachment.captured?.pending).toHaveLength(live.pending.length);
});

test("captures that are sent while the attach waits for a listing no longer wait after it", async () => {
  const { path, app } = await newDatabase();
  const bucket = new MemoryStore();
  const first = await watchOne(path, bucket);
  await first.commit(app, "INSERT INTO t(v) VALUES (1)");
  await first.stop();
  const put = bucket.put.bind(bucket);
  bucket.put = () => Promise.reject(new WalrustError("storage", "the store is away", { retryable: true }));
  const second = await watchOne(path, bucket, { sync: { shutdownTimeoutMs: 50 } });
  await app.must("INSERT INTO t(v) VALUES (2)");
  await second.until("a capture", () => readStateTxid(path) === 3);
  await second.stop();
  bucket.put = put;

  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const list = bucket.list.bind(bucket);
  bucket.list = async function* (prefix) {
    bucket.list = list;
    const objects = await Array.fromAsync(list(prefix));
    asked.resolve();
    await gate.promise;
    yield* objects;
  };
  const attachment = attachmentOf(targetOf(path), bucket.url, recordingEnv(), bucket);
  attachment.keepDetached(true);
  const detached = attachment.captured!;
  expect(detached.pending).toHaveLength(1);
  const attaching = attachment.attach(null, new AbortController().signal);
  await asked.promise;
  const context = {
    store: bucket,
    version: "test",
    env: recordingEnv().env,
    emit: () => {},
    keepsSent: true,
  };
  await uploadPending(detached, context, new AbortController().signal, "links");
  gate.resolve();
  await attaching;
  expect(attachment.captured!.pending).toHaveLength(0);
  expect(attachment.progress).toMatchObject({ txid: 3, uploadedTxid: 3 });
  attachment.detach();
  await app.close();
});

test("captures of a closed file are not sent after a gap, which a power cut left before them", async () => {
  const { live } = spooledHistory(3);
  const { path, name, paths } = live;
  const recording = recordingEnv();
  const attachment = attachmentOf({ path, name, paths }, live.state!.destination, recording);
  for (const file of live.pending.slice(0, 2)) rmSync(file.path);
  attachment.keepDetached(true);
  const captured = attachment.captured!;
  expect(captured.pending.map(({ minTxid }) => Number(minTxid))).toEqual([3]);
  const store = new MemoryStore({ url: live.state!.destination });
  const context = { store, version: "test", env: recordingEnv().env, emit: () => {}, keepsSent: false };
  const outcome = await uploadPending(captured, context, new AbortController().signal, "links");
  if (outcome.kind !== "adopt") throw new Error(`the upload ended with ${outcome.kind}`);
  expect(await Array.fromAsync(store.list(""))).toEqual([]);
  attachment.contradicted(outcome.reason);
  attachment.keepDetached(true);
  expect([attachment.captured, attachment.adoptReason]).toEqual([null, null]);
  const said = recording.lines.map(({ level, message }) => `${level} ${message}`);
  expect(said).toEqual([expect.stringMatching(/^warn captured files are not sent .*: the bucket/)]);
});

test("a watch that ends between an adoption and its anchor is no other writer for the next one", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES (1)");
  await run.stop();
  const { spoolFolder, statePath } = stateFolderOf(path);
  rmSync(spoolFolder, { recursive: true });
  await store.delete(["app/0000/0000000000000002-0000000000000002.ltx"]);
  const { live } = await attach(targetOf(path), store, recordingEnv().env);
  live.pin.close();
  expect(readState({ folder: dirname(statePath), statePath }).kind).toBe("lost");

  const next = await watchOne(path, store);
  await next.uploaded(2);
  await next.stop();
  const warnings = next.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  expect(warnings[0]).toMatch(/^the local state is lost .* with a full file$/);
  expect(warnings.join()).not.toContain("another writer");
  await app.close();
});

test("Attachment.adopt takes the pin again that was released while nothing could be captured", async () => {
  const { path, app } = await newDatabase();
  const attachment = attachmentOf(targetOf(path), "s3://memory");
  await attachment.attach(null, new AbortController().signal);
  attachment.live!.pin.release();
  await app.must("INSERT INTO t(v) VALUES ('while released')");
  attachment.contradicted("the bucket is ahead of the local state");
  await attachment.adopt();
  expect(attachment.live?.pin.state).not.toBe("released");
  expect(attachment.adoptReason).toBeNull();
  attachment.detach();
  await app.close();
});
