/**
 * Capture, anchor and snapshot step by step, under a real pin beside an application in another process. A
 * failure at any step leaves a provable history.
 */
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { SumUpdate } from "../../../src/local/page-sums.ts";
import { readState } from "../../../src/local/state.ts";
import { type StateFolder, stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor, snapshotImage } from "../../../src/replication/capture/anchor.ts";
import { type CaptureOutcome, capture } from "../../../src/replication/capture/capture.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { blockReplacing } from "../../support/blocked-path.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { keysAt, provenHistory } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const { env } = recordingEnv();

/** A state folder whose page sums cannot be opened while `isFailing`. */
class FaultyPaths implements StateFolder {
  readonly folder: string;
  readonly statePath: string;
  readonly spoolFolder: string;
  readonly #sumsPath: string;
  isFailing = false;

  constructor(databasePath: string) {
    const { folder, statePath, spoolFolder, sumsPath } = stateFolderOf(databasePath);
    this.folder = folder;
    this.statePath = statePath;
    this.spoolFolder = spoolFolder;
    this.#sumsPath = sumsPath;
  }

  get sumsPath(): string {
    return this.isFailing ? join(this.folder, "no", "such", "disk") : this.#sumsPath;
  }
}

interface Bench {
  readonly path: string;
  readonly app: SqliteProcess;
  readonly live: LiveDatabase;
  readonly paths: FaultyPaths;
  readonly store: MemoryStore;
}

const benches: Bench[] = [];

afterEach(async () => {
  for (const { live, app } of benches.splice(0)) {
    live.pin.close();
    await app.close();
  }
});

/** An attached database with its first snapshot in the spool. */
async function bench(): Promise<Bench> {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const paths = new FaultyPaths(path);
  const { live, anchor: due } = await attach({ path, name: "app", paths }, store, env);
  const made = { path, app, live, paths, store };
  benches.push(made);
  const outcome = await anchor(live, due!.before, env);
  expect(outcome).toMatchObject({ kind: "anchored", mode: "first" });
  return made;
}

/** Captures, and anchors when capture requests it, as a watcher does. */
async function captureOrAnchor(live: LiveDatabase): Promise<CaptureOutcome["kind"]> {
  const outcome = capture(live, env);
  if (outcome.kind === "re-anchor") expect((await anchor(live, live.state!, env)).kind).not.toBe("later");
  return outcome.kind;
}

async function upload({ live, store }: Bench): Promise<void> {
  const context = {
    store,
    uploads: new Semaphore(1),
    version: "test",
    env,
    emit: () => {},
    keepsSent: false,
  };
  for (const lane of ["links", "snapshots"] as const) {
    const outcome = await uploadPending(live, context, new AbortController().signal, lane);
    expect(outcome).toEqual({ kind: "drained" });
  }
}

async function expectProven(made: Bench): Promise<void> {
  await upload(made);
  const newest = (await provenHistory(made.store, "app")).at(-1)!;
  expect(newest.txid as number).toBe(made.live.state!.txid);
  expect(Buffer.compare(newest.image, imageOf(made.path))).toBe(0);
}

function thrownBy(work: () => unknown): WalrustError {
  try {
    work();
  } catch (error) {
    return error as WalrustError;
  }
  throw new Error("it did not fail");
}

