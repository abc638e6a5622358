/**
 * The poller of one database and its files: no finding is lost beside a job that reads the database, and a
 * written WAL has the files checked unless a capture explains it.
 */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { closeSync, copyFileSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { Connection } from "../../../src/database/connection/connection.ts";
import { WalrustError } from "../../../src/errors.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import { LoopLoad } from "../../../src/replication/context/loop-load.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import { CAPTURES_ONLY, configWith } from "../../support/config.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { closeAll, pinned, walDatabase } from "../../support/runs/pinned-database.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

afterEach(closeAll);

const HOUR_MS = 3_600_000;
const BESIDE_A_JOB = { mayCheckpoint: false, fileNews: "touched" } as const;
/** No event since the last check; a second later the poller may check the files. */
const STILL = { mayCheckpoint: true, fileNews: "still" } as const;

test.each([
  ["a removed -shm", (path: string) => rmSync(`${path}-shm`), { kind: "replaced" }],
  ["an overwritten file", overwrite, { kind: "mixture" }],
])("poll finds %s again after a job that could not follow it", async (_, change, expected) => {
  const { path } = await walDatabase();
  const { env } = recordingEnv();
  const config = configWith({ sync: { walSyncIntervalMs: HOUR_MS } }, CAPTURES_ONLY);
  const conditions = { raise() {}, clear() {} };
  const poller = new WalPoller("app", { env, config, conditions } as unknown as WatchContext);
  const position = { state: null, pending: [], mayRestart: false, changeCount: null, pinLost: null };
  const live = { path, pin: pinned(path), ...position } as unknown as LiveDatabase;
  const nowMs = env.monotonicMs();
  poller.anchored(nowMs);
  expect(poller.poll(live, nowMs, { ...BESIDE_A_JOB, fileNews: "unknown" }).kind).toBe("quiet");
  change(path);
  expect(poller.poll(live, nowMs + 10, BESIDE_A_JOB)).toMatchObject(expected);
  // The check does not count: the event stands until the watcher has followed the finding.
  expect(poller.filesCheckedMs).toBeLessThan(nowMs);
  expect(poller.poll(live, nowMs + 1_100, STILL)).toMatchObject(expected);
});

function overwrite(path: string): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(100, 7), 0, 100, 5000);
  closeSync(fd);
}

describe("poll of a written WAL", () => {
  const WRITTEN = { mayCheckpoint: false, fileNews: "written" } as const;

  /** An anchored database, and its poller, which has checked the files. */
  async function anchoredRun() {
    const { path, app } = await walDatabase();
    const { env } = recordingEnv();
    const config = configWith({ sync: { walSyncIntervalMs: 0 } }, CAPTURES_ONLY);
    const conditions = { raise() {}, clear() {} };
    const poller = new WalPoller("app", { env, config, conditions } as unknown as WatchContext);
    const target = { path, name: "app", paths: stateFolderOf(path) };
    const { live, anchor: due } = await attach(target, new MemoryStore(), env);
    pinnedBy.push(live);
    await anchor(live, due!.before, env);
    const nowMs = env.monotonicMs();
    expect(poller.poll(live, nowMs, { ...WRITTEN, fileNews: "touched" }).kind).toBe("quiet");
    return { path, app, poller, live, nowMs };
  }

  const pinnedBy: LiveDatabase[] = [];
  afterEach(() => {
    for (const { pin } of pinnedBy.splice(0)) pin.close();
  });

  test("a capture explains the write: the other files are not checked again", async () => {
    const { path, app, poller, live, nowMs } = await anchoredRun();
    await app.must("INSERT INTO t VALUES (10)");
    const stats = spyOn(live.pin, "changedFile");
    expect(poller.poll(live, nowMs + 1_100, WRITTEN).kind).toBe("captured");
    expect(stats).toHaveBeenCalledTimes(0);
    expect(poller.filesCheckedMs).toBe(nowMs);
    // An event of the folder, or the time of the sweep, has them checked.
    rmSync(`${path}-shm`);
    await app.must("INSERT INTO t VALUES (11)");
    expect(poller.poll(live, nowMs + 2_200, { ...WRITTEN, fileNews: "touched" }).kind).toBe("replaced");
  });

  test("without a capture all files are checked, once a second", async () => {
    const { path, poller, live, nowMs } = await anchoredRun();
    rmSync(`${path}-shm`);
    expect(poller.poll(live, nowMs + 500, WRITTEN).kind).toBe("quiet");
    expect(poller.poll(live, nowMs + 1_100, WRITTEN)).toMatchObject({ kind: "replaced" });
  });

  test("a capture reads no other -wal than the pinned one", async () => {
    const { path, app, poller, live, nowMs } = await anchoredRun();
    await app.must("INSERT INTO t VALUES (12)");
    copyFileSync(`${path}-wal`, `${path}.copy`);
    renameSync(`${path}.copy`, `${path}-wal`);
    const { state } = live;
    expect(poller.poll(live, nowMs + 10, WRITTEN)).toEqual({
      kind: "replaced",
      reason: "the wal file was replaced",
    });
    expect(live.state).toBe(state);
  });

  test("a requested poll checks the files first: a removed -shm makes no whole capture", async () => {
    const { path, poller, live, nowMs } = await anchoredRun();
    rmSync(`${path}-shm`);
    poller.request();
    expect(poller.poll(live, nowMs + 10, { ...WRITTEN, fileNews: "still" }).kind).toBe("replaced");
    expect([poller.whole, poller.isRequested]).toEqual([null, true]);
  });

  test("a requested poll is whole only once the wal-index can be read", async () => {
    const { app, poller, live, nowMs } = await anchoredRun();
    await app.must("INSERT INTO t VALUES (13)");
    const index = spyOn(live.pin, "walIndex").mockReturnValue(null);
    poller.request();
    expect(poller.poll(live, nowMs + 10, WRITTEN).kind).toBe("quiet");
    expect([poller.whole, poller.isRequested]).toEqual([null, true]);
    index.mockRestore();
    expect(poller.poll(live, nowMs + 20, WRITTEN).kind).toBe("captured");
    expect(poller.whole).toEqual({ txid: live.state!.txid, generation: poller.generation });
    expect(poller.isRequested).toBe(false);
  });
});

