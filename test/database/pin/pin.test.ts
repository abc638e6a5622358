/**
 * The pin against real applications in other processes: its refusals, the effect of its locks, and its
 * detection of replaced files.
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
import { openDescriptor } from "../../../src/database/files/descriptors.ts";
import { FREEZE_BYTE, SHARED_START } from "../../../src/database/files/lock-bytes.ts";
import { lockExclusive, lockShared, unlock } from "../../../src/database/files/ofd-lock.ts";
import { WalrustError } from "../../../src/errors.ts";
import { closeAll, env, pinned, start, walDatabase } from "../../support/runs/pinned-database.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

afterEach(closeAll);

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

test("Pin.open reports busy while a checkpoint writes the database, and holds no lock then", async () => {
  const { path, app } = await walDatabase();
  const fd = openDescriptor(`${path}-shm`);
  lockExclusive(fd, FREEZE_BYTE, 1);
  expect(refusal(path)).toMatchObject({ code: "database-busy", retryable: true });
  closeSync(fd);
  expect(descriptorCount(path)).toBe(0);
  await app.close();
  expect(existsSync(`${path}-wal`)).toBe(false);
});

test("Pin.open recovers a WAL whose application died, and creates missing files", async () => {
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

test("the last connection to close keeps the WAL, and the next to open the wal-index", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const before = pin.walIndex()!;
  await app.close();
  expect(existsSync(`${path}-wal`)).toBe(true);
  const next = await start(path, "INSERT INTO t VALUES (4)");
  const after = pin.walIndex()!;
  expect(after.changeCount).toBe(before.changeCount + 1);
  expect(after).toMatchObject({ salt1: before.salt1, salt2: before.salt2, backfilled: before.backfilled });
  expect((await next.must("SELECT count(*) FROM t")).rows).toEqual([[4]]);
  expect(pin.changedFile()).toBe("none");
});

// SQLite 3.54 does not touch a WAL while another process holds the dead-man switch. SQLite 3.40 checks only
// the SHARED range.
testWith("sqlite3")("the last connection of the sqlite3 program keeps the WAL too", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  await app.close();
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

test("a WAL that was wholly in the file before the pin is restarted by the next writer", async () => {
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

test("a foreign TRUNCATE under the freeze cuts a WAL only when all of it is in the file", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  const size = statSync(pin.walPath).size;
  await app.must("PRAGMA busy_timeout=0", "PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBe(size);
  pin.dropFreezeAndMark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect(pin.freeze()).toBe(true);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  expect(statSync(pin.walPath).size).toBe(0);
  expect(pin.changedFile()).toBe("none");
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
