/**
 * The pin against real applications in other processes: what it refuses, what it holds, how it converts, notices
 * replaced files and lets a foreign checkpoint through.
 */
import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openDescriptor } from "../../src/database/descriptors.ts";
import { FREEZE_BYTE, HOST_LOCK_BYTE, markByte, SHARED_START } from "../../src/database/lock-bytes.ts";
import { lockExclusive, lockShared, unlock } from "../../src/database/ofd-lock.ts";
import { Pin } from "../../src/database/pin.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { WalrustError } from "../../src/errors.ts";
import { peerPath, testWith } from "../support/peers.ts";
import { SqliteProcess, waitUntil } from "../support/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

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

/** A WAL database with one table and `rowCount` commits, and the application that has it open. */
async function walDatabase(rowCount = 3): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(tempFolder("pin"), "app.db");
  const app = await start(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)");
  for (let row = 0; row < rowCount; row++) await app.must(`INSERT INTO t VALUES (${row})`);
  return { path, app };
}

function pinned(path: string): Pin {
  const pin = Pin.open(path, env);
  pins.push(pin);
  return pin;
}

function refusal(path: string): { code: string; hint: string; retryable: boolean } {
  try {
    pinned(path);
  } catch (error) {
    if (error instanceof WalrustError) {
      return { code: error.code, hint: error.hint ?? "", retryable: error.retryable };
    }
    throw error;
  }
  return { code: "nothing was thrown", hint: "", retryable: false };
}

function descriptorCount(path: string): number {
  const names = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return names.filter((name) => name.startsWith(path)).length;
}

// Before a pin

test("Pin.open refuses a missing file and a file that is no database", () => {
  const folder = tempFolder("pin");
  writeFileSync(join(folder, "text.db"), "no database".repeat(100));
  expect(refusal(join(folder, "missing.db"))).toMatchObject({ code: "database", retryable: false });
  expect(refusal(join(folder, "text.db"))).toMatchObject({ code: "database", retryable: false });
  expect(existsSync(join(folder, "missing.db"))).toBe(false);
});

test("Pin.open refuses rollback mode with the pragma to run, and changes nothing", async () => {
  const path = join(tempFolder("pin"), "app.db");
  const app = await start(path, "CREATE TABLE t(a)");
  const found = refusal(path);
  expect(found.code).toBe("not-wal");
  expect(found.hint).toContain("PRAGMA journal_mode=WAL");
  expect((await app.must("PRAGMA journal_mode")).rows).toEqual([["delete"]]);
  expect(existsSync(`${path}-shm`)).toBe(false);
});

test("fact: the SHARED range held on a rollback-mode database makes every write fail", async () => {
  const path = join(tempFolder("pin"), "app.db");
  const app = await start(path, "CREATE TABLE t(a)");
  const fd = openDescriptor(path);
  lockShared(fd, SHARED_START, 510);
  expect((await app.run("INSERT INTO t VALUES (1)")).errorCode).toBe("SQLITE_BUSY");
  unlock(fd, SHARED_START, 510);
  expect((await app.run("INSERT INTO t VALUES (1)")).errorCode).toBeNull();
  closeSync(fd);
});

test("Pin.open refuses a hot journal and leaves its recovery to SQLite", async () => {
  const path = join(tempFolder("pin"), "app.db");
  const app = await start(path, "CREATE TABLE t(a)", "INSERT INTO t VALUES (zeroblob(100000))");
  await app.must("PRAGMA cache_size = 5", "BEGIN", "UPDATE t SET a = randomblob(100000)");
  await app.kill();
  expect(statSync(`${path}-journal`).size).toBeGreaterThan(0);
  expect(refusal(path)).toMatchObject({ code: "database", retryable: false });
  expect(existsSync(`${path}-journal`)).toBe(true);
  await start(path, "SELECT count(*) FROM t", "PRAGMA journal_mode=WAL", "INSERT INTO t VALUES (1)");
  expect(pinned(path).state).toBe("frozen");
});

test("Pin.open accepts a finished journal that PERSIST mode left behind", async () => {
  const path = join(tempFolder("pin"), "app.db");
  await start(path, "PRAGMA journal_mode=PERSIST", "CREATE TABLE t(a)", "PRAGMA journal_mode=WAL");
  if (!existsSync(`${path}-journal`)) writeFileSync(`${path}-journal`, new Uint8Array(512));
  expect(pinned(path).state).toBe("frozen");
});

test("Pin.open refuses a second walrust, which takes over once the first is closed", async () => {
  const { path } = await walDatabase();
  const first = pinned(path);
  expect(refusal(path)).toMatchObject({ code: "locked" });
  first.release();
  expect(refusal(path)).toMatchObject({ code: "locked" });
  first.close();
  expect(pinned(path).state).toBe("frozen");
});

