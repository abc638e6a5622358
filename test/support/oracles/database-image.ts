/**
 * The bytes of a database as SQLite itself would leave them: a copy of file and WAL, checkpointed by SQLite.
 * The copy is another file, so its connection has nothing to do with the locks on the original. Ask only
 * while nobody writes.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The checkpointed bytes of the database at `path`. */
export function imageOf(path: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "walrust-image-"));
  try {
    const copy = join(folder, "copy.db");
    copyFileSync(path, copy);
    if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
    const database = new Database(copy);
    const [row] = database.query("PRAGMA wal_checkpoint(TRUNCATE)").values() as number[][];
    if (row?.[0] !== 0) throw new Error("the copy could not be checkpointed");
    database.close(true);
    return readFileSync(copy);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The rows a query gives on the database image in `bytes`. */
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
