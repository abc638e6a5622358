/**
 * Keeps SQLite from opening a -journal while a connection of ours reads for the first time.
 *
 * A connection looks for a hot journal before it knows that the database is in WAL mode, and opens `-journal`
 * for reading: a FIFO there blocks it, and whoever owns the folder may put one there at any moment, after
 * every check. SQLite takes a journal for hot, and opens it, only while nobody holds the RESERVED byte
 * (pager.c, hasHotJournal: "if some process is holding a RESERVED lock, then the journal is not hot"). A lock
 * of an open file description counts for that, in the same process too. In WAL mode nobody else needs the
 * byte.
 *
 * It is not taken when there is a journal with content, which is SQLite's to roll back.
 */
import { readSync } from "node:fs";
import { LOCK_BYTE } from "../../format/types.ts";
import { readHeaderOf } from "../files/descriptors.ts";
import { lockExclusive, ofdLocksSupported, unlock } from "../files/ofd-lock.ts";

const RESERVED_BYTE = LOCK_BYTE + 1;

/**
 * Takes the RESERVED byte of a database in WAL mode.
 * @param databaseFd a descriptor of its own, on which nothing else is locked
 * @param journalFd the -journal that is there, or null
 * @returns what gives it back: call it after the first read, before the descriptor is closed
 */
export function guardJournal(databaseFd: number, journalFd: number | null): () => void {
  if (!ofdLocksSupported() || !isWal(databaseFd) || (journalFd !== null && hasContent(journalFd)))
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
    // No database: SQLite says what is wrong with it.
    return false;
  }
}

/** As SQLite judges it: a journal whose first byte is zero, or that is empty, was finished. */
function hasContent(journalFd: number): boolean {
  const first = new Uint8Array(1);
  return readSync(journalFd, first, 0, 1, 0) === 1 && first[0] !== 0;
}