test("Pin.open says busy while a checkpoint writes the database, and holds nothing then", async () => {
  const { path, app } = await walDatabase();
  const fd = openDescriptor(`${path}-shm`);
  lockExclusive(fd, FREEZE_BYTE, 1);
  expect(refusal(path)).toMatchObject({ code: "database-busy", retryable: true });
  closeSync(fd);
  expect(descriptorCount(path)).toBe(0);
  await app.close();
  expect(existsSync(`${path}-wal`)).toBe(false);
});

test("Pin.open recovers a WAL whose application died, and creates what is missing", async () => {
  const { path, app } = await walDatabase();
  await app.kill();
  unlinkSync(`${path}-shm`);
  const pin = pinned(path);
  expect(pin.walIndex()?.mxFrame).toBeGreaterThan(0);
  pin.close();
  const clean = await start(path, "SELECT 1 FROM t");
  await clean.close();
  expect(existsSync(`${path}-wal`)).toBe(false);
  const again = pinned(path);
  expect(again.walIndex()?.mxFrame).toBe(0);
  expect(again.changedFile()).toBe("none");
});

test("Pin.open holds exactly two descriptors, by the real path", async () => {
  const { path } = await walDatabase();
  const link = join(tempFolder("pin"), "link.db");
  symlinkSync(path, link);
  const pin = pinned(link);
  expect(pin.path).toBe(path);
  expect(pin.pageSizeBytes).toBe(4096);
  expect(descriptorCount(path)).toBe(2);
  pin.close();
  pin.close();
  expect(descriptorCount(path)).toBe(0);
});

// While pinned

test("a frozen pin lets the application write and read, and no checkpoint move a page", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const before = pin.walIndex()!;
  await app.must("PRAGMA wal_autocheckpoint=1", "PRAGMA busy_timeout=0");
  for (let row = 0; row < 20; row++) await app.must(`INSERT INTO t VALUES (${row})`);
  for (const mode of ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
    await app.must(`PRAGMA wal_checkpoint(${mode})`);
  const after = pin.walIndex()!;
  expect(after).toMatchObject({ backfilled: before.backfilled, salt1: before.salt1, salt2: before.salt2 });
  expect(after.mxFrame).toBeGreaterThan(before.mxFrame);
  expect((await app.must("SELECT count(*) FROM t")).rows).toEqual([[23]]);
});

test("the last connection to close neither checkpoints nor deletes the WAL, and the next one keeps it", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const before = pin.walIndex()!;
  await app.close();
  apps.length = 0;
  expect(existsSync(`${path}-wal`)).toBe(true);
  const next = await start(path, "INSERT INTO t VALUES (4)");
  const after = pin.walIndex()!;
  expect(after.changeCount).toBe(before.changeCount + 1);
  expect(after).toMatchObject({ salt1: before.salt1, salt2: before.salt2, backfilled: before.backfilled });
  expect((await next.must("SELECT count(*) FROM t")).rows).toEqual([[4]]);
  expect(pin.changedFile()).toBe("none");
});

// SQLite 3.54 leaves a WAL alone while anybody holds the dead-man switch; 3.40 asks for the SHARED range only.
testWith("sqlite3")("the last connection of the sqlite3 program keeps the WAL too", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  await app.close();
  apps.length = 0;
  const before = pin.walIndex()!;
  const shell = Bun.spawnSync([peerPath("sqlite3"), path, "INSERT INTO t VALUES (4)"]);
  expect(shell.exitCode).toBe(0);
  expect(existsSync(pin.walPath)).toBe(true);
  expect(pin.changedFile()).toBe("none");
  expect(pin.walIndex()).toMatchObject({ backfilled: before.backfilled, mxFrame: before.mxFrame + 1 });
});

test("leaving WAL mode and exclusive locking are refused while pinned, and not afterwards", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  expect((await app.run("PRAGMA journal_mode=DELETE")).errorCode).toBe("SQLITE_BUSY");
  await app.must("PRAGMA locking_mode=EXCLUSIVE");
  expect((await app.run("INSERT INTO t VALUES (9)")).errorCode).toBe("SQLITE_BUSY");
  await app.must("PRAGMA locking_mode=NORMAL");
  pin.release();
  expect((await app.must("PRAGMA journal_mode=DELETE")).rows).toEqual([["delete"]]);
});

test("a WAL that was wholly in the database file before the pin is restarted by the next writer", async () => {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  const pin = pinned(path);
  const before = pin.walIndex()!;
  expect(before.backfilled).toBe(before.mxFrame);
  await app.must("INSERT INTO t VALUES (4)");
  const after = pin.walIndex()!;
  expect(after.salt1).toBe(before.salt1 + 1);
  expect(after).toMatchObject({ backfilled: 0, changeCount: before.changeCount + 1 });
  await app.must("PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES (5)");
  expect(pin.walIndex()).toMatchObject({ salt2: after.salt2, backfilled: 0 });
});

