/**
 * A database that is deleted while its application has it open: it stays in the watch with a condition until
 * the application has closed it or another file is at its path, and what can be captured is captured.
 */
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { Pin } from "../../../src/database/pin/pin.ts";
import { WalrustError } from "../../../src/errors.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { eventually } from "../../support/eventually.ts";
import { rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, tenant } from "../../support/runs/fleet-run.ts";
import { askForSync } from "../../support/runs/watch-requests.ts";
import type { RunTarget } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const ALL = ["", "-wal", "-shm"];
const runs: FleetRun[] = [];
const apps: SqliteProcess[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  for (const app of apps.splice(0)) await app.kill();
});

interface Deleted {
  readonly target: RunTarget;
  readonly app: SqliteProcess;
  readonly store: MemoryStore;
  readonly run: FleetRun;
}

/** A watched database with two captures, whose files with these suffixes are then deleted. */
async function deleted(suffixes: readonly string[], isDiscovered = true): Promise<Deleted> {
  const target = { ...(await tenant("one")), isDiscovered };
  const store = new MemoryStore();
  const run = new FleetRun([target], store);
  runs.push(run);
  await run.uploaded(1, "one");
  const app = await SqliteProcess.open(target.path);
  apps.push(app);
  await app.must("INSERT INTO t(v) VALUES ('before')");
  await run.uploaded(2, "one");
  for (const suffix of suffixes) rmSync(`${target.path}${suffix}`);
  return { target, app, store, run };
}

/** A discovery that finds the file no more. */
async function notFound({ run, target }: Deleted): Promise<void> {
  const error = new WalrustError("database", `${target.path} does not exist`);
  if (target.isDiscovered !== true)
    run.unwatchable = [{ path: target.path, name: "one", isMissing: true, error }];
  await run.find();
}

function conditionOf(run: FleetRun): DatabaseStatus["conditions"][number] | undefined {
  return run.status("one").conditions.find(({ code }) => code === "deleted-in-use");
}

/** Waits until the condition has a text. */
async function until(run: FleetRun, text: string): Promise<void> {
  await run.until(text, () => conditionOf(run)?.message.includes(text) === true);
}

async function newestRows(store: MemoryStore): Promise<unknown[]> {
  await provenHistory(store, "one");
  return rowsOf(await newestImage(store, "one"), "SELECT v FROM t").flat();
}

describe("a glob's database that is deleted with its -wal while an application writes", () => {
  test("is unhealthy, names the process and the last capture, and leaves with the application", async () => {
    const one = await deleted(ALL);
    const { run, app } = one;
    await app.must("INSERT INTO t(v) VALUES ('lost')");
    await notFound(one);
    await until(run, "no file has its commits after TXID 2 (");
    const { health, message, hint } = conditionOf(run)!;
    expect(health).toBe("unhealthy");
    expect(message).toMatch(/was deleted and is still written by \S+ \(pid \d+\):/);
    expect(hint).toMatch(/kill -STOP (\d+); cp \/proc\/\1\/fd\/\d+ saved\.db; cp \/proc\/\1\/fd\/\d+ saved/);
    expect(run.lines.find((line) => line.message === message)).toMatchObject({ level: "error" });
    await run.discovery();
    expect([run.databases, run.status("one").txid, run.all("let-go")]).toEqual([["one"], 2, []]);
    run.clock.pass(61_000);
    expect(run.status("one").lagMs).toBeGreaterThan(60_000);
    await app.close();
    await run.discovery();
    expect(await run.gone("one")).toMatch(/^its file is gone, and so are its commits after TXID 2 /);
    expect(run.all("condition").map(({ state }) => state)).toEqual(["raised", "cleared"]);
    expect([run.databases, run.all("failed")]).toEqual([[], []]);
  });

  test("makes sync fail with the reason", async () => {
    const one = await deleted(ALL);
    await one.app.must("INSERT INTO t(v) VALUES ('lost')");
    await notFound(one);
    await until(one.run, "no file has");
    const [synced] = await askForSync(one.store, 60_000);
    expect(synced).toMatchObject({ outcome: "stopped", problem: { code: "database" } });
    expect(synced!.problem!.message).toContain("no file has its commits");
  });

  test("is not pinned any more: the application checkpoints", async () => {
    const one = await deleted(ALL);
    await one.app.must("INSERT INTO t(v) VALUES ('lost')");
    await notFound(one);
    await until(one.run, "no file has");
    await eventually("a checkpoint", async () => {
      const { rows } = await one.app.must("PRAGMA wal_checkpoint(TRUNCATE)");
      return rows[0]![0] === 0;
    });
    await one.run.discovery();
    expect(conditionOf(one.run)?.message).toContain("no file has its commits after TXID 2");
  });
});

