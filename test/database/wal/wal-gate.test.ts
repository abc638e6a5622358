/**
 * The gate on real files. SQLite would damage a file beside the WAL of another file; no connection of walrust
 * does so, whether it opens or fails.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { checkpointCycle } from "../../../src/database/checkpoint.ts";
import { openConnection } from "../../../src/database/connection/connection.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  fileIdentityOrNull,
  openDescriptor,
} from "../../../src/database/files/descriptors.ts";
import { SHARED_LENGTH, SHARED_START } from "../../../src/database/files/lock-bytes.ts";
import { isLockedByOther } from "../../../src/database/files/ofd-lock.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { requireOwnWalAt } from "../../../src/database/wal/wal-gate.ts";
import { WalrustError } from "../../../src/errors.ts";
import { closeAll, env, pinned, start, walDatabase } from "../../support/runs/pinned-database.ts";
import { tempFolder } from "../../support/temp.ts";

afterEach(closeAll);

function errorOf(work: () => unknown): WalrustError {
  try {
    work();
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** A closed database of `rowCount` rows in WAL mode. */
async function otherDatabase(rowCount: number, mode = "WAL"): Promise<string> {
  const path = join(tempFolder("other"), "other.db");
  const rows = `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${rowCount})`;
  const create = `${rows} INSERT INTO n SELECT zeroblob(1000) FROM c`;
  const app = await start(path, `PRAGMA journal_mode=${mode}`, "CREATE TABLE n(y)", create);
  await app.close();
  return path;
}

/** The WAL of a database of two pages with one commit, whose application died. */
async function leftWal(): Promise<string> {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t VALUES ('old')");
  await app.kill();
  return path;
}

test("SQLite applies a WAL by its name alone, and writes it into the file when it closes", async () => {
  for (const mode of ["WAL", "DELETE"]) {
    const path = await leftWal();
    renameSync(await otherDatabase(500, mode), path);
    const before = statSync(path).size;
    const database = new Database(path, { readwrite: true, create: false });
    expect(() => database.query("SELECT count(*) FROM n").get()).toThrow();
    database.close();
    expect([before > 500_000, statSync(path).size]).toEqual([true, 8192]);
  }
});

for (const mode of ["WAL", "DELETE"]) {
  test(`Pin.open refuses a file in ${mode} mode beside the WAL of another, and changes nothing`, async () => {
    const path = await leftWal();
    renameSync(await otherDatabase(500, mode), path);
    const bytes = readFileSync(path);
    const wal = readFileSync(`${path}-wal`);
    const error = errorOf(() => Pin.open(path, env));
    expect([error.code, error.exitCode, error.retryable]).toEqual(["foreign-wal", 3, true]);
    expect(error.message).toContain(`${path}-wal`);
    expect(error.hint).toContain("move");
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(readFileSync(`${path}-wal`).equals(wal)).toBe(true);

    rmSync(`${path}-wal`);
    if (mode === "WAL") pinned(path);
    else expect(errorOf(() => Pin.open(path, env)).code).toBe("not-wal");
  });
}

test("a connection that fails under the gate's lock writes nothing when it closes", async () => {
  const path = await leftWal();
  // Page 1 of the file is damaged, so that SQLite refuses it at its first read.
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  const bytes = readFileSync(copy);
  bytes.fill(0xff, 100, 200);
  await Bun.write(path, bytes);
  const error = errorOf(() => Pin.open(path, env));
  expect(["database", "foreign-wal"]).toContain(error.code);
  expect(readFileSync(path).equals(bytes)).toBe(true);
});

test("Pin.open refuses a file while an application works on its predecessor", async () => {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  const other = await otherDatabase(5);
  const bytes = readFileSync(other);
  renameSync(other, path);
  expect(errorOf(() => Pin.open(path, env)).message).toContain("no longer at this path");
  await app.must("INSERT INTO t VALUES (1)");
  expect(errorOf(() => Pin.open(path, env)).code).toBe("foreign-wal");
  await app.close();
  expect(readFileSync(path).equals(bytes)).toBe(true);
});