describe("a poll with a checkpoint", () => {
  /** An anchored database whose WAL has nine commits, and a checkpoint is due. */
  async function dueRun(load = new LoopLoad()) {
    const { path, app } = await walDatabase();
    const { env } = recordingEnv();
    const config = configWith({ sync: { walSyncIntervalMs: 0, minCheckpointPageCount: 10 } }, CAPTURES_ONLY);
    const conditions = { raise() {}, clear() {} };
    const context = { env, config, conditions, emit: () => {}, load } as unknown as WatchContext;
    const poller = new WalPoller("app", context);
    const target = { path, name: "app", paths: stateFolderOf(path) };
    const { live, anchor: due } = await attach(target, new MemoryStore(), env);
    attached.push(live);
    await anchor(live, due!.before, env);
    for (let row = 0; row < 9; row++) await app.must(`INSERT INTO t VALUES (${row})`);
    return { path, app, poller, live, nowMs: env.monotonicMs(), txid: live.state!.txid };
  }

  const attached: LiveDatabase[] = [];
  const spies: { mockRestore(): void }[] = [];
  afterEach(() => {
    for (const spy of spies.splice(0)) spy.mockRestore();
    for (const { pin } of attached.splice(0)) pin.close();
  });

  test("captures one increment, also of a commit during the copying", async () => {
    const { path, app, poller, live, nowMs, txid } = await dueRun();
    const { checkpoint } = Connection.prototype;
    const spy = spyOn(Connection.prototype, "checkpoint").mockImplementation(function (
      this: Connection,
      mode,
    ) {
      const done = checkpoint.call(this, mode);
      if (spy.mock.calls.length > 1) return done;
      const writer = new Database(path, { readwrite: true, create: false });
      writer.run("PRAGMA wal_autocheckpoint=0");
      writer.run("INSERT INTO t VALUES (100)");
      writer.close();
      return done;
    });
    spies.push(spy);
    const outcome = poller.poll(live, nowMs, STILL);
    expect(outcome.kind).toBe("captured");
    expect(spy).toHaveBeenCalledTimes(2);
    expect<number>(live.state!.txid).toBe(txid + 1);
    expect(poller.lastCaptureMs).toBe(nowMs);
    expect(live.pin.walIndex()).toMatchObject({ backfilled: live.state!.wal!.frameCount });
    expect((await app.must("SELECT count(*) FROM t")).rows).toEqual([[13]]);
  });

  test("of a slow loop comes only when the WAL is longer", async () => {
    const load = new LoopLoad();
    const { app, poller, live, nowMs } = await dueRun(load);
    for (let pass = 0; pass < 2; pass++) load.passed(1_000, nowMs);
    expect(poller.poll(live, nowMs, STILL).kind).toBe("captured");
    expect(live.pin.walIndex()).toMatchObject({ backfilled: 0 });
    for (let row = 10; row < 20; row++) await app.must(`INSERT INTO t VALUES (${row})`);
    expect(poller.poll(live, nowMs + 10, STILL).kind).toBe("captured");
    expect(live.pin.walIndex()).toMatchObject({ backfilled: live.state!.wal!.frameCount });
  });

  test("of a slow loop waits for its share of the time, unless it is overdue", async () => {
    const load = new LoopLoad();
    const { app, poller, live, nowMs } = await dueRun(load);
    for (let pass = 0; pass < 2; pass++) load.passed(501, nowMs);
    load.freeAtMs(nowMs);
    load.checkpointed(400);
    await app.must("INSERT INTO t VALUES (10)");
    await app.must("INSERT INTO t VALUES (11)");
    const nextMs = nowMs + 10;
    expect(poller.poll(live, nextMs, STILL).kind).toBe("captured");
    expect(live.pin.walIndex()).toMatchObject({ backfilled: 0 });
    // No look in each turn of the loop.
    expect(poller.checkpointDueMs).toBeGreaterThan(nextMs + 500);
    await app.must("INSERT INTO t VALUES (12)");
    const intervalMs = poller.context.config.sync.checkpointIntervalMs;
    for (let pass = 0; pass < 2; pass++) load.passed(501, nowMs + 3 * intervalMs);
    load.freeAtMs(nowMs + 3 * intervalMs);
    load.checkpointed(400);
    expect(poller.poll(live, nowMs + 3 * intervalMs, STILL).kind).toBe("captured");
    expect(live.pin.walIndex()).toMatchObject({ backfilled: live.state!.wal!.frameCount });
  });

  test("captures although the checkpoint is refused", async () => {
    const { poller, live, nowMs, txid } = await dueRun();
    const refuse = (): never => {
      throw new WalrustError("database", "refused");
    };
    spies.push(spyOn(Connection.prototype, "checkpoint").mockImplementation(refuse));
    expect(() => poller.poll(live, nowMs, STILL)).toThrow("refused");
    expect<number>(live.state!.txid).toBe(txid + 1);
  });
});

