/**
 * SQLite's own verdict on a database file that nobody else has open: `PRAGMA integrity_check` on an immutable
 * connection, which creates no -wal and no -shm beside it.
 */
import { constants, Database } from "bun:sqlite";
import { pathToFileURL } from "node:url";
import { errorMessage, WalrustError } from "../errors.ts";

/** @throws WalrustError code "integrity" with SQLite's first complaints */
export function checkDatabase(path: string, name: string): void {
  let complaints: string[];
  try {
    const url = `${pathToFileURL(path).href}?immutable=1`;
    const database = new Database(url, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
    try {
      const rows = database.query("PRAGMA integrity_check(10)").values() as [string][];
      complaints = rows.map(([row]) => row).filter((row) => row !== "ok");
    } finally {
      database.close();
    }
  } catch (error) {
    complaints = [errorMessage(error)];
  }
  if (complaints.length === 0) return;
  throw new WalrustError(
    "integrity",
    `The restored ${name} fails integrity_check: ${complaints.join("; ")}`,
    {
      hint: "Every object is what was uploaded: the database was damaged before; restore an older point",
      context: { database: name },
    },
  );
}
