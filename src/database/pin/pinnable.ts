/**
 * Whether a database may be pinned at all: it exists, is a SQLite database in WAL mode on a local file
 * system, and has no journal that still has to be rolled back. A database in rollback mode is never pinned:
 * with our lock on the SHARED range every write of the application would fail.
 */
import { closeSync, readSync, realpathSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import type { DatabaseHeader } from "../../format/sqlite-header.ts";
import { readDatabaseHeader } from "../files/descriptors.ts";
import { requireLocalFileSystem } from "../files/mount-type.ts";
import { openRegular } from "../files/regular-file.ts";
import { requireOwnWalAt } from "../wal/wal-gate.ts";

/**
 * Checks everything that can be seen without a connection.
 * @throws WalrustError "database", "not-wal", or "foreign-wal" for the WAL of another file
 */
export function requirePinnable(path: string): void {
  const header = readDatabaseHeader(path);
  requireLocalFileSystem(path);
  requireNoHotJournal(path);
  // SQLite applies a WAL to a database in rollback mode, too.
  if (!header.isWal) requireOwnWalAt(path);
  requireWal(path, header);
}

/** @throws WalrustError "not-wal" when the database is not in WAL mode. */
export function requireWal(path: string, header: DatabaseHeader): void {
  if (header.isWal) return;
  throw new WalrustError("not-wal", `Cannot pin ${path}: it is not in WAL mode`, {
    hint: `Run "PRAGMA journal_mode=WAL" on it once; the mode is kept in the file.`,
    context: { path },
  });
}

/** @throws WalrustError "database" when a rollback journal with content lies beside the database. */
export function requireNoHotJournal(path: string): void {
  if (!hasHotJournal(`${path}-journal`)) return;
  throw new WalrustError("database", `Cannot pin ${path}: a rollback journal waits to be rolled back`, {
    hint: `Open the database once with the application or sqlite3: SQLite recovers from ${path}-journal.`,
    context: { path },
  });
}

/** As SQLite judges it: a journal whose first byte is zero, or that is empty, was finished. */
function hasHotJournal(journalPath: string): boolean {
  try {
    const fd = openRegular(journalPath, false);
    try {
      const first = new Uint8Array(1);
      return readSync(fd, first, 0, 1, 0) === 1 && first[0] !== 0;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    if (error instanceof WalrustError) throw error;
    throw new WalrustError(
      "database",
      `Cannot read ${journalPath}: ${systemCode(error) ?? "unknown error"}`,
      {
        context: { path: journalPath },
        cause: error,
      },
    );
  }
}

/** The real path of a database; SQLite names -wal and -shm after it. @throws WalrustError "database" */
export function resolvePath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new WalrustError("database", `Cannot pin ${path}: ${systemCode(error) ?? "not found"}`, {
      hint: "Check the path; a database must exist before it can be replicated.",
      context: { path },
      cause: error,
    });
  }
}

/** Somebody holds a lock that the pin needs. */
export function busyError(path: string, what: string): WalrustError {
  return new WalrustError(
    "database-busy",
    `Cannot pin ${path}: somebody holds an exclusive lock on ${what}`,
    {
      retryable: true,
      context: { path },
    },
  );
}

/** The files at the path changed while they were looked at. */
export function replacedError(path: string): WalrustError {
  return new WalrustError("database-busy", `Cannot pin ${path}: its files are being replaced`, {
    retryable: true,
    context: { path },
  });
}

/** Another walrust has the host lock. */
export function lockedError(path: string): WalrustError {
  return new WalrustError("locked", `Cannot pin ${path}: another walrust has it`, {
    hint: "One walrust at a time may replicate a database; stop the other one, or ask it for the snapshot.",
    context: { path },
  });
}
