/**
 * SQLite's behaviour that captures rely on, shown with the real library: when a transaction counts as
 * committed, when the change count increases and when it restarts, and why no image is read at an older
 * position.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openDescriptor } from "../../src/database/files/descriptors.ts";
import { Pin } from "../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { SqliteProcess } from "../support/processes/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

const PAGE_SIZE = 4096;
const FRAME_SIZE = 24 + PAGE_SIZE;
const WAL_HEADER_SIZE = 32;
/** Both copies of the wal-index header. */
const HEADERS_SIZE = 96;

const env = systemEnv(SILENT_LOG);
const pins: Pin[] = [];
const apps: SqliteProcess[] = [];

afterEach(async () => {
  for (const pin of pins.splice(0)) pin.close();
  for (const app of apps.splice(0)) await app.kill();
});

async function start(path: string, ...statements: string[]): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  apps.push(app);
  await app.must(...statements);
  return app;
}

async function pinnedDatabase(): Promise<{ path: string; app: SqliteProcess; pin: Pin }> {
  const path = join(tempFolder("facts"), "app.db");
  const app = await start(
    path,
    "PRAGMA journal_mode=WAL",
    "PRAGMA wal_autocheckpoint=0",
    "CREATE TABLE t(a)",
  );
  const pin = Pin.open(path, env);
  pins.push(pin);
  return { path, app, pin };
}

/** The commit field (size in pages, 0 for no commit) and salts of a frame, counted from 1. */
function frame(pin: Pin, number: number): { pgno: number; commit: number; salt1: number; data: Buffer } {
  const wal = readFileSync(pin.walPath);
  const at = WAL_HEADER_SIZE + (number - 1) * FRAME_SIZE;
  const data = wal.subarray(at + 24, at + FRAME_SIZE);
  return {
    pgno: wal.readUInt32BE(at),
    commit: wal.readUInt32BE(at + 4),
    salt1: wal.readUInt32BE(at + 8),
    data,
  };
}

/** The increase of the change count in `action`; checks that mxFrame is a commit frame. */
async function growth(pin: Pin, action: () => Promise<unknown>): Promise<number> {
  const before = pin.walIndex()!.changeCount;
  await action();
  const { changeCount, mxFrame } = pin.walIndex()!;
  if (mxFrame > 0) expect(frame(pin, mxFrame).commit).toBeGreaterThan(0);
  return changeCount - before;
}

test("fact: the change count increases by one with each commit and with nothing else", async () => {
  const { path, app, pin } = await pinnedDatabase();
  const other = await start(path);
  const grows = (...statements: string[]): Promise<number> => growth(pin, () => app.must(...statements));
  expect(await grows("INSERT INTO t VALUES (1)")).toBe(1);
  expect(await growth(pin, () => other.must("INSERT INTO t VALUES (2)"))).toBe(1);
  expect(await grows("BEGIN", "INSERT INTO t VALUES (3)", "INSERT INTO t VALUES (4)", "COMMIT")).toBe(1);
  expect(await grows("BEGIN", "INSERT INTO t VALUES (5)", "ROLLBACK")).toBe(0);
  expect(await grows("BEGIN IMMEDIATE", "COMMIT")).toBe(0);
  expect(await grows("SELECT * FROM t")).toBe(0);
  expect(await grows("PRAGMA user_version = 7")).toBe(1);
  expect(await grows("VACUUM")).toBe(1);
});

test("fact: a spilled transaction is one change, and none when its writer is killed", async () => {
  const { path, app, pin } = await pinnedDatabase();
  const spill = [
    "PRAGMA cache_size = 5",
    "BEGIN",
    "INSERT INTO t VALUES (zeroblob(400000))",
    "UPDATE t SET a = a",
  ];
  expect(await growth(pin, () => app.must(...spill, "COMMIT"))).toBe(1);
  const mxFrame = pin.walIndex()!.mxFrame;
  const victim = await start(path);
  const sizeBefore = readFileSync(pin.walPath).length;
  expect(await growth(pin, () => victim.must(...spill))).toBe(0);
  expect(readFileSync(pin.walPath).length).toBeGreaterThan(sizeBefore);
  await victim.kill();
  expect(pin.walIndex()!.mxFrame).toBe(mxFrame);
  expect(await growth(pin, () => app.must("INSERT INTO t VALUES (1)"))).toBe(1);
  expect(pin.walIndex()!.mxFrame).toBeLessThan(mxFrame + 10);
});

test("fact: the change count continues over restarts, TRUNCATE, close and open under the pin", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("INSERT INTO t VALUES (1)");
  pin.dropFreezeAndMark();
  expect(await growth(pin, () => app.must("PRAGMA wal_checkpoint(RESTART)"))).toBe(0);
  expect(await growth(pin, () => app.must("INSERT INTO t VALUES (2)"))).toBe(1);
  expect(await growth(pin, () => app.must("PRAGMA wal_checkpoint(TRUNCATE)"))).toBe(0);
  expect(pin.walIndex()!.mxFrame).toBe(0);
  expect(await growth(pin, () => app.must("INSERT INTO t VALUES (3)"))).toBe(1);
  expect(pin.freeze()).toBe(true);
  await app.kill();
  apps.length = 0;
  expect(await growth(pin, () => start(path, "INSERT INTO t VALUES (4)"))).toBe(1);
});

