/**
 * A replica follows its source byte for byte: increments, shrinking, merged objects, gaps, another history.
 * It refuses a changed replica and an unsound source.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { putObject } from "../../support/histories/recorded-bucket.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { allKeys, readObject } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { expectContent, ReplicaRun, replicateOnce } from "../../support/runs/replica-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

const TABLE = "CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB)";

function insert(count: number, sizeBytes: number): string {
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
  return `${numbers} INSERT INTO item (body) SELECT randomblob(${sizeBytes}) FROM n`;
}

/** A source with one table and `count` more TXIDs, and the path of a replica. */
async function newSource(count: number, isLitestream = false, pageSizeBytes = 4096) {
  const folder = tempFolder("replica");
  const source = new SourceDatabase(folder, pageSizeBytes);
  const history = new SourceHistory(new MemoryStore(), "app", isLitestream);
  await history.publish(source.after(TABLE));
  for (let i = 0; i < count; i++) await history.publish(source.after(insert(3, 900)));
  return { folder, source, history, store: history.store as MemoryStore, local: join(folder, "replica.db") };
}

/** A minute takes 6 ms: a replica without news lists the whole source all the time. */
const HASTY = { env: { monotonicMs: () => performance.now() * 10_000 } };

async function rejection(
  promise: Promise<unknown>,
): Promise<{ code: string; message: string; exitCode: number }> {
  try {
    await promise;
  } catch (error) {
    return error as { code: string; message: string; exitCode: number };
  }
  throw new Error("it did not fail");
}

