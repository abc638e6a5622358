/**
 * A watch without local state over a bucket whose newest object is damaged or wrong: it continues, and every
 * new point can be restored.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { LTX_HEADER_FIELDS } from "../../../src/format/ltx.ts";
import { decodeLtxFile } from "../../../src/format/ltx-decoder.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import type { Txid } from "../../../src/format/types.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { keyOf, listObjects, newestObjectOrNull, readHeader } from "../../../src/storage/bucket/catalog.ts";
import { recordBucket, withChanged } from "../../support/histories/recorded-bucket.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import type { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const YEAR_9999 = Date.UTC(9999, 0, 1);

/** A bucket with two TXIDs whose newest object is changed. */
async function bucketOf(change: (bytes: Uint8Array) => Uint8Array): Promise<MemoryStore> {
  const { store } = await recordBucket(["INSERT INTO t(v) VALUES ('second')"]);
  const newest = newestObjectOrNull(await listObjects(store, "app"))!;
  return withChanged(store, newest.key, ({ bytes }) => ({ bytes: change(bytes), metadata: {} }));
}

/** A sound file whose header has another capture time. */
function atTime(bytes: Uint8Array, timestampMs: number): Uint8Array {
  const pages: [number, Uint8Array][] = [];
  const { header, trailer } = decodeLtxFile(bytes, (pgno, page) => pages.push([pgno, page.slice()]));
  const chunks: Uint8Array[] = [];
  const encoder = new LtxEncoder({ ...header, timestampMs }, (chunk) => chunks.push(chunk.slice()));
  for (const [pgno, page] of pages) encoder.page(pgno, page);
  encoder.finish(trailer.postApplyChecksum);
  return new Uint8Array(Buffer.concat(chunks));
}

/** A file with a time beyond the range of dates. */
function atNoTime(bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice();
  new DataView(changed.buffer).setBigInt64(LTX_HEADER_FIELDS.timestampMs[0], 2n ** 53n - 1n);
  return changed;
}

/** Watches another database under the same name, and commits once. @returns the database's content */
async function watchOver(store: MemoryStore): Promise<{ run: WatchRun; image: Buffer; txid: number }> {
  const { path, app } = await newDatabase();
  const run = new WatchRun([targetOf(path)], store);
  await run.watching();
  await run.until("the anchor", () => run.uploadedTxid() >= 3);
  const txid = await run.commit(app, "INSERT INTO t(v) VALUES ('later')");
  const image = imageOf(path);
  await run.stop();
  await app.close();
  return { run, image, txid };
}

async function restored(store: MemoryStore, point: PointInTime): Promise<Buffer> {
  const outputPath = join(tempFolder("out"), "out.db");
  const request = { name: "app", outputPath, point, force: false, dryRun: false };
  await restore(request, { store, env: recordingEnv().env });
  return imageOf(outputPath);
}

test("watch puts a snapshot after a newest object that it cannot read", async () => {
  const store = await bucketOf(atNoTime);
  const { run, image } = await watchOver(store);
  expect(run.all("uploaded").some(({ kind }) => kind === "snapshot")).toBe(true);
  expect(run.isSaid("the newest object cannot be read")).toBe(true);
  expect(Buffer.compare(await restored(store, { kind: "latest" }), image)).toBe(0);
});

test("watch continues with the present time after a newest object from the future", async () => {
  const store = await bucketOf((bytes) => atTime(bytes, YEAR_9999));
  const startMs = Date.now();
  const { run, image, txid } = await watchOver(store);
  expect(run.isSaid("is from the future (9999-01-01T00:00:00.000Z)")).toBe(true);
  const key = keyOf(store, "app", { level: 0, minTxid: txid as Txid, maxTxid: txid as Txid });
  const { timestampMs } = await readHeader(store, key);
  expect(timestampMs).toBeGreaterThanOrEqual(startMs);
  expect(timestampMs).toBeLessThanOrEqual(Date.now());
  expect(Buffer.compare(await restored(store, { kind: "time", timeMs: Date.now() }), image)).toBe(0);
});

test("watch refuses an object with the last TXID by name, and writes nothing", async () => {
  const { store } = await recordBucket([]);
  const last = Number.MAX_SAFE_INTEGER as Txid;
  await store.put(keyOf(store, "app", { level: 0, minTxid: last, maxTxid: last }), {
    kind: "bytes",
    bytes: new Uint8Array(200),
  });
  const { path, app } = await newDatabase();
  const run = new WatchRun([targetOf(path)], store);
  await run.done;
  expect(run.isSaid("it has the last TXID that there is")).toBe(true);
  expect(run.all("uploaded")).toEqual([]);
  await app.close();
});
