/**
 * The bytes of a database as SQLite would leave them: a copy of file and WAL, checkpointed by SQLite. The
 * connection opens the copy only, so it does not affect the locks on the original. Call these functions only
 * while no process writes.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Offsets and sizes of the SQLite file format: wal-index header, database header, WAL. */
const MX_FRAME_OFFSET = 16;
const PAGE_SIZE_OFFSET = 16;
const WAL_HEADER_SIZE = 32;
const FRAME_HEADER_SIZE = 24;

/** The checkpointed bytes of the database at `path`. */
export function imageOf(path: string): Buffer {
  const walPath = `${path}-wal`;
  return checkpointed(path, existsSync(walPath) ? readFileSync(walPath) : null);
}

/**
 * The bytes of the database as connections see it through the shared wal-index. A writer killed between its
 * commit frame and the wal-index leaves frames beyond `mxFrame`. The connections never see these frames, but
 * a recovery of a copy would apply them. Call this only while a process, such as a watch, keeps the wal-index
 * alive.
 */
export function liveImageOf(path: string): Buffer {
  const frameCount = readFileSync(`${path}-shm`).readUInt32LE(MX_FRAME_OFFSET);
  const pageSize = readFileSync(path).readUInt16BE(PAGE_SIZE_OFFSET);
  const frameSize = FRAME_HEADER_SIZE + (pageSize === 1 ? 65_536 : pageSize);
  const wal = readFileSync(`${path}-wal`).subarray(0, WAL_HEADER_SIZE + frameCount * frameSize);
  return checkpointed(path, frameCount === 0 ? null : wal);
}

/** @param wal read before the file: a checkpoint in between only copies frames that the WAL still holds */
function checkpointed(path: string, wal: Buffer | null): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "walrust-image-"));
  try {
    const copy = join(folder, "copy.db");
    copyFileSync(path, copy);
    if (wal !== null) writeFileSync(`${copy}-wal`, wal);
    const database = new Database(copy);
    const [row] = database.query("PRAGMA wal_checkpoint(TRUNCATE)").values() as number[][];
    if (row?.[0] !== 0) throw new Error("the copy could not be checkpointed");
    database.close(true);
    return readFileSync(copy);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The rows that a query returns on the database image `bytes`. */
export function rowsOf(bytes: Uint8Array, sql: string): unknown[][] {
  const folder = mkdtempSync(join(tmpdir(), "walrust-image-"));
  try {
    const path = join(folder, "rows.db");
    writeFileSync(path, bytes);
    const database = new Database(path);
    const rows = database.query(sql).values() as unknown[][];
    database.close(true);
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
