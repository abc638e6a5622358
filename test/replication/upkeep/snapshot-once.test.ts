/** One snapshot on demand: consistent beside a busy application, restorable, repeatable. Also its slots. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import type { Txid } from "../../../src/format/types.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { type SnapshotPhase, snapshotOnce } from "../../../src/replication/upkeep/snapshot-once.ts";
import { UploadRecord, uploadRecords } from "../../../src/replication/upload/upload-record.ts";
import type { ObjectStore, UnfinishedUpload } from "../../../src/storage/contract/store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { allKeys, keysAt, newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, targetOf, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const { env } = recordingEnv();

function snapshot(path: string, store: ObjectStore): ReturnType<typeof snapshotOnce> {
  const context = { store, env, version: "test", uploads: new Semaphore(1), anchors: new Semaphore(1) };
  return snapshotOnce(targetOf(path), context, new AbortController().signal);
}

/** The names of captured files that are not uploaded. */
function waitingFiles(path: string): string[] {
  return readdirSync(targetOf(path).paths.spoolFolder).filter((name) => name.endsWith(".ltx"));
}

describe("snapshotOnce", () => {
  test("the first is TXID 1 and holds the database", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const result = await snapshot(path, store);
    const key = "app/0009/0000000000000001-0000000000000001.ltx";
    expect(result).toMatchObject({ name: "app", txid: 1, key, databaseBytes: imageOf(path).length });
    expect(result.bytes).toBe((await store.head(key)).sizeBytes);
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
    await app.close();
  });

  test("is stored and fails beside an application whose commits are in a deleted -wal", async () => {
    const { path, app } = await newDatabase();
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix);
    await app.must("INSERT INTO t(v) VALUES ('hidden')");
    const store = new MemoryStore();
    const failure = await snapshot(path, store).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "database", message: expect.stringContaining("TXID 1") });
    expect((await allKeys(store)).some((key) => key.endsWith(".ltx"))).toBe(true);
    await app.close();
  });

  test("reports how much of the image is read, then how much is to be uploaded", async () => {
    const { path, app } = await newDatabase();
    await app.must("INSERT INTO t(v) VALUES (randomblob(3000000))");
    const phases: SnapshotPhase[] = [];
    const onPhase = (phase: SnapshotPhase): void => void phases.push(phase);
    const context = { store: new MemoryStore(), env, version: "test", anchors: new Semaphore(1), onPhase };
    const { bytes } = await snapshotOnce(targetOf(path), context, new AbortController().signal);
    const totalBytes = imageOf(path).length;
    const reading = phases.filter((phase) => phase.kind === "reading");
    expect(new Set(reading.map((phase) => phase.totalBytes))).toEqual(new Set([totalBytes]));
    const doneBytes = reading.map((phase) => phase.doneBytes);
    expect(doneBytes).toEqual(doneBytes.toSorted((a, b) => a - b));
    expect([doneBytes.length >= 2, doneBytes.at(-1)! <= totalBytes]).toEqual([true, true]);
    expect(phases.at(-1)).toEqual({ kind: "uploading", totalBytes: bytes });
    await app.close();
  });

  test("the next captures the commits since the first, and holds them", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await snapshot(path, store);
    await app.must("INSERT INTO t(v) VALUES (randomblob(30000))");
    const result = await snapshot(path, store);
    expect(result).toMatchObject({ txid: 2, key: "app/0009/0000000000000001-0000000000000002.ltx" });
    expect((await provenHistory(store, "app")).length).toBe(2);
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(path))).toBe(0);
    await app.close();
  });

  test("another one without a change is the same object, and puts no second", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const first = await snapshot(path, store);
    const keys = await allKeys(store);
    expect(await snapshot(path, store)).toMatchObject({ txid: 1, key: first.key, bytes: first.bytes });
    expect(await allKeys(store)).toEqual(keys);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await snapshot(path, store);
    expect(await snapshot(path, store)).toMatchObject({ txid: 2 });
    expect((await keysAt(store, "app", 9)).length).toBe(2);
    await app.close();
  });

  // Regression: without a watch, the parts of a superseded snapshot stayed in the bucket for ever.
  test.each([true, false])(
    "a snapshot ends the uploads whose file is gone (permitted: %p)",
    async (isPermitted) => {
      const { path, app } = await newDatabase();
      const aborted: string[] = [];
      const store = Object.assign(new MemoryStore(), {
        abortUploads: async (uploads: readonly UnfinishedUpload[]) => {
          aborted.push(...uploads.map(({ uploadId }) => uploadId));
          if (!isPermitted) throw new WalrustError("auth", "Cannot abort the upload: AccessDenied");
        },
      });
      await snapshot(path, store);
      const { spoolFolder } = targetOf(path).paths;
      const upload = { location: store.location, key: "app/k.ltx", uploadId: "given up", subject: "bytes" };
      new UploadRecord(join(spoolFolder, "gone.ltx")).begin(upload);
      expect(await snapshot(path, store)).toMatchObject({ txid: 1 });
      expect([aborted, uploadRecords(spoolFolder)]).toEqual([["given up"], []]);
      await app.close();
    },
  );

  test("a snapshot is restored without any increment", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    await snapshot(path, store);
    await app.must("INSERT INTO t(v) VALUES (randomblob(30000))");
    await snapshot(path, store);
    const image = imageOf(path);
    await store.delete([...(await keysAt(store, "app", 0)), (await keysAt(store, "app", 9))[0]!]);
    const outputPath = join(tempFolder("restored"), "out.db");
    const point = { kind: "txid", txid: 2 as Txid } as const;
    const request = { name: "app", outputPath, point, force: false, dryRun: false };
    await restore(request, { store, env });
    expect(Buffer.compare(readFileSync(outputPath), image)).toBe(0);
    await app.close();
  });

  test("a snapshot beside a busy application is one committed state", async () => {
    const { path, app } = await newDatabase();
    await app.must("CREATE TABLE pair(a, b)", "INSERT INTO pair VALUES (0, 0)");
    const store = new MemoryStore();
    let isDone = false;
    let changes = 0;
    const busy = (async (): Promise<void> => {
      while (!isDone) {
        changes++;
        await app.must(
          "BEGIN",
          `UPDATE pair SET a = ${changes}`,
          "INSERT INTO t(v) VALUES (randomblob(9000))",
        );
        await app.must(`UPDATE pair SET b = ${changes}`, "COMMIT");
      }
    })();
    for (let round = 0; round < 4; round++) await snapshot(path, store);
    isDone = true;
    await busy;
    const history = await provenHistory(store, "app");
    for (const { image } of history) {
      const [[a, b]] = rowsOf(image, "SELECT a, b FROM pair") as [[number, number]];
      expect(a).toBe(b);
      expect(rowsOf(image, "PRAGMA integrity_check")).toEqual([["ok"]]);
    }
    await app.close();
  });

  test("a snapshot whose upload fails is uploaded by the next, without a gap", async () => {
    const { path, app } = await newDatabase();
    const store = new FaultyStore(new MemoryStore());
    await snapshot(path, store);
    store.before = (operation) => {
      if (operation === "put") throw unreachable();
    };
    await app.must("INSERT INTO t(v) VALUES (1)");
    await expect(snapshot(path, store)).rejects.toMatchObject({ code: "storage" });
    store.before = () => {};
    await app.must("INSERT INTO t(v) VALUES (2)");
    expect(await snapshot(path, store)).toMatchObject({ txid: 3 });
    expect((await provenHistory(store.inner, "app")).length).toBe(3);
    await app.close();
  });

  /** A snapshot that fails because the store is unavailable, and then the store is back. */
  async function snapshotAway(path: string, store: FaultyStore): Promise<void> {
    store.before = () => {
      throw unreachable();
    };
    await expect(snapshot(path, store)).rejects.toMatchObject({ code: "storage" });
    store.before = () => {};
  }

  /** A database whose first `count` snapshots are stored, and its store. */
  async function storedDatabase(count: number) {
    const { path, app } = await newDatabase();
    const store = new FaultyStore(new MemoryStore());
    for (let index = 0; index < count; index++) await snapshot(path, store);
    return { path, app, store };
  }

  const fullCopies = (store: FaultyStore): Promise<string[]> => keysAt(store.inner, "app", 9);

  test.each(["puts", "everything"])(
    "a pending snapshot is uploaded by the next run when %s failed",
    async (what) => {
      const { path, app, store } = await storedDatabase(1);
      await app.must("INSERT INTO t(v) VALUES (1)");
      store.before = (operation) => {
        if (operation === "put" || what === "everything") throw unreachable();
      };
      for (let time = 0; time < 3; time++) {
        await expect(snapshot(path, store)).rejects.toMatchObject({ code: "storage" });
      }
      const waiting = waitingFiles(path);
      store.before = () => {};
      expect(await snapshot(path, store)).toMatchObject({ txid: 2 });
      expect([waiting.filter((name) => name.startsWith("0009")).length, waitingFiles(path)]).toEqual([1, []]);
      expect((await fullCopies(store)).length).toBe(2);
      expect(Buffer.compare(await newestImage(store.inner, "app"), imageOf(path))).toBe(0);
      await app.close();
    },
  );

  test("a pending snapshot is replaced by a new one after a change, and is not sent", async () => {
    const { path, app, store } = await storedDatabase(1);
    await app.must("INSERT INTO t(v) VALUES (1)");
    await snapshotAway(path, store);
    await app.must("INSERT INTO t(v) VALUES (2)");
    await snapshotAway(path, store);
    await app.must("INSERT INTO t(v) VALUES (3)");
    expect(await snapshot(path, store)).toMatchObject({ txid: 4 });
    expect((await fullCopies(store)).map((key) => key.slice(-20))).toEqual(
      ["1", "4"].map((digit) => `${digit.padStart(16, "0")}.ltx`),
    );
    expect(Buffer.compare(await newestImage(store.inner, "app"), imageOf(path))).toBe(0);
    await app.close();
  });

  test.each([true, false])(
    "a watch in between (%p) sends pending files, and no second full copy",
    async (isWatched) => {
      const { path, app, store } = await storedDatabase(1);
      await app.must("INSERT INTO t(v) VALUES (1)");
      await snapshotAway(path, store);
      if (isWatched) {
        const run = await watchOne(path, store);
        await run.until("the snapshot", () => run.all("uploaded").some(({ kind }) => kind === "snapshot"));
        await run.stop();
      }
      expect(await snapshot(path, store)).toMatchObject({ txid: 2 });
      expect((await fullCopies(store)).length).toBe(2);
      await app.close();
    },
  );

  test("a snapshot of a watched database is refused as locked, and leaves the pin", async () => {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    await expect(snapshot(path, store)).rejects.toMatchObject({ code: "locked" });
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    await run.stop();
    expect(await snapshot(path, store)).toMatchObject({ txid: 2 });
    await app.close();
  });
});

describe("Semaphore", () => {
  test("Semaphore runs so many at once, first come first served, and frees the slot on failure", async () => {
    const slots = new Semaphore(2);
    const doors = Array.from({ length: 5 }, () => gate());
    const started: number[] = [];
    const works = doors.map((door, index) =>
      slots.run(async () => {
        started.push(index);
        await door.passed;
        if (index === 0) throw new Error("failed");
        return index;
      }),
    );
    const results = Promise.allSettled(works);
    expect(started).toEqual([0, 1]);
    doors[1]!.open();
    await works[1];
    await Promise.resolve();
    expect(started).toEqual([0, 1, 2]);
    doors[0]!.open();
    await works[0]!.catch(() => {});
    expect(started).toEqual([0, 1, 2, 3]);
    for (const door of doors) door.open();
    expect((await results).map(({ status }) => status)).toEqual([
      "rejected",
      "fulfilled",
      "fulfilled",
      "fulfilled",
      "fulfilled",
    ]);
    expect(await slots.run(async () => "free again")).toBe("free again");
  });
});
