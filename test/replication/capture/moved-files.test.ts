/**
 * A database file replaces a watched one: moved, linked, copied over, or with its folder; while the watch
 * runs, while it is stopped, and before its first start. The WAL of the old file lies beside the new one, and
 * SQLite would write the old pages into the new file.
 *
 * The new file must not change by a byte. The watch names the files in the way. Once they are moved away, the
 * watch replicates the new content without a restart.
 */
import { expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { decodeWalIndex } from "../../../src/format/wal-index.ts";
import { imageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const ROWS = 300;

/** Another database that its application has closed. */
async function newFile(mode = "WAL"): Promise<string> {
  const path = `${tempFolder("new")}/new.db`;
  const app = await SqliteProcess.open(path);
  await app.must(
    `PRAGMA journal_mode = ${mode}`,
    "CREATE TABLE n(id INTEGER PRIMARY KEY, y)",
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${ROWS})
     INSERT INTO n(y) SELECT randomblob(900) FROM c`,
  );
  await app.close();
  return path;
}

/**
 * Waits until the kernel gives files later times. Within one tick of its clock two files get the same time.
 */
async function nextTick(path: string): Promise<void> {
  const { mtimeMs } = statSync(path);
  const clock = `${tempFolder("clock")}/now`;
  await waitUntil(() => {
    writeFileSync(clock, "");
    return statSync(clock).mtimeMs > mtimeMs;
  });
}

/** A WAL with a commit that no other file has, as a killed application leaves it. */
async function leaveWal(app: SqliteProcess, path: string): Promise<void> {
  await app.must("INSERT INTO t(v) VALUES ('old')");
  await app.kill();
  await nextTick(`${path}-wal`);
}

/** Ways to put the file at `from` in the place of the file at `path`. */
const WAYS: readonly [string, (from: string, path: string) => void][] = [
  ["mv", renameSync],
  [
    "mv, with the old file kept",
    (from, path) => {
      renameSync(path, `${path}.old`);
      renameSync(from, path);
    },
  ],
  [
    "ln -f",
    (from, path) => {
      rmSync(path);
      linkSync(from, path);
    },
  ],
  [
    "rsync",
    (from, path) => {
      copyFileSync(from, `${dirname(path)}/.app.db.x1`);
      renameSync(`${dirname(path)}/.app.db.x1`, path);
    },
  ],
  ["cp", copyFileSync],
  ["rsync --inplace", (from, path) => writeFileSync(path, readFileSync(from), { flag: "r+" })],
  [
    "rm and cp",
    (from, path) => {
      rmSync(path);
      copyFileSync(from, path);
    },
  ],
];

function isObstructed(run: WatchRun): boolean {
  return run.status().conditions.some(({ code, health }) => code === "foreign-wal" && health === "unhealthy");
}

/**
 * Waits until the watch refuses the new file. The watch may also accept it, where it emptied the WAL of the
 * killed application before the move.
 */
async function untilJudged(run: WatchRun, path: string): Promise<void> {
  const isTaken = (): boolean => run.all("re-anchored").length > 0;
  await run.until("a verdict", () => isObstructed(run) || isTaken(), 8_000);
  if (!isTaken()) expect(run.isSaid(`${path}-wal`)).toBe(true);
}

async function untilObstructed(run: WatchRun, path: string): Promise<void> {
  await run.until("the obstacle", () => isObstructed(run), 8_000);
  expect(run.isSaid(`${path}-wal`)).toBe(true);
}

/** Moves the WAL away as the hint advises, and waits until the bucket has the new content, byte for byte. */
async function clearAndProve(run: WatchRun, path: string, store: MemoryStore, bytes: Buffer): Promise<void> {
  expect(readFileSync(path).equals(bytes)).toBe(true);
  const seen = run.all("re-anchored").length > 0 ? 0 : run.uploadedTxid();
  for (const suffix of ["-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.aside${suffix}`);
  }
  await run.until("the new content", () => run.uploadedTxid() > seen, 8_000);
  // A hard link stays a second name of the file, so the watch reports the link for as long as it exists.
  const isOver = (): boolean => run.status().conditions.every(({ code }) => code === "more-than-one-name");
  await run.until("health", isOver, 8_000);
  expect(readFileSync(path).equals(bytes)).toBe(true);
  const app = await SqliteProcess.open(path);
  expect((await app.must("PRAGMA integrity_check", "SELECT count(*) FROM n")).rows).toEqual([[ROWS]]);
  await run.commit(app, "INSERT INTO n(y) VALUES ('after')");
  await app.close();
  await run.stop();
  await provenHistory(store, "app");
  const sql = "SELECT count(*), max(y = 'after') FROM n";
  expect(rowsOf(await newestImage(store, "app"), sql)).toEqual([[ROWS + 1, 1]]);
}

