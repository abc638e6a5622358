/** Following a database without locks: the frames that count, and when an image counts. */
import { afterEach, describe, expect, test } from "bun:test";
import { fstatSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { DatabaseImage } from "../../../src/database/image.ts";
import { LocklessPin } from "../../../src/database/pin/lockless-pin.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { hasCode } from "../../../src/errors.ts";
import { type SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { closeAll, env, walDatabase } from "../../support/runs/pinned-database.ts";

const lockless: LocklessPin[] = [];
afterEach(async () => {
  for (const pin of lockless.splice(0)) pin.close();
  await closeAll();
});

/** A database whose -shm was deleted under its application, followed from the end of its WAL. */
async function followed(): Promise<{ path: string; app: SqliteProcess; pin: LocklessPin }> {
  const { path, app } = await walDatabase();
  rmSync(`${path}-shm`);
  const pin = LocklessPin.open(path, env);
  lockless.push(pin);
  return { path, app, pin };
}

function framesOf(pin: LocklessPin): number {
  pin.followWal();
  return pin.walIndex().mxFrame;
}

/** Waits until the database file has been unchanged for a while. */
async function frozen(pin: LocklessPin): Promise<void> {
  await waitUntil(() => pin.freeze());
}

function contentOf(pin: LocklessPin): Buffer {
  const image = DatabaseImage.open(pin, pin.walIndex(), fstatSync(pin.databaseFd).size);
  if (!(image instanceof DatabaseImage)) throw new Error(image.reason);
  const pages: Buffer[] = [];
  while (image.readSlice(100, (_, data) => pages.push(Buffer.from(data))));
  image.close();
  return Buffer.concat(pages);
}

describe("LocklessPin follows", () => {
  test("commits, also through a restart of the WAL and a truncation", async () => {
    const { app, pin } = await followed();
    const before = framesOf(pin);
    expect(before).toBeGreaterThan(0);
    await app.must("INSERT INTO t VALUES (1)");
    expect(framesOf(pin)).toBe(before + 1);
    const { salt1 } = pin.walIndex();
    await app.must("PRAGMA wal_checkpoint(RESTART)", "INSERT INTO t VALUES (2)");
    expect(framesOf(pin)).toBe(1);
    expect(pin.walIndex().salt1).not.toBe(salt1);
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    expect([framesOf(pin), pin.walIndex().salt1]).toEqual([0, 0]);
    await app.must("INSERT INTO t VALUES (3)");
    expect(framesOf(pin)).toBe(1);
  });

  test("no frames of a transaction that is not committed, or was rolled back", async () => {
    const { app, pin } = await followed();
    const before = framesOf(pin);
    const spill = "INSERT INTO t SELECT randomblob(3000) FROM (SELECT 1 FROM t a, t b, t c, t d, t e)";
    await app.must("PRAGMA cache_size = 5", "BEGIN", spill);
    expect(framesOf(pin)).toBe(before);
    await app.must("ROLLBACK");
    expect(framesOf(pin)).toBe(before);
    await app.must("INSERT INTO t VALUES (4)");
    expect(framesOf(pin)).toBe(before + 1);
    await app.must("BEGIN", spill, "COMMIT");
    expect(framesOf(pin)).toBeGreaterThan(before + 50);
  });

  test("no WAL that is missing, short or torn, and one that is overwritten from its beginning", async () => {
    const { path, app, pin } = await followed();
    await app.kill();
    const wal = readFileSync(`${path}-wal`);
    const whole = framesOf(pin);
    for (const size of [0, 10, 31, 32, 40]) {
      writeFileSync(`${path}-wal`, wal.subarray(0, size));
      expect(framesOf(pin)).toBe(0);
    }
    writeFileSync(`${path}-wal`, wal);
    expect(framesOf(pin)).toBe(whole);
    truncateSync(`${path}-wal`, wal.length - 1);
    expect(framesOf(pin)).toBe(whole - 1);
    const torn = Buffer.from(wal);
    torn[32 + 24 + 7]! ^= 1;
    writeFileSync(`${path}-wal`, torn);
    // The last frame is unchanged, so the frames before it are read again only for an image.
    expect(pin.isRewritten()).toBe(true);
    rmSync(`${path}-wal`);
    expect(framesOf(pin)).toBe(0);
  });
});

describe("an image of a LocklessPin", () => {
  test("is the state that the next connection sees, whatever part of the WAL was checkpointed", async () => {
    const { path, app, pin } = await followed();
    await app.must("PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t VALUES ('newest')");
    await frozen(pin);
    const image = contentOf(pin);
    expect(pin.isRewritten()).toBe(false);
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    expect(pin.isRewritten()).toBe(true);
    expect(image.equals(readFileSync(path))).toBe(true);
  });

  test("does not count when the file was written just before, or the WAL restarted meanwhile", async () => {
    const { path, app, pin } = await followed();
    const soon = new Date(env.nowMs() + 10);
    utimesSync(path, soon, soon);
    expect(pin.freeze()).toBe(false);
    await frozen(pin);
    await app.must("INSERT INTO t VALUES ('more')");
    expect(pin.isRewritten()).toBe(false);
    const index = pin.walIndex();
    await app.must("PRAGMA wal_checkpoint(RESTART)");
    await app.must("INSERT INTO t VALUES ('over it')");
    expect([pin.isRewritten(), pin.areFramesUnchanged(null, index)]).toEqual([true, false]);
  });
});

test("a LocklessPin has the host lock, and reports the written file", async () => {
  const { path, app, pin } = await followed();
  for (const open of [() => LocklessPin.open(path, env), () => Pin.open(path, env)]) {
    const failure = (() => {
      try {
        return open();
      } catch (error) {
        return error;
      }
    })();
    expect(hasCode(failure, "locked")).toBe(true);
  }
  utimesSync(pin.walPath, 1, 1);
  expect([pin.writtenFile(), pin.writtenFile()]).toEqual(["database", "none"]);
  await app.must("INSERT INTO t VALUES (5)");
  utimesSync(pin.walPath, 2, 2);
  expect([pin.writtenFile(), pin.writtenFile()]).toEqual(["wal", "none"]);
  await app.must("PRAGMA wal_checkpoint(PASSIVE)");
  expect([pin.writtenFile(), pin.writtenFile()]).toEqual(["database", "none"]);
  expect(pin.changedFile()).toBe("none");
  rmSync(path);
  expect(pin.changedFile()).toBe("database");
  pin.close();
  await app.close();
});

test("a LocklessPin reports a -wal once more that was written a moment before", async () => {
  const { path, app, pin } = await followed();
  pin.close();
  await app.close();
  writeFileSync(`${path}-wal`, "frames");
  const { mtimeMs } = statSync(`${path}-wal`);
  let nowMs = mtimeMs + 1;
  const again = LocklessPin.open(path, { ...env, nowMs: () => nowMs });
  lockless.push(again);
  expect(again.writtenFile()).toBe("database");
  nowMs += 1_000;
  expect([again.writtenFile(), again.writtenFile()]).toEqual(["wal", "none"]);
});
