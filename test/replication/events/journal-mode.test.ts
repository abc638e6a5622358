/**
 * Databases that leave WAL mode, or are found in another mode. SQLite refuses the change while walrust holds
 * its pin. Without the pin the application may leave WAL mode, change the page size and come back: walrust
 * anchors the history again. A database in rollback mode, or with a journal to roll back, is refused with a
 * message, shown as failing, and watched as soon as the application has put it right.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { healthReport } from "../../../src/observability/health.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { expectStillCaptured, loggedAnchors, provenEnd, UNWATCHED } from "../../support/runs/event-run.ts";
import { FleetRun, foundTarget, tenant } from "../../support/runs/fleet-run.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";
import { tempFolder } from "../../support/temp.ts";

const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
  INSERT INTO t(v) SELECT randomblob(900) FROM n`;

/** The reasons in /health why one database is not healthy. */
function reasonsOf(status: DatabaseStatus): readonly string[] {
  const facts = {
    ...{ version: "test", uptimeMs: 0, lastUploadTimeMs: null, sinceUploadMs: 0, storeConditions: [] },
    ...{ failingMs: () => 0, errorsLastHour: () => 0 },
  };
  return healthReport([status], facts).databases[status.database]!.reasons;
}

test.each(["DELETE", "TRUNCATE", "PERSIST", "MEMORY"])(
  "SQLite refuses journal_mode = %s while the database is watched, and captures continue",
  async (mode) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await run.commit(app, FILL);
    expect((await app.run(`PRAGMA journal_mode = ${mode}`)).errorCode).toBe("SQLITE_BUSY");
    expect((await app.must("PRAGMA journal_mode")).rows).toEqual([["wal"]]);
    await run.commit(app, "INSERT INTO t(v) VALUES ('after the attempt')");
    await app.close();
    await expectStillCaptured(run, path);
    expect([loggedAnchors(run), run.all("failed")]).toEqual([[], []]);
    await provenEnd(run, path, store);
  },
);

describe("a database that its configuration leaves out for a while", () => {
  /** A watched database of a glob, which the next discovery does not name any more. */
  async function released(): Promise<{
    run: FleetRun;
    path: string;
    app: SqliteProcess;
    store: MemoryStore;
  }> {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await new FleetRun([foundTarget(path, "app")], store).watching();
    await run.uploaded(1);
    await run.commit(app, FILL);
    await run.find();
    await run.gone("app");
    await run.until("its end", () => run.databases.length === 0);
    return { run, path, app, store };
  }

  test("may leave WAL mode and come back: a difference names why", async () => {
    const { run, path, app, store } = await released();
    expect((await app.must("PRAGMA journal_mode = DELETE")).rows).toEqual([["delete"]]);
    await app.must("UPDATE t SET v = 'in rollback mode' WHERE id < 4", "PRAGMA journal_mode = WAL");
    await app.must("INSERT INTO t(v) VALUES ('in WAL mode again')");
    await run.find(foundTarget(path, "app"));
    await run.uploaded(3);
    const [{ mode, pageCount, reason }] = loggedAnchors(run) as [ReturnType<typeof loggedAnchors>[0]];
    expect([mode, pageCount < 10]).toEqual(["difference", true]);
    expect(reason).toMatch(UNWATCHED);
    await app.close();
    await expectStillCaptured(run, path);
    await provenEnd(run, path, store);
  });

  test("may change its page size that way: all pages follow, and the reason names it", async () => {
    const { run, path, app, store } = await released();
    await app.must("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 1024", "VACUUM");
    await app.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('on small pages')");
    await run.find(foundTarget(path, "app"));
    await run.uploaded(3);
    expect(loggedAnchors(run)).toMatchObject([{ mode: "full" }]);
    expect(loggedAnchors(run)[0]!.reason).toBe("page size is 1024, it was 4096");
    await app.close();
    await expectStillCaptured(run, path);
    await provenEnd(run, path, store);
  });

  test("is refused while it is in rollback mode, shown as failing, and then watched again", async () => {
    const { run, path, app, store } = await released();
    await app.must("PRAGMA journal_mode = DELETE", "INSERT INTO t(v) VALUES ('in rollback mode')");
    await run.find(foundTarget(path, "app"));
    await run.until("the refusal", () => run.isSaid("it is not in WAL mode"));
    expect(run.status()).toMatchObject({ state: "failing", failure: { code: "not-wal" } });
    expect(reasonsOf(run.status()).join()).toContain("not in WAL mode");
    // Not a lock of walrust's stands in the way of the application.
    await app.must("INSERT INTO t(v) VALUES ('beside the refusal')");
    await app.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('in WAL mode again')");
    await run.discovery();
    await run.uploaded(3);
    await run.until("health", () => run.status().state === "watching");
    await app.close();
    await provenEnd(run, path, store);
  });
});

