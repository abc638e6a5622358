/**
 * A transaction of more than 1 GiB that grows the database over the lock page, the page that holds byte 2^30
 * and that SQLite never uses. The pages have 64 KB and hold zeros, so that the test costs seconds.
 * `scripts/beside.ts --case transaction` does the same with 4 KB pages, random content and 2 GB.
 */
import { expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { LtxDecoder } from "../../../src/format/ltx-decoder.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { keysAt, readObject } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { loggedAnchors } from "../../support/runs/event-run.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { tempFolder } from "../../support/temp.ts";

const PAGE_SIZE = 65_536;
const LOCK_PGNO = 2 ** 30 / PAGE_SIZE + 1;
const HALF_BYTES = 540_000_000;
const CHUNK_SIZE = 1 << 24;

/** The first offset at which two files differ, or null. */
function differenceOrNull(path: string, otherPath: string): number | null {
  const fds = [openSync(path, "r"), openSync(otherPath, "r")] as const;
  const [chunk, other] = [Buffer.alloc(CHUNK_SIZE), Buffer.alloc(CHUNK_SIZE)];
  try {
    const [size, otherSize] = fds.map((fd) => fstatSync(fd).size) as [number, number];
    if (size !== otherSize) return Math.min(size, otherSize);
    for (let offset = 0; offset < size; offset += CHUNK_SIZE) {
      const read = readSync(fds[0], chunk, 0, CHUNK_SIZE, offset);
      readSync(fds[1], other, 0, CHUNK_SIZE, offset);
      if (!chunk.subarray(0, read).equals(other.subarray(0, read))) return offset;
    }
    return null;
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

/** The page numbers of an object. */
async function pgnosOf(store: FileStore, key: string): Promise<number[]> {
  const decoder = new LtxDecoder();
  decoder.push((await readObject(store, key)).bytes);
  const pgnos: number[] = [];
  while (decoder.next()) pgnos.push(decoder.pgno);
  decoder.finish();
  return pgnos;
}

test("watch captures a transaction over the lock page, and what follows, and restores it", async () => {
  const { path, app } = await newDatabase(`page_size = ${PAGE_SIZE}`);
  const store = new FileStore({ path: join(tempFolder("bucket"), "large") });
  const run = await watchOne(path, store, { sync: { minCheckpointPageCount: 100 } });
  await app.must(
    "PRAGMA cache_size = 50",
    "BEGIN",
    `INSERT INTO t(v) VALUES (zeroblob(${HALF_BYTES})), (zeroblob(${HALF_BYTES}))`,
    "INSERT INTO t(v) VALUES ('the last row of the transaction')",
    "COMMIT",
  );
  await run.until("the transaction", () => run.uploadedTxid() >= 2, 60_000);
  await run.until("its checkpoint", () => statSync(path).size > 2 ** 30, 60_000);
  await run.commit(app, "UPDATE t SET v = 'shorter' WHERE id = 2");
  await run.commit(app, "INSERT INTO t(v) VALUES (randomblob(3000000))");
  await app.close();
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  expect(loggedAnchors(run)).toEqual([]);

  // While no watch runs: the difference reads the whole file.
  const again = await SqliteProcess.open(path);
  await again.must("UPDATE t SET v = 'changed' WHERE id = 1");
  await again.close();
  const second = await watchOne(path, store);
  await second.until("the difference", () => second.uploadedTxid() >= 5, 60_000);
  expect(await second.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });

  const keys = await keysAt(store, "app", 0);
  const pgnos = await Promise.all(keys.map((key) => pgnosOf(store, key)));
  expect(Math.max(...pgnos.flat())).toBeGreaterThan(LOCK_PGNO);
  expect(pgnos.flat()).not.toContain(LOCK_PGNO);
  expect(statSync(`${path}-wal`).size).toBe(0);
  const outputPath = join(tempFolder("restored"), "out.db");
  const { env } = recordingEnv();
  const point = { kind: "latest" } as const;
  await restore({ name: "app", outputPath, point, force: false, dryRun: false }, { store, env });
  expect(differenceOrNull(outputPath, path)).toBeNull();
}, 240_000);
