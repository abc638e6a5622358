/**
 * Keeps SQLite from opening a -journal during the first read of our connection.
 *
 * A connection looks for a hot journal before it knows that the database is in WAL mode, and opens `-journal`
 * for reading. A FIFO at that path blocks the connection, and the owner of the folder can put a FIFO there at
 * any moment, after every check. SQLite treats a journal as hot, and opens it, only while no process holds
 * the RESERVED byte (pager.c, hasHotJournal: "if some process is holding a RESERVED lock, then the journal is
 * not hot"). A lock of an open file description counts for SQLite, even in the same process. In WAL mode no
 * connection needs the byte.
 *
 * The guard does not take the byte if a journal has content, because SQLite must roll back that journal.
 */
import { readSync } from "node:fs";
import { LOCK_BYTE } from "../../format/types.ts";
import { readHeaderOf } from "../files/descriptors.ts";
import { lockExclusive, ofdLocksSupported, unlock } from "../files/ofd-lock.ts";

const RESERVED_BYTE = LOCK_BYTE + 1;

/**
 * Takes the RESERVED byte of a database in WAL mode.
 * @param databaseFd a descriptor of its own, without other locks
 * @param journalFd an open -journal, or null when there is none
 * @returns a function that releases the byte: call it after the first read, before the descriptor closes
 */
export function guardJournal(databaseFd: number, journalFd: number | null): () => void {
  if (!ofdLocksSupported() || !isWal(databaseFd) || (journalFd !== null && isJournalHot(journalFd)))
    return () => {};
  if (!lockExclusive(databaseFd, RESERVED_BYTE, 1)) return () => {};
  let isHeld = true;
  return () => {
    if (isHeld) unlock(databaseFd, RESERVED_BYTE, 1);
    isHeld = false;
  };
}

function isWal(databaseFd: number): boolean {
  try {
    return readHeaderOf(databaseFd).isWal;
  } catch {
    // No database: SQLite reports the reason.
    return false;
  }
}

/** Whether SQLite would roll back an open journal. A finished journal is empty or begins with a zero byte. */
export function isJournalHot(journalFd: number): boolean {
  const first = new Uint8Array(1);
  return readSync(journalFd, first, 0, 1, 0) === 1 && first[0] !== 0;
}
