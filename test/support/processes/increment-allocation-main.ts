/**
 * Captures and uploads increments, and prints the bytes that each step allocates for one increment. It has to
 * run without garbage collection (`BUN_JSC_useGC=0`): then the anonymous memory grows by all that is
 * allocated. The commits come from another process, and what their exchange allocates is measured first.
 *
 * Arguments: the database, the number of increments. Output: `{ captureBytes, uploadBytes }`.
 */
import { readFileSync } from "node:fs";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import { capture } from "../../../src/replication/capture/capture.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { SqliteProcess } from "./sqlite-process.ts";

const COMMIT = "UPDATE t SET v = v + 1 WHERE id = 1 + abs(random()) % 40";
const WARM_UP_COUNT = 500;

/** A store that keeps nothing of a put. */
class BlindStore extends MemoryStore {
  override async put(): Promise<void> {}
}

function anonymousBytes(): number {
  return Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
}

/** The bytes that one of `count` steps allocates. */
async function perStep(count: number, step: () => Promise<void>): Promise<number> {
  for (let index = 0; index < WARM_UP_COUNT; index++) await step();
  const before = anonymousBytes();
  for (let index = 0; index < count; index++) await step();
  return (anonymousBytes() - before) / count;
}

const [path = "", countText = ""] = process.argv.slice(2);
const count = Number(countText);
const env = systemEnv(SILENT_LOG);
const app = await SqliteProcess.open(path);
await app.must(
  "PRAGMA journal_mode=WAL",
  "PRAGMA synchronous=OFF",
  "PRAGMA wal_autocheckpoint=0",
  "CREATE TABLE t(id INTEGER PRIMARY KEY, v, pad)",
  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) " +
    "INSERT INTO t SELECT i, i, hex(randomblob(1500)) FROM n",
);
const store = new BlindStore();
const { live, anchor: due } = await attach({ path, name: "app", paths: stateFolderOf(path) }, store, env);
await anchor(live, due!.before, env);
const { signal } = new AbortController();
const uploads = { store, version: "test", env, emit: () => {}, keepsSent: false };
const upload = async (): Promise<void> => {
  for (const lane of ["links", "snapshots"] as const) await uploadPending(live, uploads, signal, lane);
};
await upload();
const exchange = async (): Promise<void> => void (await app.must(COMMIT));
const exchangeBytes = await perStep(count / 4, exchange);
const captured = async (): Promise<void> => {
  await exchange();
  if (capture(live, env).kind !== "captured") throw new Error("nothing was captured");
  // Without its upload: the file stays in the spool folder, and nothing in memory.
  live.pending.pop();
};
const captureBytes = (await perStep(count, captured)) - exchangeBytes;
const uploaded = async (): Promise<void> => {
  await exchange();
  capture(live, env);
  await uploadPending(live, uploads, signal, "links");
};
const uploadBytes = (await perStep(count / 4, uploaded)) - exchangeBytes - captureBytes;
live.pin.close();
await app.close();
process.stdout.write(JSON.stringify({ captureBytes, uploadBytes }));
