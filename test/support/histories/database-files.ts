/**
 * Database files compared as bytes.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";

/** Has SQLite move the whole WAL into the database file. No connection may have the database open. */
export function checkpoint(path: string): void {
  const database = new Database(path, { readwrite: true, create: false });
  const [row] = database.query("PRAGMA wal_checkpoint(TRUNCATE)").values();
  database.close(true);
  if (row?.[0] !== 0) throw new Error(`${path}: the checkpoint was not complete: ${JSON.stringify(row)}`);
}

/** @throws Error that names the first differing offset or the differing sizes */
export function assertSameBytes(path: string, otherPath: string): void {
  const bytes = readFileSync(path);
  const other = readFileSync(otherPath);
  if (bytes.equals(other)) return;
  const sizes = `${path} has ${bytes.length} bytes, ${otherPath} has ${other.length}`;
  const offset = bytes.findIndex((byte, index) => byte !== other[index]);
  throw new Error(`${sizes}; they differ from byte ${offset === -1 ? bytes.length : offset}`);
}
