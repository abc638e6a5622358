/**
 * The reason for the child process, and that it suffices: an application keeps the locks of its own SQLite
 * connections, and with them its commits, while walrust works on the same database.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { list, replicate, restore, snapshot, verify, watch } from "../../src/index.ts";
import { SqliteProcess } from "../support/processes/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

setDefaultTimeout(60_000);

/** An application's connection, and another process with one of its own. */
async function openBoth(path: string): Promise<{ own: Database; other: SqliteProcess }> {
  const own = new Database(path);
  own.run("PRAGMA journal_mode = WAL");
  own.run("PRAGMA busy_timeout = 10000");
  own.run("CREATE TABLE t (id INTEGER PRIMARY KEY, writer TEXT)");
  const other = await SqliteProcess.open(path);
  await other.must("PRAGMA busy_timeout = 0");
  return { own, other };
}

const INSERT_OTHER = "INSERT INTO t (writer) VALUES ('other')";

test("closing a raw descriptor in the application drops its locks, and loses a commit", async () => {
  const path = join(tempFolder("own"), "app.db");
  const { own, other } = await openBoth(path);
  own.run("BEGIN IMMEDIATE");
  own.run("INSERT INTO t (writer) VALUES ('own')");
  expect((await other.run(INSERT_OTHER)).errorCode).toBe("SQLITE_BUSY");
  for (const file of [path, `${path}-shm`]) closeSync(openSync(file, "r"));
  // The application still holds its transaction, and nobody else respects it.
  expect((await other.run(INSERT_OTHER)).errorCode).toBeNull();
  own.run("COMMIT");
  const { rows } = await other.must("SELECT writer FROM t");
  expect(rows.map(([writer]) => writer)).not.toEqual(["other", "own"]);
  expect(rows.length).toBeLessThan(2);
  await other.close();
});

/** Whether another process is kept out while the application holds the write lock. */
async function keepsLock(own: Database, other: SqliteProcess, work: () => Promise<unknown>): Promise<void> {
  own.run("BEGIN IMMEDIATE");
  own.run("INSERT INTO t (writer) VALUES ('own')");
  await work();
  expect((await other.run(INSERT_OTHER)).errorCode).toBe("SQLITE_BUSY");
  own.run("COMMIT");
}

test("an embedding application keeps its locks in every call, and a restore has all commits", async () => {
  const folder = tempFolder("embedded");
  const path = join(folder, "app.db");
  const { own, other } = await openBoth(path);
  const backup = { bucket: `file://${folder}/bucket`, databases: [path] };
  // Checkpoints and captures as often as possible, so that walrust opens and closes all the time.
  const sync = { walSyncIntervalMs: 10, checkpointIntervalMs: 100, minCheckpointPageCount: 4 };
  const watching = await watch({ ...backup, sync });
  const events = watching[Symbol.asyncIterator]();
  const uploaded = async (txid: number): Promise<void> => {
    for (;;) {
      const { value } = await events.next();
      if (value?.event === "uploaded" && value.txid >= txid) return;
    }
  };
  await uploaded(1);
  let commits = 0;
  const work: readonly (() => Promise<unknown>)[] = [
    () => list(backup),
    () => snapshot({ ...backup, database: path }),
    () => verify({ ...backup, all: true }),
    () => restore({ ...backup, name: "app", output: join(folder, "copy.db") }),
  ];
  for (const call of work) {
    await keepsLock(own, other, call);
    commits++;
    for (let row = 0; row < 100; row++) {
      own.run("INSERT INTO t (writer) VALUES ('own')");
      commits++;
      await other.run(INSERT_OTHER);
    }
  }
  await watching.close();
  const output = join(folder, "restored.db");
  const { integrity_check } = await restore({ bucket: backup.bucket, name: "app", output });
  expect(integrity_check.status).toBe("ok");
  const rowsOf = (database: Database): unknown[] =>
    database.query("SELECT id, writer FROM t ORDER BY id").all();
  const restored = new Database(output, { readonly: true });
  const all = rowsOf(own);
  expect(rowsOf(restored)).toEqual(all);
  expect(all.filter((row) => (row as { writer: string }).writer === "own")).toHaveLength(commits);
  restored.close();
  await other.close();
  own.close();
});

test("a replica that the application reads stays readable while replicate writes to it", async () => {
  const folder = tempFolder("replica");
  const path = join(folder, "app.db");
  const { own, other } = await openBoth(path);
  const bucket = `file://${folder}/bucket`;
  await using watching = await watch({ bucket, databases: [path], sync: { walSyncIntervalMs: 10 } });
  own.run("INSERT INTO t (writer) VALUES ('own')");
  await snapshot({ bucket, databases: [path], database: path });
  const local = join(folder, "replica.db");
  await using replica = await replicate({ bucket, source: "app", local, intervalMs: 20 });
  const reader = new Database(local, { readonly: true });
  const count = (): number => (reader.query("SELECT count(*) AS n FROM t").get() as { n: number }).n;
  own.run("INSERT INTO t (writer) VALUES ('last')");
  for await (const event of replica) {
    if (event.event === "failed") throw new Error(event.message);
    if (count() === 2) break;
  }
  expect(count()).toBe(2);
  reader.close();
  own.close();
  await other.close();
  expect(watching.pid).not.toBe(replica.pid);
});