describe("a database that is deleted without its -wal while an application writes", () => {
  test.each([true, false])("is captured to its last commit (found by a glob: %p)", async (isDiscovered) => {
    const one = await deleted([""], isDiscovered);
    const { run, app, store } = one;
    await run.until("a look", () => run.lines.some(({ message }) => message.includes("was replaced")));
    await app.must("INSERT INTO t(v) VALUES ('after')");
    await run.uploaded(3, "one");
    await notFound(one);
    await until(run, "only walrust still reads its commits (app.db-wal)");
    expect([conditionOf(run)!.health, run.status("one").lagMs]).toEqual(["unhealthy", 0]);
    await app.must("INSERT INTO t(v) VALUES ('last')");
    await app.close();
    await run.discovery();
    if (isDiscovered) expect(await run.gone("one")).toBe("its file is gone");
    else await run.until("the failure", () => run.status("one").state === "failing");
    expect(run.all("condition").map(({ state }) => state)).toEqual(["raised", "cleared"]);
    await run.stop();
    expect(await newestRows(store)).toEqual(["first", "before", "after", "last"]);
  });

  test("is captured when the watch ends", async () => {
    const { run, app, store } = await deleted([""]);
    await app.must("INSERT INTO t(v) VALUES ('after')");
    await run.stop();
    expect(await newestRows(store)).toEqual(["first", "before", "after"]);
  });
});

describe("a deleted database into which nothing is committed", () => {
  test("is degraded from the second discovery on, and leaves when it is closed", async () => {
    const one = await deleted(ALL);
    const { run, app } = one;
    await notFound(one);
    expect([conditionOf(run), run.databases]).toEqual([undefined, ["one"]]);
    await run.discovery();
    await until(run, ": no file will have its next commits");
    expect([conditionOf(run)!.health, run.status("one").lagMs]).toEqual(["degraded", 0]);
    await app.close();
    await run.discovery();
    expect(await run.gone("one")).toBe("its file is gone");
  });

  test("leaves at once if nobody has it open", async () => {
    const one = await deleted([]);
    await one.app.close();
    for (const suffix of ALL) rmSync(`${one.target.path}${suffix}`, { force: true });
    await notFound(one);
    expect(await one.run.gone("one")).toBe("its file is gone");
    expect(one.run.all("condition")).toEqual([]);
  });

  test("leaves at once if the file was moved away and still has a name", async () => {
    const one = await deleted([]);
    renameSync(one.target.path, `${one.target.path}.moved`);
    await notFound(one);
    expect(await one.run.gone("one")).toBe("its file is gone");
    expect(one.run.all("condition")).toEqual([]);
  });
});

test("another file at the path ends the condition, and its history continues", async () => {
  const one = await deleted(ALL);
  const { run, app, target, store } = one;
  await app.must("INSERT INTO t(v) VALUES ('lost')");
  await notFound(one);
  await until(run, "no file has");
  const other = await tenant("other");
  renameSync(other.path, target.path);
  await run.find(target);
  const fresh = await SqliteProcess.open(target.path);
  apps.push(fresh);
  await run.until("the end of the condition", () => conditionOf(run) === undefined);
  await fresh.must("INSERT INTO t(v) VALUES ('anew')");
  await run.until("the capture", () => run.uploadedTxid("one") >= 3 && run.status("one").pendingCount === 0);
  expect(
    run.lines.find(({ message }) => /while the deleted one is open in \S+ \(pid \d+\)/.test(message)),
  ).toBeDefined();
  await run.stop();
  expect(await newestRows(store)).toEqual(["first", "anew"]);
});

test("a deleted database whose locks or wal-index cannot be read stays, and ends nothing", async () => {
  const one = await deleted(ALL);
  const { run, app } = one;
  const fails = (): never => {
    throw new Error("EIO");
  };
  const spies = [spyOn(Pin.prototype, "isAlone"), spyOn(Pin.prototype, "walIndex")];
  try {
    for (const spy of spies) spy.mockImplementation(fails);
    await notFound(one);
    await run.discovery();
    expect([run.isDone, run.databases, conditionOf(run)]).toEqual([false, ["one"], undefined]);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  await app.close();
  await run.discovery();
  expect(await run.gone("one")).toBe("its file is gone");
});

test.each([
  [true, "stays in the watch when the configuration is read again"],
  [false, "leaves when the configuration names it no more"],
])("a deleted database in use (found by a glob: %p) %s", async (isDiscovered) => {
  const one = await deleted(ALL, isDiscovered);
  const { run, app } = one;
  await app.must("INSERT INTO t(v) VALUES ('lost')");
  await notFound(one);
  await until(run, "no file has");
  run.reconfigure([]);
  if (isDiscovered) {
    await run.discovery();
    expect([run.databases, run.all("let-go")]).toEqual([["one"], []]);
  } else expect(await run.gone("one")).toBe("the configuration does not name it any more");
});
