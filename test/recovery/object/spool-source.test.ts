/**
 * A restore on the machine of the watched database. It reads the spool before the network, including captures
 * that were never uploaded. It ignores the spool if the spool is damaged or the bucket continued without it.
 */
import { expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import type { SpoolFile } from "../../../src/local/spool-file.ts";
import { readLogs } from "../../../src/local/spool-log.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { joinListings } from "../../../src/recovery/object/object-source.ts";
import { SpoolSource } from "../../../src/recovery/object/spool-source.ts";
import { type RestoreResult, restore } from "../../../src/recovery/restore/restore-database.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { expectCode } from "../../storage/contract/store-helpers.ts";
import type { ConfigChange } from "../../support/config.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const env = systemEnv(SILENT_LOG);
const KEEPING: ConfigChange = { cache: { retentionMs: 86_400_000 } };

interface Lost {
  readonly path: string;
  readonly store: FaultyStore;
  readonly memory: MemoryStore;
  /** The database's content before its loss. */
  readonly image: Buffer;
}

/** A lost database with TXIDs up to 4 in the bucket, and TXIDs 5 and 6 only in the spool. */
async function lostWithUnsent(): Promise<Lost> {
  const { path, app } = await newDatabase();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const run = await watchOne(path, store, { ...KEEPING, sync: { shutdownTimeoutMs: 100 } });
  for (let txid = 2; txid <= 4; txid++) await run.commit(app, `INSERT INTO t(v) VALUES (${txid})`);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  for (let txid = 5; txid <= 6; txid++) {
    await app.must(`INSERT INTO t(v) VALUES (${txid})`);
    await run.until(`the capture of ${txid}`, () => {
      const reading = readState(stateFolderOf(path));
      return reading.kind === "state" && reading.state.txid === txid;
    });
  }
  await app.close();
  const image = imageOf(path);
  await run.stop();
  store.before = () => {};
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  return { path, store, memory, image };
}

function flipByte({ path, offset }: Pick<SpoolFile, "path" | "offset">): void {
  const bytes = readFileSync(path);
  bytes[offset + 150] = bytes[offset + 150]! ^ 1;
  writeFileSync(path, bytes);
}

const PLACES = LocalPlaces.standard();

function restoreAt({ path, store }: Lost, inEnv = env): Promise<RestoreResult> {
  const request = {
    name: "app",
    outputPath: path,
    force: false,
    dryRun: false,
    point: { kind: "latest" },
  } as const;
  return restore(request, { store, env: inEnv, places: PLACES });
}

test("restore takes unsent captures from the spool, and the next watch uploads them", async () => {
  const lost = await lostWithUnsent();
  const spool = SpoolSource.openOrNull(lost.path, lost.store, "app", PLACES);
  const waiting = (await spool?.list()) ?? [];
  expect(waiting.map(({ maxTxid }) => Number(maxTxid))).toEqual([5, 6]);
  expect(waiting.map((object) => [object.key, spool?.isWaiting(object)])).toEqual([
    ["app/0000/0000000000000005-0000000000000005.ltx", true],
    ["app/0000/0000000000000006-0000000000000006.ltx", true],
  ]);
  const gets: string[] = [];
  lost.store.before = (operation, key) => {
    if (operation === "get" && key.endsWith(".ltx")) gets.push(key);
  };
  const result = await restoreAt(lost);
  expect(result.txid).toBe(6);
  expect(Buffer.compare(readFileSync(lost.path), lost.image)).toBe(0);
  // The spool keeps uploaded increments, but no uploaded snapshots: only the snapshot came over the network.
  expect(gets.every((key) => key.includes("/0009/"))).toBe(true);
  const run = await watchOne(lost.path, lost.store, KEEPING);
  await run.uploaded(6);
  await run.stop();
  expect((await provenHistory(lost.memory, "app")).at(-1)?.txid).toBe(6);
  expect(Buffer.compare(await newestImage(lost.memory, "app"), lost.image)).toBe(0);
});

test("restore of another destination or name uses no spool", async () => {
  const { path, store } = await lostWithUnsent();
  const elsewhere = new MemoryStore({ url: "s3://elsewhere" });
  expect(SpoolSource.openOrNull(path, elsewhere, "app", PLACES)).toBeNull();
  expect(SpoolSource.openOrNull(path, store, "other", PLACES)).toBeNull();
  expect(SpoolSource.openOrNull(path, store, "app", PLACES)).not.toBeNull();
});

test("restore replaces a damaged copy in the spool with the bucket's object", async () => {
  const lost = await lostWithUnsent();
  const sent = readLogs(stateFolderOf(lost.path).spoolFolder).filter(({ mark }) => mark === "sent");
  expect(sent.length).toBeGreaterThan(0);
  for (const { file } of sent) flipByte(file);
  await restoreAt(lost);
  expect(Buffer.compare(readFileSync(lost.path), lost.image)).toBe(0);
});

test("restore ignores the spool if the bucket continued without it", async () => {
  const lost = await lostWithUnsent();
  const elsewhere = await newDatabase();
  const run = await watchOne(elsewhere.path, lost.memory);
  await run.uploaded(5);
  await run.stop();
  const result = await restoreAt(lost);
  expect(result.txid).toBe(5);
  expect(Buffer.compare(readFileSync(lost.path), await newestImage(lost.memory, "app"))).toBe(0);
  await elsewhere.app.close();
});

test("restore ignores the spool if a file that was never uploaded is damaged, with a warning", async () => {
  const lost = await lostWithUnsent();
  const records = readLogs(stateFolderOf(lost.path).spoolFolder);
  flipByte(records.find(({ file }) => Number(file.maxTxid) === 6)!.file);
  const spool = SpoolSource.openOrNull(lost.path, lost.store, "app", PLACES)!;
  const last = (await spool.list()).at(-1)!;
  const message = `${last.key} was never uploaded, and its spool file is damaged or missing`;
  await expectCode(spool.openOrNull(last), "integrity");
  await expect(spool.openOrNull(last)).rejects.toThrow(message);
  const recording = recordingEnv();
  const result = await restoreAt(lost, recording.env);
  expect(result).toMatchObject({ txid: 4, damaged: [] });
  const warnings = recording.lines.filter(({ level }) => level === "warn");
  expect(warnings.map((line) => line.message.includes(message))).toEqual([true]);
  expect(Buffer.compare(readFileSync(lost.path), await newestImage(lost.memory, "app"))).toBe(0);
});

test("joinListings adds the waiting objects that continue the bucket", () => {
  const object = (minTxid: number, maxTxid = minTxid) => ({ minTxid, maxTxid, level: 0 }) as LtxObject;
  const stored = [object(1), object(2, 3)];
  const cases: [LtxObject[], LtxObject[], LtxObject[]][] = [
    [stored, [], stored],
    [[], [object(1)], [object(1)]],
    [stored, [object(4), object(5)], [...stored, object(4), object(5)]],
    [stored, [object(3), object(4)], [...stored, object(4)]],
    [stored, [object(2), object(3)], stored],
    [stored, [object(3, 4), object(5)], stored],
    [[object(7)], [object(4)], [object(7)]],
  ];
  for (const [bucket, waiting, joined] of cases) expect([...joinListings(bucket, waiting)]).toEqual(joined);
});
