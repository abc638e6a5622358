/**
 * Checkpoints of the application, in every mode, at every moment of walrust's work: between the steps of a
 * capture, of a checkpoint cycle, and of the reading of an image. At each moment another process commits and
 * checkpoints while walrust stands still in the middle of the step. The history has no gap, and walrust
 * anchors only by difference and with a reason.
 */
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { Connection } from "../../../src/database/connection/connection.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { SumUpdate } from "../../../src/local/page-sums.ts";
import { SpoolWriter } from "../../../src/local/spool.ts";
import { runOutside } from "../../support/processes/outside-statements.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { loggedAnchors, provenEnd, UNWATCHED } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { HOUR_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const MODES = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] as const;
/** Above the number of frames from which on a mark replaces the freeze. */
const MARKED = "INSERT INTO t(v) VALUES (randomblob(2500000))";
const COMMIT = "INSERT INTO t(v) VALUES (randomblob(90000))";

const mocks: { mockRestore(): void }[] = [];

afterEach(() => {
  for (const mock of mocks.splice(0)) mock.mockRestore();
});

type Method = (...words: never[]) => unknown;

/** Runs `work` before or after the next call of a method, once, whenever it is set. */
class Moment {
  work: (() => void) | null = null;
  count = 0;

  constructor(prototype: object, name: string, when: "before" | "after") {
    const owner = prototype as Record<string, Method>;
    const original = owner[name]!;
    const moment = this;
    const mock = spyOn(owner, name).mockImplementation(function (this: unknown, ...words: never[]): unknown {
      if (when === "before") moment.#pass();
      const result = original.apply(this, words);
      if (when === "after") moment.#pass();
      return result;
    });
    mocks.push(mock);
  }

  #pass(): void {
    const { work } = this;
    this.work = null;
    if (work === null) return;
    this.count++;
    work();
  }
}

/** A commit between two checkpoints, without any wait for locks: what is busy stays undone. */
function commitAndCheckpoint(path: string, mode: string): void {
  const checkpoint = `PRAGMA wal_checkpoint(${mode})`;
  runOutside(
    path,
    "PRAGMA busy_timeout = 0",
    checkpoint,
    COMMIT,
    checkpoint,
    "UPDATE t SET v = 1 WHERE id = 1",
  );
}

/** A watch whose moment passes once in each mode. */
async function checkpointAt(moment: Moment, isMarked: boolean): Promise<void> {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const minCheckpointPageCount = isMarked ? 1_000_000 : 10;
  const run = await watchOne(path, store, { sync: { minCheckpointPageCount } });
  if (isMarked) await run.commit(app, MARKED);
  for (const mode of MODES) {
    const { count } = moment;
    moment.work = () => commitAndCheckpoint(path, mode);
    await app.must(COMMIT);
    await run.until(`the moment of ${mode}`, () => moment.count > count);
    // The next capture follows everything that the outside process left.
    await run.commit(app, COMMIT);
  }
  expect(loggedAnchors(run).map(({ mode }) => mode)).not.toContain("full");
  await provenEnd(run, path, store);
  await app.close();
}

const CAPTURE: readonly (readonly [when: "before" | "after", what: string, of: object, name: string])[] = [
  ["before", "the spool file is complete", SpoolWriter.prototype, "finish"],
  ["after", "the spool file is complete", SpoolWriter.prototype, "finish"],
  ["before", "the page sums are written", SumUpdate.prototype, "apply"],
  ["after", "the page sums are written", SumUpdate.prototype, "apply"],
];

describe.each([
  ["the freeze", false],
  ["a mark", true],
] as const)("a checkpoint of the application during a capture under %s", (_, isMarked) => {
  test.each(CAPTURE)("%s %s", async (when, _what, of, name) => {
    await checkpointAt(new Moment(of, name, when), isMarked);
  });
});

const CYCLE: readonly (readonly [when: "before" | "after", what: string, of: object, name: string])[] = [
  ["before", "the mark is taken", Pin.prototype, "takeMark"],
  ["after", "the mark is taken", Pin.prototype, "takeMark"],
  ["after", "the freeze is dropped", Pin.prototype, "thaw"],
  ["before", "walrust's checkpoint", Connection.prototype, "checkpoint"],
  ["after", "walrust's checkpoint", Connection.prototype, "checkpoint"],
  ["before", "the write lock is taken", Pin.prototype, "tryLockWriter"],
  ["after", "the write lock is taken", Pin.prototype, "tryLockWriter"],
  ["after", "freeze and mark are dropped under the write lock", Pin.prototype, "dropFreezeAndMark"],
  ["before", "the write lock is released", Pin.prototype, "unlockWriter"],
  ["after", "the write lock is released", Pin.prototype, "unlockWriter"],
];

