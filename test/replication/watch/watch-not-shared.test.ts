/**
 * A database whose application does not share its wal-index with walrust: its -shm or -wal was deleted, or
 * the application opened another name of the file. walrust captures the commits that any file holds, reports
 * the state, and does not disturb the application.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, linkSync, rmSync, writeFileSync } from "node:fs";
import { eventually } from "../../support/eventually.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, type WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const ROWS = "SELECT id, v FROM t ORDER BY id";
const runs: WatchRun[] = [];
const apps: SqliteProcess[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  for (const app of apps.splice(0)) await app.kill();
});

interface Watched {
  readonly path: string;
  readonly app: SqliteProcess;
  readonly store: MemoryStore;
  readonly run: WatchRun;
}

async function watched(): Promise<Watched> {
  const { path, app } = await newDatabase();
  apps.push(app);
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  runs.push(run);
  return { path, app, store, run };
}

async function opened(path: string): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  apps.push(app);
  return app;
}

function codesOf(run: WatchRun): string[] {
  return run.status().conditions.map(({ code }) => code);
}

/** The rows of the table. A database file without its WAL may have no table yet. */
function valuesOf(image: Uint8Array): unknown[] {
  const tables = rowsOf(image, "SELECT name FROM sqlite_schema WHERE name = 't'");
  return tables.length === 0 ? [] : rowsOf(image, "SELECT v FROM t").flat();
}

/** Waits until the bucket has a row. */
async function arrived(store: MemoryStore, row: string): Promise<void> {
  await eventually(row, async () => valuesOf(await newestImage(store, "app")).includes(row));
}

/** Waits until a checkpoint by a link is captured, so that the next commit comes right after a poll. */
async function arrivedByPoll(run: WatchRun, linked: SqliteProcess, store: MemoryStore): Promise<void> {
  await linked.must("PRAGMA wal_checkpoint(TRUNCATE)");
  await arrived(store, "by the link");
  expect(codesOf(run)).toContain("not-shared");
}

/** Expects the bucket to hold the state that the next connection sees. */
async function expectSame(run: WatchRun, path: string, store: MemoryStore): Promise<void> {
  await run.stop();
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
}

describe.each([
  ["-shm", ["-shm"]],
  ["-wal", ["-wal"]],
  ["-shm and -wal", ["-shm", "-wal"]],
])("%s deleted under the application", (_, suffixes) => {
  const isWalThere = !suffixes.includes("-wal");

  test("is reported, loses no commit, and ends with a restart of the application", async () => {
    const { path, app, store, run } = await watched();
    await run.commit(app, "INSERT INTO t(v) VALUES ('before')");
    for (const suffix of suffixes) rmSync(path + suffix);
    for (let row = 0; row < 20; row++) await app.must(`INSERT INTO t(v) VALUES ('blind ${row}')`);
    await run.until("the condition", () => codesOf(run).includes("not-shared"));
    expect(run.status().conditions[0]!.health).toBe("unhealthy");
    await app.must("INSERT INTO t(v) VALUES ('told')");
    // Without its WAL the commits are in a file that no other process can open, until a checkpoint.
    if (!isWalThere) await app.must("PRAGMA wal_checkpoint(PASSIVE)");
    await arrived(store, "told");
    await app.must("INSERT INTO t(v) VALUES ('last')");
    await app.close();

    const again = await opened(path);
    expect((await again.must("SELECT count(*) FROM t")).rows).toEqual([[24]]);
    await again.must("INSERT INTO t(v) VALUES ('restarted')");
    await arrived(store, "restarted");
    await run.until("the end of the condition", () => codesOf(run).length === 0, 25_000);
    await run.commit(again, "INSERT INTO t(v) VALUES ('pinned again')");
    await again.close();
    await expectSame(run, path, store);
  }, 60_000);

  test("loses no commit of an application that closes just before the watch ends", async () => {
    const { path, app, store, run } = await watched();
    for (const suffix of suffixes) rmSync(path + suffix);
    await run.until("the condition", () => codesOf(run).includes("not-shared"));
    await app.must("INSERT INTO t(v) VALUES ('last')");
    await app.close();
    await expectSame(run, path, store);
    expect(valuesOf(await newestImage(store, "app"))).toContain("last");
  }, 20_000);

  test("counts as not captured at the end if no file has the commits", async () => {
    const { path, app, run } = await watched();
    for (const suffix of suffixes) rmSync(path + suffix);
    await run.until("the condition", () => codesOf(run).includes("not-shared"));
    await app.must("INSERT INTO t(v) VALUES ('last')");
    await run.until("a lag", () => isWalThere || (run.status().lagMs ?? 0) > 0);
    const { uncaptured } = await run.stop();
    expect(uncaptured.map(({ error }) => error?.code)).toEqual(isWalThere ? [] : ["database"]);
    expect(run.isSaid("what was committed last is not captured")).toBe(!isWalThere);
  }, 20_000);

  test("makes walrust neither checkpoint nor create a file", async () => {
    const { path, app, run } = await watched();
    for (const suffix of suffixes) rmSync(path + suffix);
    await run.until("the condition", () => codesOf(run).includes("not-shared"));
    expect(suffixes.map((suffix) => existsSync(path + suffix))).toEqual(suffixes.map(() => false));
    const checkpoints = run.all("checkpointed").length;
    for (let row = 0; row < 50; row++) await app.must("INSERT INTO t(v) VALUES (randomblob(20000))");
    await run.stop();
    expect(run.all("checkpointed").length).toBe(checkpoints);
    expect(suffixes.map((suffix) => existsSync(path + suffix))).toEqual(suffixes.map(() => false));
    await app.close();
    const again = await opened(path);
    expect((await again.must("SELECT count(*) FROM t")).rows).toEqual([[51]]);
    expect((await again.must("PRAGMA integrity_check")).rows).toEqual([["ok"]]);
  }, 20_000);

  test("before the watch began is reported, and the files' content is captured", async () => {
    const { path, app } = await newDatabase();
    apps.push(app);
    for (const suffix of suffixes) rmSync(path + suffix);
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    runs.push(run);
    expect(codesOf(run)).toEqual(["not-shared"]);
    await app.must("INSERT INTO t(v) VALUES ('blind')");
    if (!isWalThere) await app.must("PRAGMA wal_checkpoint(PASSIVE)");
    await arrived(store, "blind");
    await app.close();
    await expectSame(run, path, store);
  }, 20_000);
});

