/**
 * Checks whether a database may be pinned: it exists, is a SQLite database in WAL mode on a local file
 * system, and has no journal to roll back. A database in rollback mode is never pinned: our lock on the
 * SHARED range would make every write of the application fail.
 */
import { closeSync, realpathSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import type { DatabaseHeader } from "../../format/sqlite-header.ts";
import { isJournalHot } from "../connection/journal-guard.ts";
import { readDatabaseHeader } from "../files/descriptors.ts";
import { stopText, walrustAtOrNull } from "../files/file-users.ts";
import { HOST_LOCK_BYTE } from "../files/lock-bytes.ts";
import { requireLocalFileSystem } from "../files/mount-type.ts";
import { lockExclusive } from "../files/ofd-lock.ts";
import { openRegular } from "../files/regular-file.ts";
import { requireOwnWalAt } from "../wal/wal-gate.ts";

/**
 * Checks everything that needs no connection.
 * @throws WalrustError "database", "not-wal", or "foreign-wal" for the WAL of another file
 */
export function requirePinnable(path: string): void {
  const header = readDatabaseHeader(path);
  requireLocalFileSystem(path);
  requireNoHotJournal(path);
  // SQLite applies a WAL even to a database in rollback mode.
  if (!header.isWal) requireOwnWalAt(path);
  requireWal(path, header);
}

/** @throws WalrustError "not-wal" when the database is not in WAL mode. */
export function requireWal(path: string, header: DatabaseHeader): void {
  if (header.isWal) return;
  throw new WalrustError("not-wal", `Cannot pin ${path}: it is not in WAL mode`, {
    hint: `Run "PRAGMA journal_mode=WAL" on it once; the file keeps the mode`,
    context: { path },
  });
}

/** @throws WalrustError "database" when a rollback journal with content lies beside the database. */
export function requireNoHotJournal(path: string): void {
  if (!hasHotJournal(`${path}-journal`)) return;
  throw new WalrustError("database", `Cannot pin ${path}: its rollback journal is not rolled back yet`, {
    hint: `Open the database once with the application or sqlite3: SQLite then rolls back ${path}-journal`,
    context: { path },
  });
}

function hasHotJournal(journalPath: string): boolean {
  try {
    const fd = openRegular(journalPath, false);
    try {
      return isJournalHot(fd);
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
    const real = realpathSync(path);
    // Hundreds of databases keep their path: one string instead of two equal ones.
    return real === path ? path : real;
  } catch (error) {
    throw new WalrustError("database", `Cannot pin ${path}: ${systemCode(error) ?? "not found"}`, {
      hint: "Check the path; a database must exist before it can be replicated",
      context: { path },
      cause: error,
    });
  }
}

/** The error for a lock that another process holds and the pin needs. */
export function busyError(path: string, what: string): WalrustError {
  return new WalrustError(
    "database-busy",
    `Cannot pin ${path}: another process holds an exclusive lock on ${what}`,
    {
      retryable: true,
      context: { path },
    },
  );
}

/** The error for files that are replaced while they are opened. */
export function replacedError(path: string): WalrustError {
  return new WalrustError("database-busy", `Cannot pin ${path}: its files are being replaced`, {
    retryable: true,
    context: { path },
  });
}

/** Takes the host lock: one walrust a database. @throws WalrustError "locked" @returns true */
export function takeHostLock(path: string, databaseFd: number): true {
  if (lockExclusive(databaseFd, HOST_LOCK_BYTE, 1)) return true;
  throw lockedError(path);
}

/**
 * The error for a host lock that another walrust holds. `namedHolder` adds the process, which takes a look at
 * all processes.
 */
function lockedError(path: string): WalrustError {
  return new WalrustError("locked", `Cannot pin ${path}: another walrust has it`, {
    hint: "Stop the other walrust, or let it take the snapshot: only one at a time may replicate a database",
    context: { path },
  });
}

/** As `error`, and if another walrust has the database at a real path, with that process. */
export function namedHolder(error: WalrustError, path: string): WalrustError {
  const holder = error.code === "locked" ? walrustAtOrNull(path) : null;
  if (holder === null) return error;
  return new WalrustError("locked", `Cannot pin ${path}: another walrust has it, with pid ${holder.pid}`, {
    hint:
      `Stop one of the two (${stopText([holder])}): only one at a time may replicate a database; ` +
      "`walrust status` shows the databases of both",
    context: { ...error.context, pid: holder.pid },
    cause: error,
  });
}
