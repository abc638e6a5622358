/**
 * Where the locks of SQLite's protocol lie, and the one byte that is ours.
 *
 * Database file (os.h): byte 2^30 PENDING, +1 RESERVED, +2 to +511 the SHARED range; nothing of SQLite's is
 * at or beyond +512, in any journal mode or VFS of os_unix.c. Every WAL connection holds the SHARED range
 * shared for as long as it lives; the last one to close takes it exclusively before it checkpoints and
 * deletes the WAL. The wal-index, `-shm` (wal.c, os_unix.c: UNIX_SHM_BASE = (22 + 8) * 4):
 *   120 writer, exclusive · 121 checkpointer, exclusive · 122 recovery, exclusive
 *   123 READ_LOCK(0): shared by readers that need no WAL, exclusive while a checkpoint writes the database
 *   file 124-127 READ_LOCK(1..4): shared by readers at the mark in that slot; all four exclusive to restart
 *   the WAL 128 the dead-man switch: who opens -shm and finds it free truncates the file and recovers from
 *   the WAL
 */
import { LOCK_BYTE } from "../../format/types.ts";

/** The SHARED range of the database file. */
export const SHARED_START = LOCK_BYTE + 2;
/** Its bytes. */
export const SHARED_LENGTH = 510;

/**
 * Exclusive for as long as a walrust owns the database: the first byte past SQLite's range. It is an advisory
 * lock on a number, not on data: whether the file reaches that far makes no difference.
 */
export const HOST_LOCK_BYTE = LOCK_BYTE + 512;

/** -shm: whoever may append to the WAL. */
export const WRITER_BYTE = 120;
/** -shm: whoever runs a checkpoint. */
export const CHECKPOINTER_BYTE = 121;
/** -shm: whoever rebuilds the wal-index. */
export const RECOVERY_BYTE = 122;
/** -shm: READ_LOCK(0); shared, it keeps every checkpoint from writing the database file. */
export const FREEZE_BYTE = 123;
/** -shm: the dead-man switch; shared, it keeps the wal-index from being thrown away. */
export const DEAD_MAN_BYTE = 128;

/** The read marks a slot can hold: slots 1 to 4, bytes 124 to 127. Slot 0 is the freeze. */
export const MARK_SLOTS = [1, 2, 3, 4] as const;

/** The lock byte of a mark slot. */
export function markByte(slot: number): number {
  return FREEZE_BYTE + slot;
}