describe("capture", () => {
  test("capture returns nothing, then one file for all commits since, then nothing", async () => {
    const made = await bench();
    expect(capture(made.live, env).kind).toBe("nothing");
    await made.app.must("INSERT INTO t(v) VALUES (1)", "INSERT INTO t(v) VALUES (2)");
    expect(capture(made.live, env)).toMatchObject({ kind: "captured", commitCount: 2, pageCount: 1 });
    expect(capture(made.live, env).kind).toBe("nothing");
    expect(made.live.pending.map(({ maxTxid }) => maxTxid as number)).toEqual([1, 2]);
    await expectProven(made);
  });

  test("capture does not read an open transaction, however much of it is in the WAL", async () => {
    const made = await bench();
    await made.app.must("PRAGMA cache_size = 2", "BEGIN", "INSERT INTO t(v) VALUES (randomblob(300000))");
    expect(capture(made.live, env).kind).toBe("nothing");
    await made.app.must("COMMIT");
    expect(capture(made.live, env).kind).toBe("captured");
    await expectProven(made);
  });

  // Regression: the empty WAL counted as restarted and captured, so the history lacked the commits until the
  // next one, also at the end of a watch.
  test("capture finds commits of a moment without a pin, although the WAL is empty again", async () => {
    const made = await bench();
    const { live, app } = made;
    const { pin } = live;
    if (pin.isLockless) throw new Error("the pin is lockless");
    await app.must("INSERT INTO t(v) VALUES (1)");
    expect(capture(live, env).kind).toBe("captured");
    // As `yieldToCheckpoint` does; the poller then allows a restart.
    pin.dropFreezeAndMark();
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(v) VALUES ('between')");
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    expect(pin.takeFreezeOrMark()).toBe(true);
    live.mayRestart = true;
    expect(await captureOrAnchor(live)).toBe("re-anchor");
    expect(capture(live, env).kind).toBe("nothing");
    await expectProven(made);
  });

  test("the state names the captured file, and its time never decreases", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (1)");
    const past = recordingEnv({ nowMs: () => 5_000 }).env;
    const before = made.live.state!;
    capture(made.live, past);
    expect(made.live.state!.timeMs).toBe(before.timeMs);
    expect(readState(made.paths)).toEqual({ kind: "state", state: made.live.state! });
    await expectProven(made);
  });

  test("capture follows growth with holes and shrinking, again and again", async () => {
    const made = await bench();
    for (let round = 0; round < 4; round++) {
      await made.app.must(`INSERT INTO t(v) VALUES (zeroblob(${(round + 1) * 40_000}))`);
      await captureOrAnchor(made.live);
      await made.app.must("DELETE FROM t WHERE id > 1", "VACUUM");
      await captureOrAnchor(made.live);
    }
    await expectProven(made);
  });
});

describe("capture that fails", () => {
  test("at the spool file: the position stays, and the next capture has every commit", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (1)");
    const before = made.live.state;
    renameSync(made.paths.spoolFolder, `${made.paths.spoolFolder}.away`);
    expect(thrownBy(() => capture(made.live, env)).retryable).toBe(true);
    expect([made.live.state, made.live.pending.length]).toEqual([before, 1]);
    renameSync(`${made.paths.spoolFolder}.away`, made.paths.spoolFolder);
    await made.app.must("INSERT INTO t(v) VALUES (2)");
    expect(capture(made.live, env)).toMatchObject({ kind: "captured", commitCount: 2 });
    await expectProven(made);
  });

  test("at the state: the position stays, and no upload has the commit", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (1)");
    const before = made.live.state;
    const unblock = blockReplacing(made.paths.statePath);
    expect(thrownBy(() => capture(made.live, env)).retryable).toBe(true);
    expect([made.live.state, made.live.pending.length]).toEqual([before, 1]);
    unblock();
    await made.app.must("INSERT INTO t(v) VALUES (2)");
    expect(capture(made.live, env).kind).toBe("captured");
    await expectProven(made);
  });

  // The position is ahead of the sums here. A capture on top would have a wrong checksum, as would all later
  // ones.
  test.each(["before", "after"])(
    "%s the page sums are written: the later captures have right checksums all the same",
    async (moment) => {
      const made = await bench();
      await made.app.must("INSERT INTO t(v) VALUES (randomblob(20000))");
      const { apply } = SumUpdate.prototype;
      const faulty = spyOn(SumUpdate.prototype, "apply").mockImplementationOnce(function (
        this: SumUpdate,
        ...words: Parameters<SumUpdate["apply"]>
      ): void {
        if (moment === "after") apply.apply(this, words);
        throw new WalrustError("database", "the disk is gone");
      });
      thrownBy(() => capture(made.live, env));
      faulty.mockRestore();
      await captureOrAnchor(made.live);
      for (let round = 0; round < 3; round++) {
        await made.app.must("UPDATE t SET v = randomblob(20000)");
        await captureOrAnchor(made.live);
      }
      await expectProven(made);
    },
  );

  test("at the opening of the page sums: nothing has changed", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (1)");
    const before = made.live.state;
    made.paths.isFailing = true;
    thrownBy(() => capture(made.live, env));
    made.paths.isFailing = false;
    expect(made.live.state).toBe(before);
    expect(await captureOrAnchor(made.live)).toBe("captured");
    expect(readdirSync(made.paths.spoolFolder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    await expectProven(made);
  });
});

