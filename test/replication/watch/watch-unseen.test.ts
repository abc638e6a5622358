/**
 * A WAL that changes while nothing is captured. The watch finds commits that the wal-index does not show
 * within seconds and reports them; other changes cause no report.
 */
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { eventually } from "../../support/eventually.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";
import { tempFolder } from "../../support/temp.ts";

const ROWS = "SELECT id, v FROM t ORDER BY id";
const SPILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO t(v) SELECT randomblob(900) FROM n`;
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
  /** Lets this many seconds pass, one by one. */
  readonly pass: (seconds: number) => Promise<void>;
  /** From here on only `pass` lets time pass. */
  readonly freeze: () => void;
}

async function watched(): Promise<Watched> {
  const { path, app } = await newDatabase();
  apps.push(app);
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  let ticks = 0;
  const sleep = (_: number, signal?: AbortSignal): Promise<void> => {
    ticks++;
    return systemEnv(SILENT_LOG).sleep(1, signal);
  };
  const realMs = clock.overrides.monotonicMs;
  let frozenMs: number | null = null;
  let passedMs = 0;
  const monotonicMs = (): number => (frozenMs === null ? realMs() : frozenMs + passedMs);
  const run = new WatchRun([targetOf(path)], store, {}, { ...clock.overrides, monotonicMs, sleep });
  runs.push(run);
  await run.uploaded(1);
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) {
      const before = ticks;
      clock.pass(1_000);
      passedMs += 1_000;
      // The loop sleeps at most twice between two looks.
      await waitUntil(() => ticks > before + 3);
    }
  };
  const freeze = (): void => {
    passedMs = 0;
    frozenMs = realMs();
  };
  return { path, app, store, run, pass, freeze };
}

/** A writer without SQLite's locks: the changes of a database copy are written into the WAL. */
async function writePast(path: string, ...statements: string[]): Promise<void> {
  const copy = join(tempFolder("past"), "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  const app = await SqliteProcess.open(copy);
  await app.must("PRAGMA wal_autocheckpoint = 0", ...statements);
  const wal = readFileSync(`${copy}-wal`);
  await app.kill();
  writeFileSync(`${path}-wal`, wal, { flag: "r+" });
}

/** Lets seconds pass until a condition holds, for a minute at most. */
async function passUntil(pass: Watched["pass"], condition: () => boolean): Promise<void> {
  for (let second = 0; second < 60 && !condition(); second++) await pass(1);
  expect(condition()).toBe(true);
}

function codesOf(run: WatchRun): string[] {
  return run.status().conditions.map(({ code }) => code);
}

test("commits past the wal-index are found and captured when no other process has the database", async () => {
  const { path, app, store, run, pass } = await watched();
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  await app.kill();
  await pass(3);
  expect(statSync(`${path}-wal`).size).toBe(0);
  await writePast(path, "INSERT INTO t(v) VALUES ('past')");
  await passUntil(pass, () => run.isSaid("its wal-index does not show"));
  await run.until("the commit", () => run.uploadedTxid() >= 3);
  await run.stop();
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
});

// Time stands still until the commits exist. A watch that empties the killed application's WAL meanwhile
// would leave the other engine with a WAL that is not the one it continues.
test("commits past the wal-index of a WAL that is not empty yet are not truncated", async () => {
  const { path, app, store, run, pass, freeze } = await watched();
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  freeze();
  await app.kill();
  await writePast(path, "INSERT INTO t(v) VALUES ('past 1')", "INSERT INTO t(v) VALUES ('past 2')");
  await passUntil(pass, () => run.isSaid("its wal-index does not show"));
  await passUntil(pass, () => run.uploadedTxid() >= 3);
  expect(rowsOf(imageOf(path), "SELECT v FROM t").flat()).toEqual(["first", "seen", "past 1", "past 2"]);
  await run.stop();
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual(rowsOf(imageOf(path), ROWS));
});

test("commits that continue past the wal-index are reported, and followed", async () => {
  const { path, app, store, run, pass } = await watched();
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  for (let round = 0; round < 2; round++) {
    await writePast(path, `INSERT INTO t(v) VALUES ('past ${round}')`);
    const said = run.saidCount("its wal-index does not show");
    await passUntil(pass, () => run.saidCount("its wal-index does not show") > said);
  }
  await run.until("the condition", () => codesOf(run).includes("not-shared"));
  await writePast(path, "INSERT INTO t(v) VALUES ('followed')");
  await pass(3);
  // The next upload may be that of an earlier commit.
  await eventually("the commit", async () =>
    rowsOf(await newestImage(store, "app"), "SELECT v FROM t")
      .flat()
      .includes("followed"),
  );
  await app.kill();
});

test("changes that are no commit cause no report", async () => {
  const { path, app, run, pass } = await watched();
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  const watchings = run.all("watching").length;

  // A long transaction that spills bit by bit, and rolls back in the end.
  await app.must("PRAGMA cache_size = 5", "BEGIN");
  for (let bit = 0; bit < 20; bit++) {
    await app.must(SPILL);
    await pass(2);
  }
  await app.must("ROLLBACK");
  await pass(10);

  const now = new Date();
  utimesSync(`${path}-wal`, now, now);
  utimesSync(path, now, now);
  await pass(14);
  // Checkpoints of the application move pages, and restart and truncate the WAL.
  await run.commit(app, "INSERT INTO t(v) VALUES ('more')");
  for (const mode of ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]) {
    await app.run(`PRAGMA wal_checkpoint(${mode})`);
    await pass(14);
  }
  expect(codesOf(run)).toEqual([]);
  expect(run.all("condition")).toEqual([]);
  expect(run.isSaid("its wal-index does not show")).toBe(false);
  expect(run.all("watching").length).toBe(watchings);
  await app.close();
}, 30_000);