test("a foreign TRUNCATE under the freeze cuts a WAL only when all of it is in the database file", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const size = statSync(pin.walPath).size;
  await app.must("PRAGMA busy_timeout=0", "PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBe(size);
  pin.letGo();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect(pin.freeze()).toBe(true);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBe(0);
  expect(pin.changedFile()).toBe("none");
});

// Freeze and mark

test("Pin.mark converts: checkpoints go as far as the mark, and the WAL never restarts", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const before = pin.walIndex()!;
  expect(pin.mark()).toBe(true);
  expect(pin).toMatchObject({ state: "marked", isFrozen: false });
  const mark = pin.walIndex()!.readMarks[pin.markSlot!];
  expect(mark).toBe(before.mxFrame);
  await app.must("INSERT INTO t VALUES (4)", "PRAGMA busy_timeout=0");
  for (const mode of ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]) {
    await app.must(`PRAGMA wal_checkpoint(${mode})`, "INSERT INTO t VALUES (5)");
  }
  expect(pin.walIndex()).toMatchObject({ backfilled: mark!, salt1: before.salt1, salt2: before.salt2 });
});

test("Pin.mark holds the WAL though all of it is in the database file", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.mark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  const before = pin.walIndex()!;
  expect(before.backfilled).toBe(before.mxFrame);
  await app.must("INSERT INTO t VALUES (4)");
  expect(pin.walIndex()).toMatchObject({ salt1: before.salt1, mxFrame: before.mxFrame + 1 });
});

test("Pin.mark moves an older mark to the newest commit and gives the old slot back", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.mark();
  const first = pin.markSlot!;
  await app.must("INSERT INTO t VALUES (4)");
  expect(pin.mark()).toBe(true);
  expect(pin.markSlot).not.toBe(first);
  expect(pin.walIndex()!.readMarks[pin.markSlot!]).toBe(pin.walIndex()!.mxFrame);
  const fd = openDescriptor(pin.shmPath);
  expect(lockExclusive(fd, markByte(first), 1)).toBe(true);
  expect(lockExclusive(fd, markByte(pin.markSlot!), 1)).toBe(false);
  closeSync(fd);
});

test("Pin.mark takes the newest mark beside readers at older ones", async () => {
  const { path, app } = await walDatabase();
  const reader = await start(path, "BEGIN", "SELECT * FROM t");
  await app.must("INSERT INTO t VALUES (4)");
  const pin = pinned(path);
  expect(pin.mark()).toBe(true);
  expect(pin.walIndex()!.readMarks[pin.markSlot!]).toBe(pin.walIndex()!.mxFrame);
  await reader.must("COMMIT");
});

test("Pin.mark stays frozen when all of the WAL is in the database file", async () => {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  const pin = pinned(path);
  expect(pin.mark()).toBe(false);
  expect(pin).toMatchObject({ state: "frozen", markSlot: null });
});

test("thaw and unmark never give up the last lock", async () => {
  const { path } = await walDatabase();
  const pin = pinned(path);
  expect(pin.thaw()).toBe(false);
  expect(pin.state).toBe("frozen");
  pin.mark();
  expect(pin.unmark()).toBe(false);
  expect(pin.state).toBe("marked");
  expect(pin.freeze()).toBe(true);
  expect(pin).toMatchObject({ state: "frozen", isFrozen: true });
  expect(pin.markSlot).not.toBeNull();
  expect(pin.unmark()).toBe(true);
  expect(pin).toMatchObject({ state: "frozen", markSlot: null });
});

test("Pin.freeze is refused while a checkpoint writes the database", async () => {
  const { path } = await walDatabase();
  const pin = pinned(path);
  pin.mark();
  const fd = openDescriptor(pin.shmPath);
  lockExclusive(fd, FREEZE_BYTE, 1);
  expect(pin.freeze()).toBe(false);
  expect(pin.state).toBe("marked");
  closeSync(fd);
  expect(pin.freeze()).toBe(true);
});

test("Pin.takeAnyMark forbids a restart at an unused mark too", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.letGo();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect(pin.takeAnyMark()).toBe(true);
  const before = pin.walIndex()!;
  await app.must("INSERT INTO t VALUES (4)", "PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES (5)");
  expect(pin.walIndex()).toMatchObject({ salt1: before.salt1, salt2: before.salt2 });
});

// Replaced files

