/**
 * The lock bytes of SQLite's protocol, and the one lock byte of walrust.
 *
 * Database file (os.h). SQLite uses no byte from 2^30 + 512 on, in any journal mode or VFS of os_unix.c:
 *   2^30         PENDING
 *   2^30 + 1     RESERVED
 *   2^30 + 2     the SHARED range, 510 bytes. Every WAL connection holds the range shared for its whole
 *                life. The last connection to close takes it exclusively before it checkpoints and deletes
 *                the WAL
 *   2^30 + 512   the host lock of walrust
 *
 * wal-index, -shm (wal.c, os_unix.c: UNIX_SHM_BASE = (22 + 8) * 4):
 *   120          writer, exclusive
 *   121          checkpointer, exclusive
 *   122          recovery, exclusive
 *   123          READ_LOCK(0): shared by readers that need no WAL, exclusive while a checkpoint writes the
 *                database file
 *   124 - 127    READ_LOCK(1) to READ_LOCK(4): shared by readers at the mark in that slot; a restart of
 *                the WAL takes all four exclusively
 *   128          the dead-man switch: a process that opens -shm and finds the switch free truncates the
 *                -shm and recovers from the WAL
 */
import { LOCK_BYTE } from "../../format/types.ts";

/** The SHARED range of the database file. */
export const SHARED_START = LOCK_BYTE + 2;
/** Size of the SHARED range in bytes. */
export const SHARED_LENGTH = 510;

/**
 * Held exclusively by the walrust that owns the database. The lock is advisory, on a number and not on data:
 * the file may be shorter.
 */
export const HOST_LOCK_BYTE = LOCK_BYTE + 512;

/** -shm: held by the connection that may append to the WAL. */
export const WRITER_BYTE = 120;
/** -shm: held by the connection that runs a checkpoint. */
export const CHECKPOINTER_BYTE = 121;
/** -shm: held by the connection that rebuilds the wal-index. */
export const RECOVERY_BYTE = 122;
/** -shm: READ_LOCK(0). Held shared, it keeps every checkpoint from writing the database file. */
export const FREEZE_BYTE = 123;
/** -shm: the dead-man switch. Held shared, it keeps the next connection from discarding the wal-index. */
export const DEAD_MAN_BYTE = 128;

/** The slots of read marks: bytes 124 to 127. Slot 0 is the freeze. */
export const MARK_SLOTS = [1, 2, 3, 4] as const;

/** The lock byte of a mark slot. */
export function markByte(slot: number): number {
  return FREEZE_BYTE + slot;
}
