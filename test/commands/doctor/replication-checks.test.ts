/**
 * Whether a database is replicated: the judgement of its watch, the judgement of the files without one, and a
 * walrust that answers nowhere.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Check, Checks } from "../../../src/commands/doctor/check.ts";
import {
  checkHolder,
  checkPin,
  checkWatched,
  type WatchedDatabase,
} from "../../../src/commands/doctor/replication-checks.ts";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import type { FoundDatabase } from "../../../src/discovery/finder.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { closeAll, env, walDatabase } from "../../support/runs/pinned-database.ts";
import { tempFolder } from "../../support/temp.ts";

afterEach(closeAll);

const WATCHED: WatchedDatabase = {
  pid: 7,
  health: "healthy",
  reasons: [],
  remedies: [],
  uploadedTxid: 5,
  failureCode: null,
};

function watched(overrides: Partial<WatchedDatabase>): Check {
  const checks = new Checks("database", "/srv/app.db");
  checkWatched({ ...WATCHED, ...overrides }, checks);
  return checks.all[0]!;
}

function foundAt(given: string): FoundDatabase {
  const path = realpathSync(given);
  const place = LocalPlaces.standard({}).of(path);
  return { path, name: "app", paths: place.paths, place, entry: null, isDiscovered: false };
}

async function pinCheck(path: string): Promise<Check> {
  const checks = new Checks("database", path);
  await checkPin(foundAt(path), env, checks);
  return checks.all[0]!;
}

/** Everything in the folder of a database, to show that a check changes nothing. */
function folderOf(path: string): unknown {
  const folder = dirname(path);
  return readdirSync(folder).map((name) => {
    const stats = statSync(join(folder, name), { bigint: true });
    return [name, stats.ino, stats.mtimeNs, stats.size, readFileSync(join(folder, name)).toString("base64")];
  });
}

test("checkWatched takes over the health of the watch, with its reasons and remedies", () => {
  expect(watched({})).toMatchObject({ status: "ok", message: expect.stringContaining("TXID 5") });
  const bad = { reasons: ["one", "two"], remedies: ["do this", "do that"] };
  expect(watched({ ...bad, health: "degraded" })).toMatchObject({
    status: "warning",
    message: "the watch with pid 7: one; two",
    hint: "do this; do that",
  });
  expect(watched({ ...bad, health: "unhealthy" })).toMatchObject({ status: "failure", exit: 3 });
  expect(watched({ ...bad, health: "unhealthy", failureCode: "missing-bucket" }).exit).toBe(4);
  expect(watched({ health: "degraded", remedies: [] }).hint).toContain("walrust status");
});

test("checkPin is content beside an application, and changes no file", async () => {
  const { path } = await walDatabase();
  const before = folderOf(path);
  expect((await pinCheck(path)).status).toBe("ok");
  expect(folderOf(path)).toEqual(before);
});

test.each(["-shm", "-wal"])(
  "checkPin fails for a %s that was deleted under the application",
  async (suffix) => {
    const { path, app } = await walDatabase();
    rmSync(path + suffix);
    await app.must("INSERT INTO t VALUES (9)");
    const before = folderOf(path);
    const check = await pinCheck(path);
    expect(check).toMatchObject({ status: "failure", exit: 3, hint: expect.stringContaining("SIGTERM") });
    expect(folderOf(path)).toEqual(before);
  },
);

test("checkPin fails for the WAL of another database, and leaves both files as they are", async () => {
  const { path, app } = await walDatabase(20);
  await app.kill();
  const other = join(tempFolder("other"), "app.db");
  const database = new Database(other);
  database.run("PRAGMA page_size = 8192");
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE x (a)");
  database.close(true);
  await Bun.write(path, Bun.file(other));
  rmSync(`${path}-shm`, { force: true });
  const before = folderOf(path);
  const check = await pinCheck(path);
  expect(check).toMatchObject({ status: "failure", exit: 3 });
  expect([check.message, check.hint]).toEqual([
    expect.stringContaining("-wal do not belong to it"),
    expect.stringContaining("Do not open the database"),
  ]);
  expect(folderOf(path)).toEqual(before);
});

test("checkHolder reports a walrust that has the database, as far as it can be seen", async () => {
  const { path } = await walDatabase();
  const checked = (users: Parameters<typeof checkHolder>[1]): Check[] => {
    const checks = new Checks("database", path);
    checkHolder(foundAt(path), users, checks);
    return checks.all;
  };
  expect(checked([])).toEqual([]);
  const release = takeHostLockOrNull(path)!;
  expect(checked([])).toMatchObject([{ check: "holder", status: "warning" }]);
  expect(checked([])[0]!.message).toStartWith("A walrust has ");
  const [named] = checked([
    { pid: 1, command: "python3" },
    { pid: process.pid, command: "walrust" },
  ]);
  expect(named!.message).toStartWith(`The walrust with pid ${process.pid} has `);
  release();
  expect(checked([])).toEqual([]);
});
