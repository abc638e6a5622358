/** The pin's freeze and marks, releasing and pinning again, and yielding to a foreign checkpoint. */
import { afterEach, expect, spyOn, test } from "bun:test";
import { closeSync, statSync } from "node:fs";
import { openDescriptor } from "../../../src/database/files/descriptors.ts";
import { FREEZE_BYTE, HOST_LOCK_BYTE, markByte } from "../../../src/database/files/lock-bytes.ts";
import { lockExclusive } from "../../../src/database/files/ofd-lock.ts";
import { mayBlockCheckpoint } from "../../../src/database/pin/yield-to-checkpoint.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { closeAll, env, pinned, start, walDatabase } from "../../support/runs/pinned-database.ts";

afterEach(closeAll);

// Freeze and mark

test("Pin.mark converts: checkpoints stop at the mark, and the WAL never restarts", async () => {
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

test("Pin.mark takes the mark that a writer has left, without a connection", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  for (let row = 0; row < 20; row++) await app.must(`INSERT INTO t VALUES (${row})`);
  const before = pin.walIndex()!;
  const connect = spyOn(pin, "connect");
  expect(pin.mark()).toBe(true);
  expect(connect).not.toHaveBeenCalled();
  expect(pin).toMatchObject({ state: "marked", isFrozen: false });
  const mark = pin.walIndex()!.readMarks[pin.markSlot!]!;
  expect(mark).toBeGreaterThan(before.mxFrame / 2);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t VALUES (4)");
  expect(pin.walIndex()).toMatchObject({ backfilled: mark, salt1: before.salt1, salt2: before.salt2 });
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

test("Pin.mark moves an older mark to the newest commit and releases the old slot", async () => {
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

test("thaw and unmark never release the last lock", async () => {
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
  pin.dropFreezeAndMark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect(pin.takeAnyMark()).toBe(true);
  const before = pin.walIndex()!;
  await app.must("INSERT INTO t VALUES (4)", "PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES (5)");
  expect(pin.walIndex()).toMatchObject({ salt1: before.salt1, salt2: before.salt2 });
});

// Release

test("Pin.release allows the application every operation, and repin holds the WAL again", async () => {
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

test("Pin.repin refuses a database that has left WAL mode", async () => {
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
    // Otherwise the checkpoint waits out its busy timeout of five seconds.
    expect(durationMs).toBeLessThan(4_500);
    expect(pin.state).toBe("frozen");
    expect(pin.foreignCheckpointWaits()).toBe(false);
    if (mode === "TRUNCATE") expect(statSync(pin.walPath).size).toBe(0);
  },
);

test("Pin.yieldToCheckpoint lets a checkpoint through that waits for the mark", async () => {
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

test("fact: without yielding a blocking checkpoint and every writer wait out its timeout", async () => {
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

test("Pin.yieldToCheckpoint does nothing for a process that waits for no lock of the pin", async () => {
  const { path, app } = await walDatabase();
  const pin = pinned(path);
  await app.must("BEGIN IMMEDIATE");
  expect(pin.foreignCheckpointWaits()).toBe(false);
  let captures = 0;
  expect(pin.yieldToCheckpoint(() => captures++, env)).toBe(true);
  expect(captures).toBe(0);
  await app.must("ROLLBACK");
  pin.dropFreezeAndMark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  pin.freeze();
  const reader = await start(path, "BEGIN", "SELECT * FROM t");
  expect((await app.must("PRAGMA wal_checkpoint(TRUNCATE)")).rows[0]?.[0]).toBe(0);
  await reader.must("COMMIT");
  expect(pin.state).toBe("frozen");
});

test.each(["FULL", "RESTART", "TRUNCATE"])(
  "mayBlockCheckpoint is false for a freeze over a backfilled WAL: a foreign %s passes",
  async (mode) => {
    const { path, app } = await walDatabase();
    await app.must("PRAGMA wal_checkpoint(PASSIVE)");
    const pin = pinned(path);
    expect(mayBlockCheckpoint(pin, pin.walIndex())).toBe(false);
    await app.must("PRAGMA busy_timeout=0");
    expect((await app.must(`PRAGMA wal_checkpoint(${mode})`)).rows[0]?.[0]).toBe(0);
    await app.must("INSERT INTO t VALUES (4)");
    expect(mayBlockCheckpoint(pin, pin.walIndex())).toBe(true);
    expect((await app.must(`PRAGMA wal_checkpoint(${mode})`)).rows[0]?.[0]).toBe(1);
    pin.mark();
    expect(mayBlockCheckpoint(pin, pin.walIndex())).toBe(true);
  },
);