test("a -shm deleted under one of two applications, with a new one for the other, is reported", async () => {
  const { path, app, run } = await watched();
  rmSync(`${path}-shm`);
  const other = await opened(path);
  await other.must("SELECT 1 FROM t");
  // The users of the database are compared every three seconds.
  await run.until("the condition", () => codesOf(run).includes("not-shared"), 15_000);
  await app.close();
  await other.must("INSERT INTO t(v) VALUES ('the other')");
  await run.until("the end of it", () => codesOf(run).length === 0, 25_000);
  await other.close();
}, 60_000);

describe("a hard link", () => {
  test("is reported for as long as it exists", async () => {
    const { path, app, run } = await watched();
    linkSync(path, `${path}.link`);
    await run.until("the condition", () => codesOf(run).includes("more-than-one-name"), 25_000);
    rmSync(`${path}.link`);
    await run.until("its end", () => codesOf(run).length === 0, 25_000);
    await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  }, 60_000);

  test("that an application has open is reported, and its checkpoints are captured", async () => {
    const { path, app } = await newDatabase();
    await app.close();
    linkSync(path, `${path}.link`);
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    runs.push(run);
    expect(codesOf(run)).toEqual(["more-than-one-name"]);
    const linked = await opened(`${path}.link`);
    await linked.must("INSERT INTO t(v) VALUES ('by the link')");
    await run.until("the sighting", () => codesOf(run).includes("not-shared"), 10_000);
    await linked.must("INSERT INTO t(v) VALUES ('again')");
    await linked.close();
    await arrived(store, "again");
    expect(codesOf(run).length).toBe(1);
    rmSync(`${path}.link`);
    await expectSame(run, path, store);
  }, 60_000);
});

test("a connection by a hard link that ends just before the watch loses no commit", async () => {
  const { path, app } = await newDatabase();
  await app.close();
  linkSync(path, `${path}.link`);
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  runs.push(run);
  const linked = await opened(`${path}.link`);
  await linked.must("INSERT INTO t(v) VALUES ('by the link')");
  await run.until("the condition", () => codesOf(run).includes("not-shared"), 10_000);
  await arrivedByPoll(run, linked, store);
  await linked.must("INSERT INTO t(v) VALUES ('last by the link')");
  await linked.close();
  await run.stop();
  await provenHistory(store, "app");
  expect(valuesOf(await newestImage(store, "app"))).toContain("last by the link");
}, 30_000);

test("another engine's index beside the database is reported, and the WAL is followed", async () => {
  const { path, app } = await newDatabase();
  apps.push(app);
  writeFileSync(`${path}-tshm`, "");
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  runs.push(run);
  expect(run.status().conditions[0]!.message).toContain("-tshm");
  await app.must("INSERT INTO t(v) VALUES ('by the other engine')");
  await arrived(store, "by the other engine");
  rmSync(`${path}-tshm`);
  await run.until("the pin", () => codesOf(run).length === 0, 25_000);
  await app.close();
  await expectSame(run, path, store);
}, 60_000);
