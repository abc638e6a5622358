/** The checkpoint cycle: its outcomes. The pin holds a freeze or a mark at every exit. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { closeSync, copyFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type CycleOptions, type CycleOutcome, checkpointCycle } from "../../src/database/checkpoint.ts";
import { connectionCount, fileIdentityOrNull, openDescriptor } from "../../src/database/files/descriptors.ts";
import { FREEZE_BYTE, WRITER_BYTE } from "../../src/database/files/lock-bytes.ts";
import { lockExclusive, unlock } from "../../src/database/files/ofd-lock.ts";
import { Pin } from "../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { WalShadow } from "../support/oracles/wal-shadow.ts";
import { SqliteProcess } from "../support/processes/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

const env = systemEnv(SILENT_LOG);
const OPTIONS: CycleOptions = { writeLockTimeoutMs: 20, truncate: false };

interface Scene {
  readonly path: string;
  readonly app: SqliteProcess;
  readonly pin: Pin;
  readonly shadow: WalShadow;
  readonly cycle: (options?: CycleOptions, onCapture?: (count: number) => boolean) => CycleOutcome;
}

const scenes: Scene[] = [];

afterEach(async () => {
  for (const scene of scenes.splice(0)) {
    scene.shadow.verify();
    expect(scene.shadow.violations).toEqual([]);
    scene.pin.close();
    await scene.app.kill();
  }
});

/** A pinned database with `rowCount` commits, and an application without automatic checkpoints. */
async function scene(rowCount = 5): Promise<Scene> {
  const path = join(tempFolder("cycle"), "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "PRAGMA busy_timeout=0");
  await app.must("CREATE TABLE t(a)");
  const pin = Pin.open(path, env);
  const shadow = new WalShadow(pin);
  for (let row = 0; row < rowCount; row++) await app.must(`INSERT INTO t VALUES (${row})`);
  const cycle: Scene["cycle"] = (options = OPTIONS, onCapture = () => true) => {
    let count = 0;
    return checkpointCycle(pin, () => shadow.capture() && onCapture(++count), options, env);
  };
  const made = { path, app, pin, shadow, cycle };
  scenes.push(made);
  return made;
}

/** The rows of the database file without its WAL. */
function rowsInFile(path: string): number {
  const copy = join(tempFolder("copy"), "copy.db");
  copyFileSync(path, copy);
  const database = new Database(copy);
  const row = database.query<{ count: number }, []>("SELECT count(*) AS count FROM t").get();
  database.close();
  return row?.count ?? -1;
}

test("checkpointCycle copies the whole WAL into the file, and the next writer restarts it", async () => {
  const { path, app, pin, cycle } = await scene();
  const before = pin.walIndex()!;
  const outcome = cycle();
  expect(outcome).toMatchObject({ outcome: "complete", reason: "", isTruncated: false });
  expect(outcome).toMatchObject({ backfilled: before.mxFrame, mxFrame: before.mxFrame });
  expect(outcome.writeLockHeldMs).toBeGreaterThan(0);
  expect(pin).toMatchObject({ state: "frozen", markSlot: null });
  expect(rowsInFile(path)).toBe(5);
  await app.must("INSERT INTO t VALUES (9)");
  const after = pin.walIndex()!;
  expect(after).toMatchObject({ backfilled: 0, changeCount: before.changeCount + 1 });
  expect(after.salt1).toBe(before.salt1 + 1);
});

test("checkpointCycle works from a mark, and releases the mark", async () => {
  const { path, app, pin, cycle } = await scene();
  expect(pin.mark()).toBe(true);
  await app.must("INSERT INTO t VALUES (9)");
  expect(cycle().outcome).toBe("complete");
  expect(pin).toMatchObject({ state: "frozen", markSlot: null });
  expect(rowsInFile(path)).toBe(6);
});

test("checkpointCycle captures commits during its copy, before the WAL may restart", async () => {
  const { path, pin, shadow, cycle } = await scene();
  const writer = new Database(path, { readwrite: true, create: false });
  writer.run("PRAGMA wal_autocheckpoint=0");
  const outcome = cycle(OPTIONS, (count) => {
    if (count === 1) writer.run("INSERT INTO t VALUES (10)");
    return true;
  });
  writer.close();
  expect(outcome.outcome).toBe("complete");
  expect(shadow.commitCount).toBe(6);
  expect(pin.walIndex()?.backfilled).toBe(outcome.mxFrame);
  expect(rowsInFile(path)).toBe(6);
});

test("checkpointCycle copies again before it takes the write lock after many new commits", async () => {
  const { path, cycle } = await scene();
  const writer = new Database(path, { readwrite: true, create: false });
  writer.run("PRAGMA wal_autocheckpoint=0");
  let captures = 0;
  const outcome = cycle(OPTIONS, (count) => {
    captures = count;
    if (count === 1) writer.run("INSERT INTO t VALUES (zeroblob(4000000))");
    return true;
  });
  writer.close();
  expect(captures).toBe(3);
  expect(outcome.outcome).toBe("complete");
});

test("checkpointCycle does nothing under the write lock when there is nothing to copy", async () => {
  const { app, pin, cycle } = await scene();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect(cycle().outcome).toBe("complete");
  expect(cycle()).toMatchObject({ outcome: "complete", writeLockHeldMs: 0 });
  expect(pin.state).toBe("frozen");
});

test("checkpointCycle turns a mark on a wholly copied WAL into a freeze, after a capture", async () => {
  const { app, pin, cycle } = await scene();
  pin.mark();
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  const salt = pin.walIndex()!.salt1;
  let captures = 0;
  expect(cycle(OPTIONS, (count) => (captures = count) > 0).outcome).toBe("complete");
  expect(captures).toBe(2);
  expect(pin).toMatchObject({ state: "frozen", markSlot: null });
  await app.must("INSERT INTO t VALUES (9)");
  expect(pin.walIndex()!.salt1).toBe(salt + 1);
});

test("checkpointCycle stops at a reader's mark without asking for the write lock", async () => {
  const { path, app, pin, cycle } = await scene();
  const reader = await SqliteProcess.open(path);
  await reader.must("BEGIN", "SELECT * FROM t");
  const mark = pin.walIndex()!.mxFrame;
  await app.must("INSERT INTO t VALUES (9)");
  const outcome = cycle();
  expect(outcome).toMatchObject({ outcome: "partial", backfilled: mark, writeLockHeldMs: 0 });
  expect(pin.state).toBe("marked");
  expect((await reader.must("SELECT count(*) FROM t")).rows).toEqual([[5]]);
  await reader.close();
  expect(cycle().outcome).toBe("complete");
  expect(rowsInFile(path)).toBe(6);
});

test("checkpointCycle gives up within its budget when a writer keeps the lock, holding a mark", async () => {
  const durationsMs: number[] = [];
  // A machine may stand still in one of the rounds.
  for (let round = 0; round < 3; round++) {
    const { app, pin, cycle } = await scene();
    await app.must("BEGIN IMMEDIATE", "INSERT INTO t VALUES (9)");
    const startMs = performance.now();
    const outcome = cycle({ writeLockTimeoutMs: 30, truncate: false });
    durationsMs.push(performance.now() - startMs);
    expect(outcome).toMatchObject({ outcome: "busy", writeLockHeldMs: 0 });
    expect(pin.state).toBe("marked");
    const salt = pin.walIndex()!.salt1;
    await app.must("COMMIT", "INSERT INTO t VALUES (10)");
    expect(pin.walIndex()!.salt1).toBe(salt);
    expect(cycle().outcome).toBe("complete");
  }
  expect(Math.min(...durationsMs)).toBeLessThan(900);
});

test("checkpointCycle finds a lock that is free only now and then, and only while it waits", async () => {
  const { pin, shadow } = await scene();
  const fd = openDescriptor(pin.shmPath);
  expect(lockExclusive(fd, WRITER_BYTE, 1)).toBe(true);
  let nowMs = 0;
  let waits = 0;
  // A writer on the core of the cycle: it gets on in the waits alone, and every hundredth ends between
  // commits.
  const sleepSync = (durationMs: number): void => {
    nowMs += durationMs + 0.08;
    if (++waits === 100) unlock(fd, WRITER_BYTE, 1);
  };
  const shared = { ...env, monotonicMs: () => nowMs, sleepSync };
  const options = { writeLockTimeoutMs: 20, truncate: false };
  expect(checkpointCycle(pin, () => shadow.capture(), options, shared).outcome).toBe("complete");
  closeSync(fd);
});

test.each([1, 2])("checkpointCycle keeps the pin when capture number %i aborts it", async (failing) => {
  const { app, pin, cycle } = await scene();
  const before = pin.walIndex()!;
  const outcome = cycle(OPTIONS, (count) => count !== failing);
  expect(outcome.outcome).toBe("aborted");
  expect(pin.state).toBe(failing === 1 ? "frozen" : "marked");
  if (failing === 1) expect(pin.walIndex()!.backfilled).toBe(before.backfilled);
  await app.must("PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES (9)");
  expect(pin.walIndex()!.salt1).toBe(before.salt1);
  expect(cycle().outcome).toBe("complete");
});

test.each([1, 2])(
  "checkpointCycle rethrows the error of capture number %i, pinned and closed",
  async (failing) => {
    const { path, app, pin, cycle } = await scene();
    const salt = pin.walIndex()!.salt1;
    const throwing = (count: number): boolean => {
      if (count === failing) throw new Error("no room");
      return true;
    };
    expect(() => cycle(OPTIONS, throwing)).toThrow("no room");
    expect(pin.state).not.toBe("released");
    expect(connectionCount(fileIdentityOrNull(path)!)).toBe(0);
    await app.must("INSERT INTO t VALUES (9)", "PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES (10)");
    expect(pin.walIndex()!.salt1).toBe(salt);
  },
);

test("checkpointCycle takes a mark when another checkpointer keeps it from freezing", async () => {
  const { path, app, pin, cycle } = await scene();
  const writer = new Database(path, { readwrite: true, create: false });
  writer.run("PRAGMA wal_autocheckpoint=0");
  const fd = openDescriptor(pin.shmPath);
  const outcome = cycle(OPTIONS, (count) => {
    if (count === 2) return lockAsCheckpointer(pin, fd);
    writer.run("INSERT INTO t VALUES (10)");
    return true;
  });
  writer.close();
  expect(outcome).toMatchObject({ outcome: "partial", backfilled: outcome.mxFrame - 1 });
  expect(pin.state).toBe("marked");
  expect(pin.walIndex()!.readMarks[pin.markSlot!]).toBe(outcome.mxFrame);
  closeSync(fd);
  await app.must("INSERT INTO t VALUES (9)");
  expect(cycle().outcome).toBe("complete");
  expect(pin.state).toBe("frozen");
});

/** Takes byte 123 exclusively, as a checkpointer does, at the moment the pin has no freeze. */
function lockAsCheckpointer(pin: Pin, fd: number): boolean {
  expect(pin.isFrozen).toBe(false);
  return lockExclusive(fd, FREEZE_BYTE, 1);
}

test("checkpointCycle truncates the WAL when asked and no connection blocks it", async () => {
  const { path, app, pin, cycle } = await scene();
  expect(cycle({ writeLockTimeoutMs: 20, truncate: true })).toMatchObject({
    outcome: "complete",
    isTruncated: true,
  });
  expect(statSync(pin.walPath).size).toBe(0);
  expect(pin.state).toBe("frozen");
  expect(pin.changedFile()).toBe("none");
  const changeCount = pin.walIndex()!.changeCount;
  await app.must("INSERT INTO t VALUES (9)");
  expect(pin.walIndex()!.changeCount).toBe(changeCount + 1);
  const reader = await SqliteProcess.open(path);
  await reader.must("BEGIN", "SELECT * FROM t");
  expect(cycle({ writeLockTimeoutMs: 20, truncate: true })).toMatchObject({
    outcome: "complete",
    isTruncated: false,
  });
  expect(statSync(pin.walPath).size).toBeGreaterThan(0);
  await reader.kill();
});

test("checkpointCycle refuses a pin that is not held", async () => {
  const { pin, cycle } = await scene();
  pin.release();
  expect(cycle()).toMatchObject({ outcome: "aborted", writeLockHeldMs: 0 });
  expect(pin.repin(env)).toBe(true);
});
