/** isDatabaseInUse: a connection of another process, in WAL mode, in rollback mode, and after its end. */
import { describe, expect, test } from "bun:test";
import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { isDatabaseInUse } from "../../../src/database/files/in-use.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

async function open(mode: string): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(tempFolder("in-use"), "app.db");
  const app = await SqliteProcess.open(path);
  await app.must(`PRAGMA journal_mode = ${mode}`, "CREATE TABLE t(a)");
  return { path, app };
}

describe("isDatabaseInUse", () => {
  test("a WAL connection that is idle is in use until it closes", async () => {
    const { path, app } = await open("WAL");
    expect(isDatabaseInUse(path)).toBe(true);
    await app.must("SELECT * FROM t");
    expect(isDatabaseInUse(path)).toBe(true);
    await app.close();
    expect(isDatabaseInUse(path)).toBe(false);
  });

  test("a killed process uses nothing, whatever files it leaves", async () => {
    const { path, app } = await open("WAL");
    await app.must("INSERT INTO t VALUES (1)");
    await app.kill();
    expect(isDatabaseInUse(path)).toBe(false);
  });

  test("a rollback-mode connection is in use during its transactions", async () => {
    const { path, app } = await open("DELETE");
    await app.must("BEGIN", "SELECT * FROM t");
    expect(isDatabaseInUse(path)).toBe(true);
    await app.must("COMMIT");
    expect(isDatabaseInUse(path)).toBe(false);
    await app.must("BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)");
    expect(isDatabaseInUse(path)).toBe(true);
    await app.kill();
    expect(isDatabaseInUse(path)).toBe(false);
  });

  test("the check does not disturb the application's own locks", async () => {
    const { path, app } = await open("WAL");
    const other = await SqliteProcess.open(path);
    await app.must("BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)");
    for (let count = 0; count < 5; count++) expect(isDatabaseInUse(path)).toBe(true);
    expect((await other.run("PRAGMA busy_timeout = 0", "BEGIN IMMEDIATE")).errorCode).toBe("SQLITE_BUSY");
    await app.must("COMMIT");
    await Promise.all([app.close(), other.close()]);
  });
});

describe("isDatabaseInUse beside files of other kinds", () => {
  test("never waits for a FIFO, follows no link, and accepts neither as a database", async () => {
    const { path, app } = await open("WAL");
    await app.close();
    rmSync(`${path}-shm`, { force: true });
    expect(Bun.spawnSync(["mkfifo", `${path}-shm`]).exitCode).toBe(0);
    expect(isDatabaseInUse(path)).toBe(false);
    rmSync(`${path}-shm`);
    symlinkSync("elsewhere", `${path}-shm`);
    expect(isDatabaseInUse(path)).toBe(false);
    rmSync(path);
    expect(isDatabaseInUse(path)).toBe(false);
  });
});