// A spool that cannot be written makes walrust release a WAL that grows, and then nothing keeps WAL mode.
test("a database that left WAL mode while the pin was released is anchored after its return", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store, { sync: { walTruncateThresholdPages: 50 } });
  const { spoolFolder } = targetOf(path).paths;
  rmSync(spoolFolder, { recursive: true });
  writeFileSync(spoolFolder, "a file in the way");
  await app.must(FILL);
  for (let round = 0; round < 6; round++) await app.must("UPDATE t SET v = randomblob(900)");
  await run.until("the release", () => run.isSaid("the pin was released, because the WAL reached"));
  await app.must("PRAGMA journal_mode = DELETE", "UPDATE t SET v = 'in rollback mode' WHERE id < 9");
  rmSync(spoolFolder);
  await run.until("the refusal", () => run.isSaid("it is not in WAL mode"), 15_000);
  expect(run.status()).toMatchObject({ state: "failing", failure: { code: "not-wal" } });
  await app.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('in WAL mode again')");
  await run.until("the anchor", () => run.all("re-anchored").length > 0, 15_000);
  await app.close();
  await run.until("health", () => run.status().failure === null && run.status().pendingCount === 0, 15_000);
  await expectStillCaptured(run, path);
  await provenEnd(run, path, store);
}, 60_000);

// While walrust holds its pin, SQLite refuses the exclusive lock; a released pin cannot be taken again.
test("a database that is locked while the pin is released shows its lag, and goes on later", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  const change = { sync: { walTruncateThresholdPages: 50 } };
  const run = await new WatchRun([targetOf(path)], store, change, clock.overrides).watching();
  await run.uploaded(1);
  const { spoolFolder } = targetOf(path).paths;
  renameSync(spoolFolder, `${spoolFolder}.away`);
  writeFileSync(spoolFolder, "a file in the way");
  await app.must(FILL);
  for (let round = 0; round < 6; round++) await app.must("UPDATE t SET v = randomblob(900)");
  await run.until("the release", () => run.isSaid("the pin was released, because the WAL reached"));
  await app.must("PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO t(v) VALUES ('locked')");
  rmSync(spoolFolder);
  renameSync(`${spoolFolder}.away`, spoolFolder);
  clock.pass(61_000);
  await run.until("the lag", () => (run.status().lagMs ?? 0) > 60_000);
  expect(reasonsOf(run.status()).join()).toContain("behind, more than 60 s");
  await app.must("PRAGMA locking_mode = NORMAL", "INSERT INTO t(v) VALUES ('unlocked')");
  for (let round = 0; run.all("re-anchored").length === 0 && round < 20; round++) {
    clock.pass(10_000);
    await run.until("the anchor", () => run.all("re-anchored").length > 0, 500).catch(() => {});
  }
  await app.close();
  await run.until("health", () => run.status().failure === null && run.status().lagMs === 0, 15_000);
  await expectStillCaptured(run, path);
  await provenEnd(run, path, store);
}, 60_000);

describe("a database found at the start", () => {
  test("in rollback mode is refused with the pragma, and watched once it is in WAL mode", async () => {
    const one = await tenant("one");
    const { path, app } = await newDatabase();
    await app.must("PRAGMA journal_mode = DELETE");
    const store = new MemoryStore();
    const run = new FleetRun([one, targetOf(path)], store, { isNamedOnly: true });
    await run.uploaded(1, "one");
    await run.until("the refusal", () => run.all("stopped", "app").length === 1);
    expect(run.all("stopped", "app")[0]!.code).toBe("not-wal");
    expect(run.status()).toMatchObject({ state: "failing", failure: { code: "not-wal" } });
    run.clock.pass(61_000);
    await run.until("its lag", () => (run.status().lagMs ?? 0) > 60_000);
    expect(reasonsOf(run.status()).join()).toContain("behind, more than 60 s");
    await app.must("INSERT INTO t(v) VALUES ('not disturbed')", "PRAGMA journal_mode = WAL");
    run.clock.pass(5_000);
    await run.uploaded(1);
    await app.close();
    await provenEnd(run, path, store);
  });

  test("with a hot journal is refused, left alone, and watched after SQLite has rolled back", async () => {
    const one = await tenant("one");
    const path = `${tempFolder("hot")}/app.db`;
    const app = await SqliteProcess.open(path);
    await app.must("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", FILL);
    await app.must("PRAGMA cache_size = 5", "BEGIN", "UPDATE t SET v = randomblob(900)");
    await app.kill();
    expect(statSync(`${path}-journal`).size).toBeGreaterThan(0);
    const store = new MemoryStore();
    const run = new FleetRun([one, targetOf(path)], store, { isNamedOnly: true });
    await run.uploaded(1, "one");
    await run.until("the refusal", () => run.all("stopped", "app").length === 1);
    expect(run.all("stopped", "app")[0]!.message).toContain("its rollback journal is not rolled back yet");
    expect(run.status()).toMatchObject({ state: "failing", failure: { code: "database" } });
    expect(reasonsOf(run.status()).join()).toContain("rollback journal");
    run.clock.pass(5_000);
    await run.discovery();
    expect(existsSync(`${path}-journal`)).toBe(true);

    const next = await SqliteProcess.open(path);
    expect((await next.must("SELECT count(*) FROM t")).rows).toEqual([[200]]);
    await next.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('after the recovery')");
    run.clock.pass(5_000);
    await run.uploaded(1);
    expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
    await provenHistory(store, "app");
    const image = await restoredImage(store, "app");
    expect(Buffer.compare(image, imageOf(path))).toBe(0);
    expect(rowsOf(image, "PRAGMA integrity_check")).toEqual([["ok"]]);
    await next.close();
  });
});
