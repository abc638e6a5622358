/**
 * The life of a WAL under a watch: autocheckpoints, restarts at equal size, the last connection that closes
 * and the first one that opens again. Each row is survived by increments; only a restart that no watch saw is
 * anchored by difference, with a WARN.
 */
import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { loggedAnchors, provenEnd, UNWATCHED } from "../../support/runs/event-run.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const COMMIT = "INSERT INTO t(v) VALUES (randomblob(50000))";
/** Always the same number of frames: one page of the table. */
const SAME_SIZE = "UPDATE t SET v = v + 1 WHERE id = 1";

describe("an application with its own autocheckpoint", () => {
  // 130 commits of 13 frames: beyond 500 frames a mark replaces the freeze, and checkpoints go up to the
  // mark.
  test.each([1, 1_000])("at %i pages", async (pages) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await app.must(`PRAGMA wal_autocheckpoint = ${pages}`);
    for (let round = 0; round < 13; round++) {
      await run.commit(app, COMMIT);
      await app.must(...Array.from({ length: 9 }, () => COMMIT));
    }
    expect(loggedAnchors(run)).toEqual([]);
    await provenEnd(run, path, store);
    await app.close();
  });

  test.each([1, 1_000])("at %i pages, beside checkpoints of walrust", async (pages) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 30 } });
    await app.must(`PRAGMA wal_autocheckpoint = ${pages}`);
    for (let round = 0; round < 25; round++) await run.commit(app, COMMIT);
    expect(run.all("checkpointed").length).toBeGreaterThan(2);
    expect(loggedAnchors(run)).toEqual([]);
    await provenEnd(run, path, store);
    await app.close();
  });
});

describe("a WAL that restarts at equal size", () => {
  test("under a watch is followed by its salts", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must("UPDATE t SET v = 1 WHERE id = 1");
    const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 1 } });
    for (let round = 0; round < 10; round++) {
      const before = run.all("checkpointed").length;
      await run.commit(app, SAME_SIZE);
      await run.until("a checkpoint", () => run.all("checkpointed").length > before);
    }
    const frames = new Set(
      run
        .all("checkpointed")
        .slice(1)
        .map((one) => one.frames),
    );
    expect([...frames]).toEqual([1]);
    expect(loggedAnchors(run)).toEqual([]);
    const history = await provenEnd(run, path, store);
    expect(history.length).toBe(11);
    await app.close();
  });

  test("by checkpoints of the application that walrust yields to is followed as well", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must("UPDATE t SET v = 1 WHERE id = 1", "PRAGMA busy_timeout = 10000");
    const run = await watchOne(path, store);
    for (let round = 0; round < 5; round++) {
      await run.commit(app, SAME_SIZE);
      const { rows } = await app.must("PRAGMA wal_checkpoint(RESTART)");
      expect(rows[0]![0]).toBe(0);
    }
    expect(loggedAnchors(run)).toEqual([]);
    await provenEnd(run, path, store);
    await app.close();
  });

  test.each(["RESTART", "TRUNCATE"])("by %s while no watch runs is anchored by difference", async (mode) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must("UPDATE t SET v = 1 WHERE id = 1", "PRAGMA wal_checkpoint(TRUNCATE)");
    const first = await watchOne(path, store);
    await first.commit(app, SAME_SIZE);
    await first.stop();
    const size = statSync(`${path}-wal`).size;
    await app.must(`PRAGMA wal_checkpoint(${mode})`, SAME_SIZE);
    expect(statSync(`${path}-wal`).size).toBe(size);
    const second = await watchOne(path, store);
    await second.uploaded(3);
    expect(loggedAnchors(second)).toMatchObject([{ mode: "difference", pageCount: 1 }]);
    expect(loggedAnchors(second)[0]!.reason).toMatch(UNWATCHED);
    await provenEnd(second, path, store);
    await app.close();
  });
});

describe("the last connection", () => {
  test("that closes and opens again, for each commit, is followed", async () => {
    const { path, app } = await newDatabase();
    await app.close();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 30 } });
    for (let round = 0; round < 12; round++) {
      const next = await SqliteProcess.open(path);
      const txid = run.uploadedTxid() + 1;
      await next.must(COMMIT);
      // Every other connection is gone before walrust has captured its commit.
      if (round % 2 === 0) await next.close();
      await run.uploaded(txid);
      if (round % 2 === 1) await next.close();
    }
    expect(loggedAnchors(run)).toEqual([]);
    await provenEnd(run, path, store);
  });

  test("that is killed instead of closed is followed", async () => {
    const { path, app } = await newDatabase();
    await app.close();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    for (let round = 0; round < 6; round++) {
      const next = await SqliteProcess.open(path);
      const txid = run.uploadedTxid() + 1;
      await next.must(COMMIT);
      await next.kill();
      await run.uploaded(txid);
    }
    expect(loggedAnchors(run)).toEqual([]);
    await provenEnd(run, path, store);
  });

  test("that closes and opens while no watch runs costs a difference at most", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await app.must(COMMIT, COMMIT, COMMIT);
    await (await watchOne(path, store)).stop();
    await app.close();
    const next = await SqliteProcess.open(path);
    await next.must("UPDATE t SET v = 'changed' WHERE id = 1");
    await next.close();
    const run = await watchOne(path, store);
    await run.uploaded(2);
    for (const { mode } of loggedAnchors(run)) expect(mode).toBe("difference");
    const history = await provenEnd(run, path, store);
    expect(history.at(-1)!.pgnos.length).toBeLessThan(5);
  });
});