describe("anchor", () => {
  test("anchor by difference has only the changed pages, and makes no file without a change", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (randomblob(100000))");
    capture(made.live, env);
    made.live.pinLost = "the pin was released";
    expect(capture(made.live, env)).toEqual({ kind: "re-anchor", reason: "the pin was released" });
    const { state } = made.live;
    expect((await anchor(made.live, state!, env)).kind).toBe("unchanged");
    expect(made.live.state).toEqual(state);
    await made.app.must("UPDATE t SET v = 'small' WHERE id = 1");
    made.live.pinLost = "again";
    const outcome = await anchor(made.live, made.live.state!, env);
    expect(outcome).toMatchObject({ kind: "anchored", mode: "difference", pageCount: 1 });
    expect(capture(made.live, env).kind).toBe("nothing");
    await expectProven(made);
  });

  test("anchor that cannot write its state changes nothing, and works the next time", async () => {
    const made = await bench();
    await made.app.must("UPDATE t SET v = 'changed'");
    const [state, sums] = [made.live.state!, readFileSync(made.paths.sumsPath)];
    const unblock = blockReplacing(made.paths.statePath);
    await expect(anchor(made.live, state, env)).rejects.toThrow("Cannot write");
    expect([made.live.state, made.live.pending.length]).toEqual([state, 1]);
    expect(readFileSync(made.paths.sumsPath)).toEqual(sums);
    unblock();
    expect((await anchor(made.live, state, env)).kind).toBe("anchored");
    await expectProven(made);
  });

  test("anchor that cannot begin its files keeps no descriptor open", async () => {
    const made = await bench();
    await made.app.must("UPDATE t SET v = 'changed'");
    const state = made.live.state!;
    const count = (): number => readdirSync("/proc/self/fd").length;
    renameSync(made.paths.spoolFolder, `${made.paths.spoolFolder}.away`);
    const before = count();
    for (let attempt = 0; attempt < 10; attempt++) {
      await expect(anchor(made.live, state, env)).rejects.toThrow();
    }
    expect(count()).toBeLessThan(before + 5);
    renameSync(`${made.paths.spoolFolder}.away`, made.paths.spoolFolder);
  });
});

describe("snapshotImage", () => {
  test("snapshotImage holds the captured state, makes no TXID, and is verified", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (randomblob(50000))");
    const outcome = capture(made.live, env);
    if (outcome.kind !== "captured") throw new Error(outcome.kind);
    const file = await snapshotImage(made.live, outcome.index, env);
    expect([file.level, file.minTxid, file.maxTxid] as number[]).toEqual([9, 1, 2]);
    expect(made.live.state!.snapshot!.txid as number).toBe(2);
    await expectProven(made);
    expect((await keysAt(made.store, "app", 9)).length).toBe(2);
  });

  test("snapshotImage continues beside captures and keeps their position", async () => {
    const made = await bench();
    await made.app.must("INSERT INTO t(v) VALUES (zeroblob(3000000))");
    const outcome = capture(made.live, env);
    if (outcome.kind !== "captured") throw new Error(outcome.kind);
    const snapshot = snapshotImage(made.live, outcome.index, env);
    await made.app.must("INSERT INTO t(v) VALUES ('beside it')");
    capture(made.live, env);
    await snapshot;
    capture(made.live, env);
    expect(made.live.state).toMatchObject({ txid: 3, snapshot: { txid: 2 } });
    await expectProven(made);
  });

  test("snapshotImage of an uncaptured state is an integrity error and leaves no file", async () => {
    const made = await bench();
    const outcome = capture(made.live, env);
    if (outcome.kind !== "nothing" || outcome.index === null) throw new Error(outcome.kind);
    made.live.state = { ...made.live.state!, checksum: 0x8000000000000001n as never };
    await expect(snapshotImage(made.live, outcome.index, env)).rejects.toThrow("is not what was captured");
    expect(made.live.pending.length).toBe(1);
    expect(readdirSync(made.paths.spoolFolder).length).toBe(1);
  });
});