/** The moment of the move, and the start of the watch. @returns the watch that must notice it */
type Moment = (path: string, app: SqliteProcess, store: MemoryStore, put: () => void) => Promise<WatchRun>;

const MOMENTS: readonly [string, Moment][] = [
  [
    "while the watch runs",
    async (path, app, store, put) => {
      const run = await watchOne(path, store);
      await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
      await leaveWal(app, path);
      put();
      return run;
    },
  ],
  [
    "while the watch is stopped",
    async (path, app, store, put) => {
      const first = await watchOne(path, store);
      await first.commit(app, "INSERT INTO t(v) VALUES ('seen')");
      // The application has the file open, so the watch does not touch its WAL.
      await first.stop();
      await leaveWal(app, path);
      put();
      return new WatchRun([targetOf(path)], store);
    },
  ],
  [
    "before the first watch",
    async (path, app, store, put) => {
      await leaveWal(app, path);
      put();
      return new WatchRun([targetOf(path)], store);
    },
  ],
];

for (const [when, moment] of MOMENTS) {
  test(`a file put in place ${when} stays whole, by every kind of replacement`, async () => {
    const tries = WAYS.map(async ([way, put]) => {
      try {
        const { path, app } = await newDatabase();
        const store = new MemoryStore();
        const from = await newFile();
        const bytes = readFileSync(from);
        const run = await moment(path, app, store, () => put(from, path));
        await untilJudged(run, path);
        await clearAndProve(run, path, store, bytes);
        return null;
      } catch (error) {
        return `${way}: ${error}`;
      }
    });
    expect((await Promise.all(tries)).filter((failure) => failure !== null)).toEqual([]);
  }, 60_000);
}

test("the last commits of a file that was moved away reach the bucket before its successor", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  const txid = await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  const from = await newFile();
  await leaveWal(app, path);
  renameSync(from, path);
  await untilJudged(run, path);
  await run.uploaded(txid + 1);
  await run.stop();
  const point = (await provenHistory(store, "app")).find((one) => one.txid === txid + 1);
  expect(rowsOf(point!.image, "SELECT v FROM t WHERE v = 'old'")).toEqual([["old"]]);
});

test("watch follows at once when another folder takes the place of a renamed one", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  await leaveWal(app, path);
  const from = await newFile();
  const bytes = readFileSync(from);
  renameSync(dirname(path), `${dirname(path)}.old`);
  mkdirSync(dirname(path));
  renameSync(from, path);
  await clearAndProve(run, path, store, bytes);
});

test("VACUUM INTO and mv: the watch accepts the new file as soon as it is in WAL mode", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) SELECT zeroblob(9000) FROM t");
  await app.must(`VACUUM INTO '${path}.small'`);
  await app.close();
  // Without another connection the watch does the work of the last close.
  await run.until("an empty WAL", () => statSync(`${path}-wal`).size === 0);
  const bytes = readFileSync(`${path}.small`);
  renameSync(`${path}.small`, path);
  await run.until("the refusal", () => run.isSaid("not in WAL mode"));
  expect(readFileSync(path).equals(bytes)).toBe(true);
  const again = await SqliteProcess.open(path);
  await again.must("PRAGMA journal_mode = WAL", "INSERT INTO t(v) VALUES ('after')");
  const seen = run.uploadedTxid();
  await run.until("the new file", () => run.uploadedTxid() > seen, 6_000);
  await again.close();
  const image = imageOf(path);
  await run.stop();
  await provenHistory(store, "app");
  const all = "SELECT id, v FROM t ORDER BY id";
  expect(rowsOf(await newestImage(store, "app"), all)).toEqual(rowsOf(image, all));
});

test("watch refuses a file in the place of an open one until the application has closed", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  const from = await newFile();
  const bytes = readFileSync(from);
  renameSync(from, path);
  await untilObstructed(run, path);
  await app.must("INSERT INTO t(v) VALUES ('into the file that has no name')");
  expect(readFileSync(path).equals(bytes)).toBe(true);
  await app.kill();
  await clearAndProve(run, path, store, bytes);
});

test("watch of a database with changed times continues and loses nothing", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await watchOne(path, store);
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  utimesSync(path, new Date(), new Date());
  await run.commit(app, "INSERT INTO t(v) VALUES ('after')");
  await run.until("a look at the file", () => run.status().failure === null);
  expect(run.status().conditions).toEqual([]);
  await app.close();
  await run.stop();
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), "SELECT count(*) FROM t")).toEqual([[3]]);
});