test.each(["", "-wal", "-shm"])(
  "Pin.changedFile notices that app.db%s was removed or replaced",
  async (suffix) => {
    const { path } = await walDatabase();
    const pin = pinned(path);
    expect(pin.changedFile()).toBe("none");
    copyFileSync(path + suffix, `${path}-copy`);
    const name = suffix === "" ? "database" : suffix === "-wal" ? "wal" : "shm";
    renameSync(`${path}-copy`, path + suffix);
    expect(pin.changedFile()).toBe(name);
    unlinkSync(path + suffix);
    expect(pin.changedFile()).toBe(name);
    pin.release();
    expect(pin.repin(env)).toBe(false);
  },
);

test("fact: removing -shm unpins silently", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  await app.kill();
  unlinkSync(pin.shmPath);
  const next = await start(path, "SELECT * FROM t");
  await next.must("PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBe(0);
  expect(pin.changedFile()).toBe("shm");
});

// Letting go

test("Pin.release lets the application do what it likes, and repin holds it again", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.release();
  expect(pin.state).toBe("released");
  expect(pin.freeze()).toBe(false);
  expect(pin.takeAnyMark()).toBe(false);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t VALUES (4)");
  expect(statSync(pin.walPath).size).toBeLessThan(9000);
  expect(pin.repin(env)).toBe(true);
  expect(pin.state).toBe("frozen");
  await app.must("PRAGMA busy_timeout=0", "PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBeGreaterThan(4096);
});

test("Pin.repin refuses a database that left WAL mode meanwhile", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.release();
  await app.must("PRAGMA journal_mode=DELETE");
  expect(pin.repin(env)).toBe(false);
  expect(pin.changedFile()).not.toBe("none");
});

test("the host lock lies outside every lock of SQLite's", async () => {
  const { path, app } = await walDatabase();
  const fd = openDescriptor(path);
  expect(lockExclusive(fd, HOST_LOCK_BYTE, 1)).toBe(true);
  await app.must("PRAGMA journal_mode=DELETE", "INSERT INTO t VALUES (4)", "PRAGMA journal_mode=WAL");
  await app.must("PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t VALUES (5)");
  closeSync(fd);
});

// Yielding

test.each(["FULL", "RESTART", "TRUNCATE"])(
  "Pin.yieldToCheckpoint lets a foreign %s through quickly",
  async (mode) => {
    const { path, app } = await walDatabase(200);
    const pin = pinned(path);
    await app.must("PRAGMA busy_timeout=5000");
    const reply = app.must(`PRAGMA wal_checkpoint(${mode})`);
    await waitUntil(() => pin.foreignCheckpointWaits());
    let captures = 0;
    expect(pin.yieldToCheckpoint(() => captures++, env)).toBe(true);
    const { rows, durationMs } = await reply;
    expect(captures).toBe(1);
    expect(rows[0]?.[0]).toBe(0);
    expect(durationMs).toBeLessThan(500);
    expect(pin.state).toBe("frozen");
    expect(pin.foreignCheckpointWaits()).toBe(false);
    if (mode === "TRUNCATE") expect(statSync(pin.walPath).size).toBe(0);
  },
);

test("Pin.yieldToCheckpoint lets one through that waits for the mark", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  pin.mark();
  await app.must("PRAGMA busy_timeout=5000");
  const reply = app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  await waitUntil(() => pin.foreignCheckpointWaits());
  expect(pin.yieldToCheckpoint(() => {}, env)).toBe(true);
  expect((await reply).rows[0]?.[0]).toBe(0);
  expect(pin.state).toBe("frozen");
});

test("fact: without yielding a blocking checkpoint waits out its busy timeout, and every writer with it", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const writer = await start(path, "PRAGMA busy_timeout=0");
  await app.must("PRAGMA busy_timeout=300");
  const reply = app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  await waitUntil(() => pin.foreignCheckpointWaits());
  expect((await writer.run("INSERT INTO t VALUES (9)")).errorCode).toBe("SQLITE_BUSY");
  const { rows, durationMs } = await reply;
  expect(rows[0]?.[0]).toBe(1);
  expect(durationMs).toBeGreaterThan(200);
});

test("Pin.yieldToCheckpoint does nothing for a writer, or for a checkpoint that needs nothing of ours", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  await app.must("BEGIN IMMEDIATE");
  expect(pin.foreignCheckpointWaits()).toBe(false);
  let captures = 0;
  expect(pin.yieldToCheckpoint(() => captures++, env)).toBe(true);
  expect(captures).toBe(0);
  await app.must("ROLLBACK");
  pin.letGo();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  pin.freeze();
  const reader = await start(path, "BEGIN", "SELECT * FROM t");
  expect((await app.must("PRAGMA wal_checkpoint(TRUNCATE)")).rows[0]?.[0]).toBe(0);
  await reader.must("COMMIT");
  expect(pin.state).toBe("frozen");
});
