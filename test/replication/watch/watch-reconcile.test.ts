/**
 * A bucket that lost or never had acknowledged objects. The watch reports the loss, takes a new snapshot at
 * once, and is unhealthy until the bucket has that snapshot.
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import type { Validation } from "../../../src/replication/context/watch-events.ts";
import { UploadRecord, uploadRecords } from "../../../src/replication/upload/upload-record.ts";
import type { UnfinishedUpload } from "../../../src/storage/contract/store.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const DAY_MS = 24 * 3_600_000;

async function expectSame(store: MemoryStore, path: string): Promise<void> {
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
}

/** The clock of a watch, which the test moves forward. */
function movableClock(): { readonly overrides: { monotonicMs: () => number }; forward(ms: number): void } {
  let aheadMs = 0;
  return {
    overrides: { monotonicMs: () => performance.now() + aheadMs },
    forward: (ms) => {
      aheadMs += ms;
    },
  };
}

describe("watch of a database whose bucket lost objects", () => {
  test("a start without a snapshot in the bucket takes one at once, with one WARN", async () => {
    const store = new MemoryStore();
    const { path, app } = await newDatabase();
    const before = await watchOne(path, store);
    for (let row = 0; row < 3; row++) await before.commit(app, `INSERT INTO t(v) VALUES (${row})`);
    await before.stop();
    await store.delete(await keysAt(store, "app", 9));
    const run = await watchOne(path, store);
    await run.until("a new snapshot", () => run.all("uploaded").some(({ kind }) => kind === "snapshot"));
    await run.until("sound again", () => run.all("condition").at(-1)?.state === "cleared");
    const said = "the bucket holds no snapshot to begin a restore with, though TXID 4 was acknowledged";
    expect(run.lines.filter(({ level, message }) => level === "warn" && message.includes(said)).length).toBe(
      1,
    );
    expect(run.all("condition").map(({ code, health }) => [code, health])).toEqual([
      ["not-restorable", "unhealthy"],
      ["not-restorable", "unhealthy"],
    ]);
    expect(run.status().conditions).toEqual([]);
    await run.stop();
    await expectSame(store, path);
    await app.close();
  });

  test("a database whose only object was the snapshot gets it back", async () => {
    const store = new MemoryStore();
    const clock = movableClock();
    const { path, app } = await newDatabase();
    const run = new WatchRun([targetOf(path)], store, {}, clock.overrides);
    await run.uploaded(1);
    await store.delete(await keysAt(store, "app", 9));
    clock.forward(DAY_MS);
    await run.until("a new snapshot", () => run.all("uploaded").length > 1);
    await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
    await run.until("sound again", () => run.all("condition").at(-1)?.state === "cleared");
    await run.stop();
    await expectSame(store, path);
    await app.close();
  });

  test("a gap below the last acknowledged TXID is found at the start", async () => {
    const store = new MemoryStore();
    const { path, app } = await newDatabase();
    const before = await watchOne(path, store);
    for (let row = 0; row < 5; row++) await before.commit(app, `INSERT INTO t(v) VALUES (${row})`);
    await before.stop();
    await store.delete((await keysAt(store, "app", 0)).slice(1, 3));
    const run = await watchOne(path, store);
    await run.until("a new snapshot", () => run.all("uploaded").some(({ kind }) => kind === "snapshot"));
    expect(
      run.isSaid("the bucket lacks TXID 3 to 4, which it had acknowledged; a new snapshot follows"),
    ).toBe(true);
    await run.stop();
    await expectSame(store, path);
    await app.close();
  });

  test("a snapshot uploaded during the check ends the loss", async () => {
    const store = new FaultyStore(new MemoryStore());
    const { path, app } = await newDatabase();
    const before = await watchOne(path, store);
    for (let row = 0; row < 3; row++) await before.commit(app, `INSERT INTO t(v) VALUES (${row})`);
    await before.stop();
    await store.inner.delete((await keysAt(store.inner, "app", 0)).slice(-1));
    const run = new WatchRun([targetOf(path)], store);
    let looks = 0;
    store.after = async (operation) => {
      // A head of the newest object ends the check, after its listings.
      if (operation !== "head" || run.all("watching").length === 0 || ++looks > 1) return;
      await run.until("a snapshot meanwhile", () => run.all("uploaded").length > 0);
    };
    await run.until("another look", () => looks > 1);
    await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
    await run.stop();
    expect(run.all("uploaded").filter(({ kind }) => kind === "snapshot").length).toBe(1);
    expect(run.all("condition")).toEqual([]);
    await expectSame(store.inner as MemoryStore, path);
    await app.close();
  });

  test("deletions under a running watch are found within a day", async () => {
    const store = new MemoryStore();
    const clock = movableClock();
    const { path, app } = await newDatabase();
    const run = new WatchRun([targetOf(path)], store, {}, clock.overrides);
    await run.uploaded(1);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    await store.delete(await keysAt(store, "app", 9));
    clock.forward(DAY_MS);
    await run.until(
      "a new snapshot",
      () => run.all("uploaded").filter(({ kind }) => kind === "snapshot").length > 1,
    );
    await run.stop();
    await expectSame(store, path);
    await app.close();
  });

  test("a check costs one listing a database and day, and reports nothing while all is well", async () => {
    const store = new FaultyStore(new MemoryStore());
    const clock = movableClock();
    const { path, app } = await newDatabase();
    const run = new WatchRun([targetOf(path)], store, {}, clock.overrides);
    await run.uploaded(1);
    const listings = (): number => store.calls.filter((call) => call === "list app/0003/").length;
    for (let day = 0; day < 3; day++) {
      const seen = listings();
      clock.forward(DAY_MS);
      await run.until("the look of the day", () => listings() > seen);
    }
    await run.until(
      "all looks",
      () => store.calls.filter((call) => call.startsWith("head app/0009/")).length >= 3,
    );
    // The check at the start, the daily checks, and the requests of the attach and the manifest.
    expect(listings()).toBeLessThanOrEqual(4 + 2);
    expect(run.all("condition")).toEqual([]);
    expect(run.all("uploaded").length).toBe(1);
    await run.stop();
    await app.close();
  });

  test("a listing that is wrong once raises no condition", async () => {
    const memory = new MemoryStore();
    const { path, app } = await newDatabase();
    await (await watchOne(path, memory)).stop();
    let hidden = 0;
    const store = new Proxy(memory, {
      get: (target, name) => {
        if (name !== "list") {
          const value = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        }
        return (prefix: string, options: object) => {
          const isHidden = prefix === "app/0009/" && hidden++ === 0;
          return isHidden ? memory.list("nothing/", options) : memory.list(prefix, options);
        };
      },
    });
    const run = await watchOne(path, store);
    await run.until("a second look", () => hidden >= 2);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    expect([run.all("condition"), run.isSaid("new snapshot follows")]).toEqual([[], false]);
    await run.stop();
    await app.close();
  });

  test("a newest object that another writer replaced is noticed", async () => {
    const store = new MemoryStore();
    const clock = movableClock();
    const { path, app } = await newDatabase();
    const run = new WatchRun([targetOf(path)], store, {}, clock.overrides);
    await run.uploaded(1);
    await run.commit(app, "INSERT INTO t(v) VALUES (1)");
    const [key] = await keysAt(store, "app", 0);
    const { metadata } = await store.head(key!);
    const bytes = await (await store.get(key!)).bytes();
    await store.put(key!, { kind: "bytes", bytes }, { metadata: { ...metadata, chain: "0".repeat(64) } });
    clock.forward(DAY_MS);
    await run.until("the warning", () => run.isSaid("is not the one that was acknowledged"));
    await run.stop();
    await app.close();
  });
});