describe("a checkpoint of the application during a checkpoint cycle of walrust", () => {
  test.each(CYCLE)("%s %s", async (when, _what, of, name) => {
    await checkpointAt(new Moment(of, name, when), false);
  });
});

/** Between two slices of an image the pin holds the freeze. */
describe("a checkpoint of the application while walrust reads an image", () => {
  const SLICES = "INSERT INTO t(v) VALUES (randomblob(6000000))";

  test("of the first snapshot", async () => {
    const { path, app } = await newDatabase();
    await app.must(SLICES);
    const store = new MemoryStore();
    const modes: string[] = [...MODES];
    const turn = (): Promise<void> => {
      const mode = modes.shift();
      if (mode !== undefined) commitAndCheckpoint(path, mode);
      return Promise.resolve();
    };
    const run = new WatchRun([targetOf(path)], store, {}, { turn });
    await run.uploaded(1);
    expect(modes).toEqual([]);
    await provenEnd(run, path, store);
    expect(loggedAnchors(run)).toEqual([]);
    await app.close();
  });

  test("of a later snapshot", async () => {
    const { path, app } = await newDatabase();
    await app.must(SLICES);
    const store = new MemoryStore();
    const clock = new ShiftedClock();
    let modes: string[] = [];
    const turn = (): Promise<void> => {
      const mode = modes.shift();
      if (mode !== undefined) commitAndCheckpoint(path, mode);
      return Promise.resolve();
    };
    const change = { sync: { snapshotIntervalMs: HOUR_MS } };
    const run = new WatchRun([targetOf(path)], store, change, { ...clock.overrides, turn });
    await run.uploaded(1);
    await run.commit(app, COMMIT);
    modes = [...MODES];
    clock.pass(HOUR_MS);
    const isTaken = (): boolean => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length === 2;
    await run.until("the snapshot", isTaken);
    expect(modes).toEqual([]);
    await provenEnd(run, path, store);
    expect(loggedAnchors(run)).toEqual([]);
    await app.close();
  });

  test("of a difference", async () => {
    const { path, app } = await newDatabase();
    await app.must(SLICES);
    const store = new MemoryStore();
    await (await watchOne(path, store)).stop();
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET v = 'changed' WHERE id = 1");
    const modes: string[] = [...MODES];
    const turn = (): Promise<void> => {
      const mode = modes.shift();
      if (mode !== undefined) commitAndCheckpoint(path, mode);
      return Promise.resolve();
    };
    const run = new WatchRun([targetOf(path)], store, {}, { turn });
    await run.until("the difference", () => run.all("re-anchored").length > 0);
    expect(modes).toEqual([]);
    await run.uploaded(2);
    const [first] = loggedAnchors(run);
    expect(first).toMatchObject({ mode: "difference" });
    expect(first!.reason).toMatch(UNWATCHED);
    await provenEnd(run, path, store);
    await app.close();
  });
});

// The application waits for the pin, as SQLite's busy handler does.
test.each(["FULL", "RESTART", "TRUNCATE"])(
  "%s with a busy timeout, again and again beside a writer, waits and loses nothing",
  async (mode) => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 50 } });
    const writer = await SqliteProcess.open(path);
    await writer.must("PRAGMA busy_timeout = 10000", "PRAGMA synchronous = OFF");
    await app.must("PRAGMA busy_timeout = 10000");
    for (let round = 0; round < 12; round++) {
      const writes = writer.must(
        ...Array.from({ length: 10 }, () => "INSERT INTO t(v) VALUES (randomblob(5000))"),
      );
      // SQLite does not wait for another checkpoint, such as walrust's own: it answers busy at once.
      let isBusy = true;
      for (let attempt = 0; isBusy && attempt < 20; attempt++) {
        isBusy = (await app.must(`PRAGMA wal_checkpoint(${mode})`)).rows[0]![0] !== 0;
      }
      expect(isBusy).toBe(false);
      await writes;
    }
    await writer.close();
    const reasons = loggedAnchors(run).map(({ mode: by, reason }) => `${by}: ${reason}`);
    for (const reason of reasons) expect(reason).toMatch(/^difference: the WAL (holds|was restarted)/);
    await provenEnd(run, path, store);
    await app.close();
  },
);