describe("replicate follows", () => {
  for (const isLitestream of [false, true]) {
    test(`every TXID of a ${isLitestream ? "Litestream" : "walrust"} source byte for byte`, async () => {
      const { source, history, store, local } = await newSource(2, isLitestream);
      const run = new ReplicaRun(store, local);
      await run.waitForTxid(3);
      const steps = [
        insert(500, 2000),
        "DELETE FROM item WHERE id > 5",
        "VACUUM",
        insert(40, 3000),
        "CREATE INDEX item_body ON item (body)",
        "DROP INDEX item_body",
        "PRAGMA user_version = 7",
      ];
      for (const step of steps) {
        await history.publish(source.after(step));
        await run.waitForTxid(history.txid);
        expectContent(local, history.newest);
      }
      await run.stop();
      expect(readFileSync(local).equals(history.newest)).toBe(true);
      expect(run.eventsOf("bootstrapped").length).toBe(1);
    });
  }

  test.each([512, 4096, 32_768, 65_536])(
    "transactions of a page and of megabytes, with pages of %d bytes",
    async (pageSizeBytes) => {
      const { source, history, store, local } = await newSource(0, false, pageSizeBytes);
      const run = new ReplicaRun(store, local);
      await run.waitForTxid(1);
      for (const step of [insert(1, 10), insert(1600, 2000), insert(2, 10), "DELETE FROM item"]) {
        await history.publish(source.after(step));
        await run.waitForTxid(history.txid);
        expectContent(local, history.newest);
      }
      await run.stop();
    },
  );

  test("a bootstrap reports the bytes that it has read, and following reports none", async () => {
    const { source, history, store, local } = await newSource(2);
    const reported: (readonly [done: number, total: number, events: number])[] = [];
    const run: ReplicaRun = new ReplicaRun(store, local, {
      onProgress: (done, total) => void reported.push([done, total, run.events.length]),
    });
    await run.waitForTxid(3);
    const totals = new Set(reported.map(([, total]) => total));
    const [done, total, eventCount] = reported.at(-1)!;
    expect([totals.size, done, eventCount]).toEqual([1, total, 0]);
    const count = reported.length;
    await history.publish(source.after(insert(10, 100)));
    await run.waitForTxid(4);
    expect(reported.length).toBe(count);
    await run.stop();
  });

  test("a transaction over several blocks of the wal-index, under an open connection", async () => {
    const { source, history, store, local } = await newSource(0, false, 512);
    const run = new ReplicaRun(store, local);
    await run.waitForTxid(1);
    const reader = await SqliteProcess.open(local);
    await reader.must("BEGIN", "SELECT count(*) FROM item");
    // A held read transaction keeps the WAL from restarting: 12,000 frames are three blocks of the index.
    for (let round = 0; round < 3; round++) {
      await history.publish(source.after(insert(1000, 2000)));
      await run.waitForTxid(history.txid);
    }
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[0]]);
    await reader.must("COMMIT");
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[3000]]);
    expect((await reader.must("PRAGMA integrity_check")).rows).toEqual([["ok"]]);
    expectContent(local, history.newest);
    await reader.close();
    await run.stop();
  });

  test("restarts the WAL once every frame is checkpointed", async () => {
    const { source, history, store, local } = await newSource(0, false, 512);
    const run = new ReplicaRun(store, local);
    const sizes = new Set<number>();
    for (let round = 0; round < 5; round++) {
      await history.publish(source.after("DELETE FROM item", insert(300, 2000)));
      await run.waitForTxid(history.txid);
      sizes.add(Bun.file(`${local}-wal`).size);
    }
    expectContent(local, history.newest);
    expect(Math.max(...sizes)).toBeLessThan(5 * 300 * 2000);
    await run.stop();
  });

  test("zeros where the source grew by pages that no object holds", async () => {
    const { source, history, store, local } = await newSource(1);
    await history.publish(source.after(insert(20, 5000)));
    const large = history.newest;
    await history.publish(source.after("DELETE FROM item", "VACUUM"));
    const small = history.newest;
    const run = new ReplicaRun(store, local);
    await run.waitForTxid(history.txid);
    const grown = Buffer.alloc(large.length);
    small.copy(grown);
    await history.publish(grown);
    await run.waitForTxid(history.txid);
    expectContent(local, grown);
    await run.stop();
  });

  test("resumes at its TXID, over objects that were merged meanwhile", async () => {
    const { source, history, store, local } = await newSource(3);
    await replicateOnce(store, local);
    for (let i = 0; i < 6; i++) await history.publish(source.after(insert(2, 700)));
    await history.compact(1, 3, 8);
    const events = await replicateOnce(store, local);
    expect(events.map(({ event, txid }) => [event, txid])).toEqual([
      ["following", 4],
      ["applied", 8],
      ["applied", 9],
      ["applied", 10],
    ]);
    expectContent(local, history.newest);
  });

  test("once, to the newest TXID: behind single TXIDs, captures that waited became one object", async () => {
    const { source, history, store, local } = await newSource(2);
    await replicateOnce(store, local);
    await history.writeManifest();
    for (let i = 0; i < 3; i++) await history.publish(source.after(insert(3, 900)));
    await history.compact(0, 5, 6);
    await history.publish(source.after(insert(3, 900)));
    await replicateOnce(store, local);
    expectContent(local, history.newest);
  });

  test("from a newer snapshot if the objects that continued its TXID are gone, under a reader", async () => {
    const { source, history, store, local } = await newSource(3);
    await replicateOnce(store, local);
    const reader = await SqliteProcess.open(local);
    await reader.must("BEGIN", "SELECT count(*) FROM item");
    for (let i = 0; i < 4; i++) await history.publish(source.after(insert(2, 700)));
    await history.snapshotAndPrune();
    await history.publish(source.after("DELETE FROM item WHERE id % 2"));
    const events = await replicateOnce(store, local);
    expect(events.map(({ event }) => event)).toEqual(["following", "bootstrapped"]);
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[9]]);
    await reader.must("COMMIT");
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[8]]);
    expectContent(local, history.newest);
    await reader.close();
  });

  test("a history that restarted with lower TXIDs, and one that diverged", async () => {
    const { folder, history, store, local } = await newSource(5);
    await replicateOnce(store, local);
    await store.delete(await allKeys(store));
    const other = new SourceHistory(store, "app");
    const otherFolder = join(folder, "other");
    await Bun.write(join(otherFolder, ".keep"), "");
    const source = new SourceDatabase(otherFolder);
    await other.publish(source.after("CREATE TABLE other (a)", "CREATE TABLE more (b)"));
    await replicateOnce(store, local);
    expectContent(local, other.newest);
    while (other.txid < history.txid) await other.publish(source.after("INSERT INTO other VALUES (1)"));
    await replicateOnce(store, local);
    expectContent(local, other.newest);
    const turned = new SourceHistory(store, "app");
    await store.delete(await allKeys(store));
    for (let txid = 0; txid < 8; txid++)
      await turned.publish(source.after("DELETE FROM other WHERE rowid = 1"));
    await replicateOnce(store, local);
    expectContent(local, turned.newest);
  });
});