describe("validation", () => {
  test("that fails is a condition until one passes, and each other finding is logged", async () => {
    const { path, app } = await newDatabase();
    let now: Validation = { status: "errors", messages: ["a gap"] };
    const validate = async (): Promise<Validation> => now;
    const store = new MemoryStore();
    const run = new WatchRun(
      [targetOf(path)],
      store,
      { sync: { validationIntervalMs: 1 } },
      {},
      { validate },
    );
    await run.until("the condition", () => run.status().conditions.length > 0);
    expect(run.status().conditions[0]).toMatchObject({ code: "validation-failed", health: "unhealthy" });
    now = { status: "errors", messages: ["another gap"] };
    await run.until("the other finding", () => run.isSaid("verified what is stored: another gap"));
    now = { status: "warnings", messages: ["an orphan"] };
    await run.until("the end", () => run.status().conditions.length === 0);
    await run.until("the warning", () => run.isSaid("verified what is stored: an orphan"));
    const seen = run.all("validated").length;
    await run.until("one more", () => run.all("validated").length > seen + 1);
    expect([run.saidCount("a gap"), run.saidCount("another gap"), run.saidCount("an orphan")]).toEqual([
      1, 2, 1,
    ]);
    await run.stop();
    await app.close();
  });
});

describe("unfinished uploads of a database", () => {
  /** A store that lists unfinished uploads, and remembers which of them were aborted. */
  class WithUploads extends MemoryStore {
    uploads: UnfinishedUpload[] = [];
    readonly aborted: string[] = [];
    async unfinishedUploads(prefix: string): Promise<UnfinishedUpload[]> {
      return this.uploads.filter(({ key }) => key.startsWith(prefix));
    }
    async abortUploads(uploads: readonly UnfinishedUpload[]): Promise<void> {
      const ids = uploads.map(({ uploadId }) => uploadId);
      this.aborted.push(...ids);
      this.uploads = this.uploads.filter(({ uploadId }) => !ids.includes(uploadId));
    }
  }

  test("whose object is stored are aborted at the start, others stay", async () => {
    const store = new WithUploads();
    const { path, app } = await newDatabase();
    await (await watchOne(path, store)).stop();
    const [snapshot] = await keysAt(store, "app", 9);
    const initiatedMs = Date.now();
    store.uploads = [
      { key: snapshot!, uploadId: "ended", initiatedMs },
      { key: snapshot!.replace(/1\.ltx$/, "7.ltx"), uploadId: "another writer's", initiatedMs },
      { key: `other/${snapshot}`, uploadId: "another database's", initiatedMs: 0 },
    ];
    const run = new WatchRun([targetOf(path)], store);
    await run.until("the abort", () => store.aborted.length > 0);
    expect([store.aborted, store.uploads.length]).toEqual([["ended"], 2]);
    await run.stop();
    await app.close();
  });

  test("that are remembered stay while their file waits, and end when the file is gone", async () => {
    const store = new WithUploads();
    const { path, app } = await newDatabase();
    await (await watchOne(path, store)).stop();
    const [snapshot] = await keysAt(store, "app", 9);
    const { spoolFolder } = targetOf(path).paths;
    const remember = (name: string, uploadId: string, location: string): UnfinishedUpload => {
      const upload = { location, key: snapshot!, uploadId, subject: "of its bytes" };
      new UploadRecord(join(spoolFolder, name)).begin(upload);
      return { key: upload.key, uploadId, initiatedMs: 0 };
    };
    store.uploads = [
      remember("waiting", "continued later", store.location),
      remember("gone", "given up", store.location),
      remember("elsewhere", "in another bucket", "s3://other"),
    ].slice(0, 2);
    writeFileSync(join(spoolFolder, "waiting"), "");
    const run = new WatchRun([targetOf(path)], store);
    await run.until("the abort", () => store.aborted.length > 0);
    expect([store.aborted, store.uploads.length]).toEqual([["given up"], 1]);
    expect(uploadRecords(spoolFolder).map(({ upload }) => upload?.uploadId)).toEqual(["continued later"]);
    await run.stop();
    await app.close();
  });

  // Regression: keys that may not abort uploads hid the loss of a snapshot.
  test("whose abort is denied hide no loss", async () => {
    const store = new WithUploads();
    store.abortUploads = async () => {
      throw new WalrustError("auth", "Cannot abort the upload: AccessDenied");
    };
    const { path, app } = await newDatabase();
    const before = await watchOne(path, store);
    await before.commit(app, "INSERT INTO t(v) VALUES (1)");
    await before.stop();
    const [snapshot] = await keysAt(store, "app", 9);
    const { spoolFolder } = targetOf(path).paths;
    const upload = { location: store.location, key: snapshot!, uploadId: "given up", subject: "bytes" };
    new UploadRecord(join(spoolFolder, "gone")).begin(upload);
    await store.delete([snapshot!]);
    const run = new WatchRun([targetOf(path)], store);
    await run.until("a new snapshot", () => run.all("uploaded").some(({ kind }) => kind === "snapshot"));
    await run.until("the record to go", () => uploadRecords(spoolFolder).length === 0);
    await run.stop();
    await app.close();
  });
});