test("Pin.open accepts a database whose application lost its lock by reading the file itself", async () => {
  const { path, app } = await walDatabase();
  await app.must("INSERT INTO t VALUES (1)");
  await app.must(".read");
  const fd = openDescriptor(path);
  expect(isLockedByOther(fd, SHARED_START, SHARED_LENGTH, "exclusive")).toBe(false);
  closeDescriptor(descriptorIdentity(fd), fd);
  const pin = pinned(path);
  expect([pin.state, pin.isAlone()]).toEqual(["frozen", false]);
});

test("openConnection opens the expected file or none", async () => {
  const { path } = await walDatabase();
  const expected = fileIdentityOrNull(path)!;
  openConnection(path, { busyTimeoutMs: 0, expected }).close();
  renameSync(await otherDatabase(5), path);
  expect(errorOf(() => openConnection(path, { busyTimeoutMs: 0, expected })).code).toBe("database-busy");
});

test("a pin opens no connection once one of its files was replaced", async () => {
  for (const suffix of ["", "-wal", "-shm"]) {
    const { path } = await walDatabase();
    const pin = pinned(path);
    const other = await otherDatabase(500);
    if (suffix === "") renameSync(other, path);
    else rmSync(path + suffix);
    const bytes = readFileSync(path);
    expect(errorOf(() => pin.connect()).code).toBe("database-busy");
    expect(pin.mark()).toBe(false);
    expect(checkpointCycle(pin, () => true, { truncate: true }, env).outcome).toBe("busy");
    expect(readFileSync(path).equals(bytes)).toBe(true);
  }
});

test("a pin detects an overwritten file, under the freeze and under a mark", async () => {
  for (const isMarked of [false, true]) {
    const { path, app } = await walDatabase(20);
    const pin = pinned(path);
    if (isMarked) expect(pin.mark()).toBe(true);
    await app.must("INSERT INTO t VALUES (1)");
    expect(pin.isRewritten()).toBe(false);
    copyFileSync(await otherDatabase(50), path);
    expect([pin.state, pin.isRewritten()]).toEqual([isMarked ? "marked" : "frozen", true]);
    // The overwritten file stays detected until it is accepted, under any lock.
    expect([pin.freeze(), pin.isRewritten()]).toEqual([true, true]);
    expect(errorOf(() => pin.connect()).code).toBe("database-busy");
    pin.acceptFile();
    expect(pin.isRewritten()).toBe(false);
  }
});

test("a pin recognizes the application's checkpoints under a mark", async () => {
  const { path, app } = await walDatabase(20);
  const pin = pinned(path);
  expect(pin.mark()).toBe(true);
  for (let round = 0; round < 20; round++) {
    await app.must(`INSERT INTO t VALUES (${round})`, "PRAGMA wal_checkpoint(PASSIVE)");
    expect(pin.isRewritten()).toBe(false);
    if (round % 5 === 0) pin.mark();
  }
});

test("requireOwnWalAt accepts a copy of a database with its WAL", async () => {
  const path = await leftWal();
  const copy = join(tempFolder("copy"), "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  expect(requireOwnWalAt(copy).wal?.claims).not.toBeNull();
});

test("a repeatedly refused WAL is read again as soon as one of the files changes", async () => {
  const path = await leftWal();
  renameSync(await otherDatabase(500), path);
  for (let time = 0; time < 6; time++) expect(errorOf(() => requireOwnWalAt(path)).code).toBe("foreign-wal");
  // No frame of this WAL is valid any more, so a recovery would apply none.
  const wal = readFileSync(`${path}-wal`);
  wal[40]! ^= 0xff;
  await Bun.write(`${path}-wal`, wal);
  expect(requireOwnWalAt(path).wal?.claims).toBeNull();
});
