/**
 * The proof that a file is the restored database: it holds for an untouched restore, and for no file with one
 * changed byte, another point, another history, or a log.
 */
import { beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { Txid } from "../../../src/format/types.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { proveRestored } from "../../../src/recovery/restore-all/restored-proof.ts";
import { cloneStore, type RecordedBucket, recordBucket } from "../../support/histories/recorded-bucket.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);
const places = LocalPlaces.standard();
let bucket: RecordedBucket;

beforeAll(async () => {
  bucket = await recordBucket(["INSERT INTO t(v) VALUES (randomblob(50000))", "DELETE FROM t WHERE id = 1"]);
});

type Store = MemoryStore;

/** Restores a point to a new path. */
async function restored(store: Store = bucket.store, txid: number | null = null): Promise<string> {
  const outputPath = join(tempFolder("proof"), "app.db");
  await restore({ ...requestFor(outputPath, txid), dryRun: false }, { store, env, places });
  return outputPath;
}

function requestFor(outputPath: string, txid: number | null = null) {
  const point =
    txid === null ? ({ kind: "latest" } as const) : ({ kind: "txid", txid: txid as Txid } as const);
  return { name: "app", outputPath, point, force: false };
}

/** "right", "absent", or the reason against the file. */
async function verdictOf(
  path: string,
  store: Store = bucket.store,
  txid: number | null = null,
): Promise<string> {
  const proof = await proveRestored(requestFor(path, txid), { store, env, places });
  return proof.kind === "other" ? proof.reason : proof.kind;
}

test("an untouched restore is right, whatever its times are", async () => {
  const path = await restored();
  expect(await verdictOf(path)).toBe("right");
  utimesSync(path, 1, 1);
  expect(await verdictOf(path)).toBe("right");
  expect(await verdictOf(join(dirname(path), "other.db"))).toBe("absent");
});

test("a copy of the restored folder is right, too", async () => {
  const path = await restored();
  const copy = join(tempFolder("proof"), "app.db");
  copyFileSync(path, copy);
  const [from, to] = [stateFolderOf(path), stateFolderOf(copy)];
  mkdirSync(to.folder, { mode: 0o700 });
  copyFileSync(from.statePath, to.statePath);
  copyFileSync(from.sumsPath, to.sumsPath);
  expect(await verdictOf(copy)).toBe("right");
});

test("a file with one changed byte in any page is not right, with its times kept", async () => {
  const path = await restored();
  const { atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  for (let offset = 100; offset < bytes.length; offset += 4_096) {
    const changed = Buffer.from(bytes);
    changed[offset]! ^= 1;
    writeFileSync(path, changed);
    utimesSync(path, atime, mtime);
    expect([offset, await verdictOf(path)]).toEqual([offset, "its content has changed since its restore"]);
  }
  for (const other of [bytes.subarray(0, -4_096), Buffer.concat([bytes, bytes.subarray(0, 4_096)])]) {
    writeFileSync(path, other);
    expect(await verdictOf(path)).toBe("its content has changed since its restore");
  }
  // Two exchanged pages have the same sums in another order.
  const exchanged = Buffer.concat([
    bytes.subarray(0, 4_096),
    bytes.subarray(8_192, 12_288),
    bytes.subarray(4_096, 8_192),
    bytes.subarray(12_288),
  ]);
  writeFileSync(path, exchanged);
  expect(await verdictOf(path)).toBe("its content has changed since its restore");
  writeFileSync(path, bytes);
  expect(await verdictOf(path)).toBe("right");
});

test("another point than the requested one is not right", async () => {
  const path = await restored(bucket.store, 2);
  expect(await verdictOf(path, bucket.store, 2)).toBe("right");
  expect(await verdictOf(path)).toMatch(/^it holds the older TXID 2 \(\S+Z\), and TXID 3 is to be restored$/);
});

test("a file of another destination or without a state is not right", async () => {
  const path = await restored();
  const elsewhere = new MemoryStore({ url: "memory:other" });
  expect(await verdictOf(path, elsewhere)).toBe(`it is app of ${bucket.store.url}`);
  const { folder, sumsPath } = stateFolderOf(path);
  rmSync(sumsPath);
  expect(await verdictOf(path)).toBe("the sums of its pages are lost");
  rmSync(folder, { recursive: true });
  expect(await verdictOf(path)).toBe("no state of a restore belongs to it");
});

test("a file of another history with the same TXIDs is not right", async () => {
  const store = await cloneStore(bucket.store);
  const path = await restored(store);
  for await (const { key } of store.list("")) await store.delete([key]);
  const source = new SourceDatabase(tempFolder("other"), 4096);
  const history = new SourceHistory(store);
  for (let txid = 1; txid <= 3; txid++) await history.publish(source.after(`CREATE TABLE t${txid} (x)`));
  expect(await verdictOf(path, store)).toBe("the backup does not confirm its content");
});

test("a file with a log, in use, or captured by a watch is not right", async () => {
  const store = await cloneStore(bucket.store);
  const path = await restored(store);
  const app = await SqliteProcess.open(path);
  await app.must("SELECT count(*) FROM t");
  expect(await verdictOf(path, store)).toBe("a process has it open");
  await app.must("INSERT INTO t(v) VALUES ('mine')");
  await app.kill();
  expect(await verdictOf(path, store)).toBe("it has a -wal: it was opened since its restore");
  const run = await watchOne(path, store);
  await run.until("the anchor", () => run.all("re-anchored").length > 0);
  await run.stop();
  expect(await verdictOf(path, store)).toBe("a watch has captured from it");
});

test("a restore of a backup without checksums cannot be proven", async () => {
  const store = new MemoryStore();
  const source = new SourceDatabase(tempFolder("litestream"), 4096);
  await new SourceHistory(store, "app", true).publish(source.after("CREATE TABLE t (x)"));
  const path = await restored(store);
  expect(await verdictOf(path, store)).toBe("the backup does not confirm its content");
});
