/**
 * When a checkpoint by walrust is safe: beside a writer that is between its frames and the wal-index, and
 * beside a writer that never publishes its commits there.
 */
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NO_CONDITIONS } from "../../../src/errors.ts";
import { WalIndexCheck } from "../../../src/replication/capture/wal-index-check.ts";
import { closeAll, env, pinned, start, walDatabase } from "../../support/runs/pinned-database.ts";
import { tempFolder } from "../../support/temp.ts";

afterEach(closeAll);

/** Writes the frames of a commit to the WAL of `path`, and not to its wal-index. */
async function beginCommit(path: string, statement: string): Promise<void> {
  const copy = join(tempFolder("between"), "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  const app = await start(copy, "PRAGMA wal_autocheckpoint = 0", statement);
  const wal = readFileSync(`${copy}-wal`);
  await app.kill();
  writeFileSync(`${path}-wal`, wal, { flag: "r+" });
}

test("a checkpoint is safe beside a writer that publishes its commits, though always later", async () => {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_autocheckpoint = 0");
  const pin = pinned(path);
  await app.must("INSERT INTO t VALUES (100)");
  const check = new WalIndexCheck(env, NO_CONDITIONS);
  expect(check.mayCheckpoint(pin)).toBe(true);
  await beginCommit(path, "INSERT INTO t VALUES (101)");
  expect(check.mayCheckpoint(pin)).toBe(false);
  for (let value = 101; value < 104; value++) {
    await app.must(`INSERT INTO t VALUES (${value})`);
    await beginCommit(path, `INSERT INTO t VALUES (${value + 1})`);
    expect(check.mayCheckpoint(pin)).toBe(true);
  }
});

test("a checkpoint is not safe beside commits that the wal-index never shows", async () => {
  const { path, app } = await walDatabase();
  await app.must("PRAGMA wal_autocheckpoint = 0");
  const pin = pinned(path);
  await app.must("INSERT INTO t VALUES (100)");
  const check = new WalIndexCheck(env, NO_CONDITIONS);
  for (let value = 101; value < 104; value++) {
    await beginCommit(path, `INSERT INTO t VALUES (${value})`);
    expect([check.mayCheckpoint(pin), check.mayCheckpoint(pin)]).toEqual([false, false]);
  }
});