describe("checkpointAhead", () => {
  test("checkpoints a WAL of a quarter of its length, and leaves a shorter one", async () => {
    const { path, app } = await walDatabase();
    const { env } = recordingEnv();
    const config = configWith({ sync: { walSyncIntervalMs: 0, minCheckpointPageCount: 40 } }, CAPTURES_ONLY);
    const conditions = { raise() {}, clear() {} };
    const context = { env, config, conditions, emit: () => {} } as unknown as WatchContext;
    const poller = new WalPoller("app", context);
    const target = { path, name: "app", paths: stateFolderOf(path) };
    const { live, anchor: due } = await attach(target, new MemoryStore(), env);
    try {
      await anchor(live, due!.before, env);
      await app.must("INSERT INTO t VALUES (20)");
      const short = live.pin.walIndex()!;
      expect([short.mxFrame < 10, poller.checkpointAhead(live, env.monotonicMs())]).toEqual([true, true]);
      expect(live.pin.walIndex()!.backfilled).toBe(short.backfilled);
      const txid = live.state!.txid;
      for (let row = 0; row < 20; row++) await app.must(`INSERT INTO t VALUES (${100 + row})`);
      expect(poller.checkpointAhead(live, env.monotonicMs())).toBe(true);
      const { mxFrame, backfilled } = live.pin.walIndex()!;
      expect([mxFrame >= 20, backfilled]).toEqual([true, mxFrame]);
      expect(live.state!.txid).toBe((txid + 1) as typeof txid);
    } finally {
      live.pin.close();
    }
  });

  test("of a database with a released pin has nothing to do", async () => {
    const { path } = await walDatabase();
    const { env } = recordingEnv();
    const poller = new WalPoller("app", { env, config: CAPTURES_ONLY } as unknown as WatchContext);
    const pin = pinned(path);
    pin.release();
    const live = { path, pin, state: null, pending: [] } as unknown as LiveDatabase;
    expect(poller.checkpointAhead(live, env.monotonicMs())).toBe(true);
  });
});