test("watch leaves an older copy of the same database unchanged beside the newer WAL", async () => {
  for (const [way, put] of WAYS) {
    const { path, app } = await newDatabase();
    const store = new MemoryStore();
    const first = await watchOne(path, store);
    await first.commit(app, "INSERT INTO t(v) SELECT zeroblob(3000) FROM t");
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    copyFileSync(path, `${path}.copy`);
    const bytes = readFileSync(path);
    await first.commit(app, "UPDATE t SET v = 'gone again' WHERE id = 1");
    await first.stop();
    await leaveWal(app, path);
    put(`${path}.copy`, path);
    const second = new WatchRun([targetOf(path)], store);
    await second.until(`the obstacle after ${way}`, () => isObstructed(second));
    await second.stop();
    expect([way, readFileSync(path).equals(bytes)]).toEqual([way, true]);
  }
}, 60_000);

test("watch continues with a copy of a database and its WAL, also after its application died", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const first = await watchOne(path, store);
  await first.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  await first.stop();
  await app.must("INSERT INTO t(v) VALUES ('while it was stopped')");
  await app.kill();
  const copy = `${tempFolder("copy")}/app.db`;
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  const second = await watchOne(path, store);
  await second.until("the missing commit", () => second.uploadedTxid() >= 3);
  await second.stop();
  const third = await watchOne(copy, new MemoryStore());
  await third.stop();
  expect([...second.lines, ...third.lines].filter(({ level }) => level === "error")).toEqual([]);
  expect(rowsOf(await newestImage(store, "app"), "SELECT count(*) FROM t")).toEqual([[3]]);
});

test("a file copied over right after unpolled commits is not mixed with them", async () => {
  const { path, app } = await newDatabase();
  const from = await newFile();
  const bytes = readFileSync(from);
  const store = new MemoryStore();
  const run = await watchOne(path, store, { sync: { walSyncIntervalMs: 2_000, minCheckpointPageCount: 1 } });
  await run.commit(app, "INSERT INTO t(v) VALUES ('seen')");
  await run.until("a checkpoint", () => run.all("checkpointed").length > 0);
  // The WAL restarts, because all of it was captured and checkpointed.
  await leaveWal(app, path);
  copyFileSync(from, path);
  await untilJudged(run, path);
  await clearAndProve(run, path, store, bytes);
});

/** Another database with rows of `t` that its application has closed. */
async function otherRows(pageSizeBytes: number, rows: number): Promise<string> {
  const { path, app } = await newDatabase(`page_size = ${pageSizeBytes}`);
  await app.must(
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${rows})
     INSERT INTO t(v) SELECT randomblob(900) FROM c`,
  );
  await app.close();
  return path;
}

// The wal-index that a pin keeps alive states the size of the old file, and SQLite trusts it.
test.each([
  ["larger", 4096, 10, 900],
  ["smaller", 4096, 900, 10],
  ["of another page size", 1024, 900, 100],
] as const)(
  "a file copied over an idle database is whole for the next connection: %s",
  async (_, pageSizeBytes, rowsBefore, rows) => {
    const path = await otherRows(4096, rowsBefore);
    const from = await otherRows(pageSizeBytes, rows);
    const store = new MemoryStore();
    const run = await watchOne(path, store);
    const first = await SqliteProcess.open(path);
    await run.commit(first, "INSERT INTO t(v) VALUES ('before')");
    await first.close();
    await run.until("rest", () => statSync(`${path}-wal`).size === 0);
    await run.until("a wal-index that states no size", () => statedPages(path) === 0);
    copyFileSync(from, path);
    const app = await SqliteProcess.open(path);
    await app.must("INSERT INTO t(v) VALUES (randomblob(20000))");
    expect((await app.must("PRAGMA integrity_check")).rows).toEqual([["ok"]]);
    expect((await app.must("SELECT count(*) FROM t")).rows).toEqual([[rows + 2]]);
    await run.until("the new content", () => run.all("re-anchored").length > 0, 8_000);
    await app.close();
    await run.stop();
    const values = "SELECT id, hex(v) FROM t ORDER BY id";
    expect(rowsOf(await newestImage(store, "app"), values)).toEqual(rowsOf(imageOf(path), values));
  },
  20_000,
);

/** The database size that the wal-index states, in pages. */
function statedPages(path: string): number | undefined {
  return decodeWalIndex(readFileSync(`${path}-shm`))?.pageCount;
}
