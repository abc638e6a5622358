/**
 * Raw descriptors beside connections: SQLite's behaviour that forces the rule for closing them, and the rule.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openConnection } from "../../../src/database/connection/connection.ts";
import {
  closeDescriptor,
  connectionCount,
  fileIdentityOrNull,
  openDescriptor,
  readDatabaseHeader,
} from "../../../src/database/files/descriptors.ts";
import { hasCode } from "../../../src/errors.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

async function walDatabase(): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(tempFolder("fd"), "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode=WAL", "CREATE TABLE t(a)", "INSERT INTO t VALUES (1)");
  return { path, app };
}

const TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)";

test("fact: closing any raw descriptor of a -shm drops this process's write lock", async () => {
  const { path, app } = await walDatabase();
  const host = new Database(path, { readwrite: true, create: false });
  host.run("BEGIN IMMEDIATE");
  host.run("INSERT INTO t VALUES (2)");
  expect((await app.run("INSERT INTO t VALUES (3)")).errorCode).toBe("SQLITE_BUSY");
  closeSync(openSync(`${path}-shm`, "r"));
  expect((await app.run("INSERT INTO t VALUES (3)")).errorCode).toBeNull();
  // The host's commit builds on an outdated page 1, so one of the two commits is lost.
  try {
    host.run("COMMIT");
  } catch {
    host.run("ROLLBACK");
  }
  host.close(true);
  const rows = (await app.must("SELECT a FROM t ORDER BY a")).rows.flat();
  expect(rows).not.toEqual([1, 2, 3]);
  await app.close();
});

test("fact: closing a raw descriptor lets another process delete the WAL under our read", async () => {
  const { path, app } = await walDatabase();
  const host = new Database(path, { readwrite: true, create: false });
  host.run("BEGIN");
  host.query("SELECT a FROM t").all();
  closeSync(openSync(path, "r"));
  closeSync(openSync(`${path}-shm`, "r"));
  await app.close();
  expect(existsSync(`${path}-wal`)).toBe(false);
  host.run("ROLLBACK");
  host.close();
});

test("closeDescriptor waits for the last connection, which keeps its locks", async () => {
  const { path, app } = await walDatabase();
  const identity = fileIdentityOrNull(path)!;
  const first = openConnection(path, { busyTimeoutMs: 0 });
  const second = openConnection(path, { busyTimeoutMs: 0 });
  expect(connectionCount(identity)).toBe(2);
  first.beginRead();
  const fds = [openDescriptor(path), openDescriptor(`${path}-shm`)];
  for (const fd of fds) closeDescriptor(identity, fd);
  readDatabaseHeader(path);
  second.close();
  // The reader keeps the WAL from being truncated.
  expect((await app.must(TRUNCATE)).rows[0]?.[0]).toBe(1);
  expect(existsSync(`/proc/self/fd/${fds[0]}`)).toBe(true);
  first.close();
  expect(connectionCount(identity)).toBe(0);
  for (const fd of fds) expect(existsSync(`/proc/self/fd/${fd}`)).toBe(false);
  expect((await app.must(TRUNCATE)).rows[0]?.[0]).toBe(0);
  await app.close();
});

test("readDatabaseHeader gives page size and mode", async () => {
  const { path, app } = await walDatabase();
  expect(readDatabaseHeader(path)).toMatchObject({ pageSizeBytes: 4096, isWal: true });
  await app.close();
});

test("readDatabaseHeader refuses a missing file, a folder, and a file that is no database", () => {
  const folder = tempFolder("fd");
  mkdirSync(join(folder, "folder"));
  writeFileSync(join(folder, "empty"), "");
  writeFileSync(join(folder, "text"), "x".repeat(4096));
  for (const name of ["missing", "folder", "empty", "text"]) {
    expect(codeOf(() => readDatabaseHeader(join(folder, name)))).toBe("database");
  }
});

test("openConnection creates no database and closes its descriptors", async () => {
  const path = join(tempFolder("fd"), "none.db");
  expect(codeOf(() => openConnection(path, { busyTimeoutMs: 0 }))).toBe("database");
  expect(existsSync(path)).toBe(false);
});

test("Connection.close keeps the WAL though the connection is the last", async () => {
  const { path, app } = await walDatabase();
  const connection = openConnection(path, { busyTimeoutMs: 0 });
  connection.beginRead();
  await app.close();
  connection.rollback();
  connection.close();
  connection.close();
  expect(existsSync(`${path}-wal`)).toBe(true);
});

test("Connection reports busy, retryable, beside a writer or a checkpointer", async () => {
  const { path, app } = await walDatabase();
  await app.must("BEGIN IMMEDIATE");
  const connection = openConnection(path, { busyTimeoutMs: 0 });
  expect(connection.checkpoint("TRUNCATE").isBusy).toBe(true);
  expect(connection.checkpoint("PASSIVE").isBusy).toBe(false);
  await app.must("ROLLBACK");
  expect(connection.checkpoint("TRUNCATE").isBusy).toBe(false);
  connection.close();
  await app.close();
});

test("connectionCount follows the file, not the path", async () => {
  const { path, app } = await walDatabase();
  const identity = fileIdentityOrNull(path)!;
  const connection = openConnection(path, { busyTimeoutMs: 0 });
  renameSync(path, `${path}.moved`);
  expect(connectionCount(identity)).toBe(1);
  connection.close();
  expect(connectionCount(identity)).toBe(0);
  await app.kill();
});

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    for (const code of ["database", "database-busy", "not-wal", "locked"] as const) {
      if (hasCode(error, code)) return code;
    }
    return String(error);
  }
  return "nothing was thrown";
}