describe("replicate refuses", () => {
  test("a database without state, of another source, or with an edited state", async () => {
    const { store, local } = await newSource(1);
    const own = new Database(local);
    own.run("CREATE TABLE precious (a)");
    own.close(true);
    const bytes = readFileSync(local);
    expect((await rejection(replicateOnce(store, local))).exitCode).toBe(3);
    expect(readFileSync(local).equals(bytes)).toBe(true);
    expect(readdirSync(tempFolderOf(local)).filter((file) => file.startsWith("replica.db"))).toEqual([
      "replica.db",
    ]);

    rmSync(local);
    await replicateOnce(store, local);
    const state = readFileSync(`${local}-replica-state`, "utf8");
    const other = await rejection(replicateOnce(store, local, { source: "s3://memory/other" }));
    expect(other.message).toContain("follows s3://memory/app");
    writeFileSync(`${local}-replica-state`, state.replace('"txid": 2', '"txid": 1'));
    expect((await rejection(replicateOnce(store, local))).message).toContain("checksum is wrong");
    writeFileSync(`${local}-replica-state`, state);
    await replicateOnce(store, local);
  });

  test("a replica that another program wrote to between two runs", async () => {
    const { store, local } = await newSource(1);
    await replicateOnce(store, local);
    const writer = new Database(local);
    writer.run("INSERT INTO item VALUES (1000, 'x')");
    writer.close(true);
    const error = await rejection(replicateOnce(store, local));
    expect(error.code).toBe("database");
    expect(error.message).toContain("something else wrote to it");
  });

  test("a second replicate, and writers while it follows", async () => {
    const { store, local } = await newSource(1);
    const run = new ReplicaRun(store, local);
    await run.waitForTxid(2);
    expect((await rejection(replicateOnce(store, local))).code).toBe("locked");
    const app = await SqliteProcess.open(local);
    expect((await app.run("INSERT INTO item VALUES (1, 'x')")).errorCode).toStartWith("SQLITE_BUSY");
    expect((await app.run("PRAGMA journal_mode = DELETE")).errorCode).toStartWith("SQLITE_BUSY");
    await app.close();
    await run.stop();
  });

  test("a file that was replaced during replication", async () => {
    const { source, history, store, local } = await newSource(1);
    const run = new ReplicaRun(store, local);
    await run.waitForTxid(2);
    copyFileSync(local, `${local}.copy`);
    rmSync(local);
    copyFileSync(`${local}.copy`, local);
    await history.publish(source.after(insert(1, 10)));
    expect((await rejection(run.end())).message).toContain("replaced");
  });

  test("an empty source, with exit code 6", async () => {
    const local = join(tempFolder("replica"), "replica.db");
    expect((await rejection(replicateOnce(new MemoryStore(), local))).exitCode).toBe(6);
    expect(existsSync(local)).toBe(false);
  });

  const damages = {
    "bytes that are not those that were hashed": (bytes: Uint8Array) => {
      bytes[bytes.length - 30]! ^= 1;
      return bytes;
    },
    "an object that is cut off": (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 20),
    "an object that is empty": () => new Uint8Array(0),
  };
  for (const [name, damage] of Object.entries(damages)) {
    test(`${name}: refused until the object is whole`, async () => {
      const { source, history, store, local } = await newSource(1);
      const run = new ReplicaRun(store, local);
      await run.waitForTxid(2);
      const before = history.newest;
      const key = await history.publish(source.after(insert(50, 900)));
      const whole = await readObject(store, key);
      await putObject(store, key, { ...whole, bytes: damage(whole.bytes.slice()) });
      await run.waitFor(() => run.eventsOf("failed").length >= 3);
      if (run.txid === 2) expectContent(local, before);
      await putObject(store, key, whole);
      await run.waitForTxid(3);
      expectContent(local, history.newest);
      await run.stop();
    });
  }

  test("an object that leads to another database than its checksum claims", async () => {
    const { source, history, store, local } = await newSource(1);
    await replicateOnce(store, local);
    const before = history.newest;
    await history.publish(source.after("PRAGMA user_version = 9"), before);
    const error = await rejection(replicateOnce(store, local));
    expect(error.exitCode).toBe(5);
    expectContent(local, before);
  });
});

describe("replicate waits until the last reader leaves", () => {
  test("for another page size", async () => {
    const { source, history, store, local } = await newSource(1);
    const run = new ReplicaRun(store, local, HASTY);
    await run.waitForTxid(2);
    expect(statSync(local).mode & 0o777).toBe(0o600);
    // Readers may be other users: the mode that admits them also applies to the next file.
    chmodSync(local, 0o644);
    const reader = await SqliteProcess.open(local);
    await reader.must("SELECT count(*) FROM item");
    source.database.run("PRAGMA journal_mode = DELETE");
    source.database.run("PRAGMA page_size = 8192");
    source.database.run("VACUUM");
    source.database.run("PRAGMA journal_mode = WAL");
    await history.publish(source.after(insert(1, 10)));
    await history.snapshotAndPrune();
    await run.waitFor(() => run.eventsOf("waiting").length >= 1);
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[3]]);
    await reader.close();
    await run.waitForTxid(3);
    expectContent(local, history.newest);
    expect(statSync(local).mode & 0o777).toBe(0o644);
    await history.publish(source.after(insert(1, 10)));
    await run.waitForTxid(4);
    expectContent(local, history.newest);
    await run.stop();
  });

  test("for another schema under the same schema cookie", async () => {
    const { folder, history, store, local } = await newSource(1);
    const run = new ReplicaRun(store, local, HASTY);
    await run.waitForTxid(2);
    const reader = await SqliteProcess.open(local);
    await reader.must("SELECT count(*) FROM item");
    await Bun.write(join(folder, "other", ".keep"), "");
    const other = new SourceDatabase(join(folder, "other"));
    await history.publish(
      other.after("CREATE TABLE different (a, b, c)", "INSERT INTO different VALUES (1, 2, 3)"),
    );
    expect(history.newest.readUInt32BE(40)).toBe(history.images.get(2)!.readUInt32BE(40));
    await run.waitFor(() => run.eventsOf("waiting").length >= 1);
    expect((await reader.must("SELECT count(*) FROM item")).rows).toEqual([[3]]);
    await reader.close();
    await run.waitForTxid(3);
    expectContent(local, history.newest);
    await run.stop();
  });
});

function tempFolderOf(path: string): string {
  return join(path, "..");
}