test("fact: a recovery sets change count and backfill count to 0, and keeps the frames", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)");
  pin.mark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  const before = pin.walIndex()!;
  // The mark may be that of an earlier reader: the checkpoint copies up to it.
  expect(before.backfilled).toBeGreaterThan(0);
  await app.kill();
  // A writer that died between the two copies of the header.
  overwrite(pin.shmPath, 48 + 8, new Uint8Array([255, 255, 255, 255]));
  expect(pin.walIndex()).toBeNull();
  const next = await start(path, "SELECT * FROM t");
  expect(pin.walIndex()).toMatchObject({ changeCount: 0, backfilled: 0, mxFrame: before.mxFrame });
  expect(pin.walIndex()).toMatchObject({ salt1: before.salt1, salt2: before.salt2 });
  expect(pin.walIndex()!.readMarks[pin.markSlot!]).toBe(before.readMarks[pin.markSlot!]!);
  expect(await growth(pin, () => next.must("INSERT INTO t VALUES (3)"))).toBe(1);
});

test("fact: without the dead-man switch the next connection discards the wal-index", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("INSERT INTO t VALUES (1)");
  expect(pin.walIndex()!.changeCount).toBeGreaterThan(0);
  pin.release();
  await app.kill();
  await start(path, "SELECT * FROM t");
  expect(pin.walIndex()!.changeCount).toBe(0);
});

test("fact: a commit frame beyond mxFrame is no commit, and the next writer overwrites it", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("INSERT INTO t VALUES ('kept')");
  const { headers, mxFrame } = unpublish(pin);
  await app.must("INSERT INTO t VALUES ('written but not published')");
  await app.kill();
  overwrite(pin.shmPath, 0, headers);
  const dead = frame(pin, mxFrame + 1);
  expect(dead).toMatchObject({ salt1: pin.walIndex()!.salt1 });
  expect(dead.commit).toBeGreaterThan(0);
  const next = await start(path);
  expect((await next.must("SELECT a FROM t")).rows).toEqual([["kept"]]);
  await next.must("INSERT INTO t VALUES ('next')");
  expect(Buffer.compare(frame(pin, mxFrame + 1).data, dead.data)).not.toBe(0);
  expect((await next.must("SELECT a FROM t")).rows).toEqual([["kept"], ["next"]]);
});

test("fact: a recovery makes that commit frame beyond mxFrame a commit after all", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("INSERT INTO t VALUES ('kept')");
  const { headers, mxFrame } = unpublish(pin);
  await app.must("INSERT INTO t VALUES ('written but not published')");
  await app.kill();
  overwrite(pin.shmPath, 0, headers);
  overwrite(pin.shmPath, 48 + 8, new Uint8Array([255, 255, 255, 255]));
  const next = await start(path);
  expect((await next.must("SELECT count(*) FROM t")).rows).toEqual([[2]]);
  expect(pin.walIndex()).toMatchObject({ mxFrame: mxFrame + 1, changeCount: 0 });
});

test("fact: without powersafe overwrite one commit is several commit frames", async () => {
  const path = join(tempFolder("facts"), "app.db");
  await start(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)");
  const app = await start(`file:${path}?psow=0`, "PRAGMA synchronous=FULL", "SELECT * FROM t");
  const pin = Pin.open(path, env);
  pins.push(pin);
  const { mxFrame } = pin.walIndex()!;
  expect(await growth(pin, () => app.must("INSERT INTO t VALUES (1)"))).toBe(1);
  const commits = [mxFrame + 1, mxFrame + 2].map((number) => frame(pin, number));
  expect(pin.walIndex()!.mxFrame).toBe(mxFrame + 2);
  expect(commits[0]!.commit).toBeGreaterThan(0);
  expect(commits[1]).toEqual(commits[0]!);
});

test("fact: a frozen file overlaid with a part of its WAL may be a state that never existed", async () => {
  const { path, app, pin } = await pinnedDatabase();
  await app.must("CREATE TABLE b(x)", "INSERT INTO t VALUES (100)", "INSERT INTO b VALUES (0)");
  pin.release();
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET a = 90");
  const position = readFileSync(`${path}-wal`).length;
  await app.must(
    "BEGIN",
    "UPDATE t SET a = 50",
    "UPDATE b SET x = 40",
    "COMMIT",
    "PRAGMA wal_checkpoint(PASSIVE)",
  );
  await app.must("INSERT INTO b VALUES (7)");
  expect(pin.repin(env)).toBe(true);
  const wal = readFileSync(`${path}-wal`);
  const image = new Uint8Array(fstatSync(pin.databaseFd).size);
  readSync(pin.databaseFd, image, 0, image.length, 0);
  // The WAL restarted. Up to the old position it holds newer frames, or older frames over a newer file.
  for (let at = WAL_HEADER_SIZE; at < position; at += FRAME_SIZE) {
    image.set(wal.subarray(at + 24, at + FRAME_SIZE), (wal.readUInt32BE(at) - 1) * PAGE_SIZE);
  }
  image.fill(1, 18, 20);
  const copy = join(tempFolder("facts"), "image.db");
  writeFileSync(copy, image);
  const database = new Database(copy);
  const t = database.query("SELECT a FROM t").values();
  const b = database.query("SELECT x FROM b").values();
  database.close();
  // The true values at that position were 90 and 0.
  expect([t, b]).not.toEqual([[[90]], [[0]]]);
});

/** The present wal-index headers, to restore the state before an unpublished commit of a killed writer. */
function unpublish(pin: Pin): { headers: Uint8Array; mxFrame: number } {
  const headers = new Uint8Array(HEADERS_SIZE);
  const fd = openSync(`/proc/self/fd/${pin.shmFd}`, "r");
  readSync(fd, headers, 0, HEADERS_SIZE, 0);
  closeSync(fd);
  return { headers, mxFrame: pin.walIndex()!.mxFrame };
}

function overwrite(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openDescriptor(path);
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}
