/**
 * Reads the -shm through a raw descriptor: the header of the wal-index, and whether another connection runs a
 * checkpoint that blocks writers. Never writes.
 */
import { readSync } from "node:fs";
import { decodeWalIndex, WAL_INDEX_SIZE, type WalIndexHeader } from "../../format/wal-index.ts";
import { CHECKPOINTER_BYTE, RECOVERY_BYTE, WRITER_BYTE } from "./lock-bytes.ts";
import { isLockedByOther, lockHolderOrNull } from "./ofd-lock.ts";

const WAL_INDEX_TRIES_MAX = 10;

const walIndexBytes = new Uint8Array(WAL_INDEX_SIZE);

/** The current header of the wal-index, or null while it is being written or is broken. */
export function readWalIndexOrNull(shmFd: number): WalIndexHeader | null {
  for (let attempt = 0; attempt < WAL_INDEX_TRIES_MAX; attempt++) {
    const sizeBytes = readSync(shmFd, walIndexBytes, 0, WAL_INDEX_SIZE, 0);
    const header = sizeBytes < WAL_INDEX_SIZE ? null : decodeWalIndex(walIndexBytes);
    if (header !== null) return header;
  }
  return null;
}

/**
 * Whether one other process holds the locks of both writer and checkpointer and is not recovering: a FULL,
 * RESTART or TRUNCATE checkpoint. A process that writes on one thread while it checkpoints on another looks
 * the same.
 */
export function isForeignCheckpointRunning(shmFd: number): boolean {
  const writer = lockHolderOrNull(shmFd, WRITER_BYTE, 1, "shared");
  if (writer === null || lockHolderOrNull(shmFd, CHECKPOINTER_BYTE, 1, "shared") !== writer) return false;
  return !isLockedByOther(shmFd, RECOVERY_BYTE, 1, "shared");
}
