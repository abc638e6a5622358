/**
 * Lets a FULL, RESTART or TRUNCATE checkpoint of another process pass a pin. With a busy timeout that
 * checkpoint holds the locks of writer and checkpointer while it waits for us, so every writer of the
 * application waits, too.
 *
 * The pin takes the freeze again as soon as the database file is written, usually before the checkpoint
 * releases its write lock. If the freeze comes later, others may have committed, checkpointed and restarted
 * the WAL meanwhile. The change count of the wal-index shows such commits, so the caller must compare this
 * count with the captured one.
 */
import type { Env } from "../../env.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { isForeignCheckpointRunning } from "../files/shm.ts";
import type { Pin } from "./pin.ts";

/**
 * SQLite's busy handler sleeps up to 100 ms between two tries, so a waiting checkpoint needs a little more.
 */
const TIMEOUT_MS = 150;
const CONFIRM_MS = 1;
/** Below the resolution of a sleep: the thread polls continuously, because the moment to freeze is short. */
const POLL_MS = 0.1;
const RETAKE_TRIES_MAX = 100;

/**
 * Whether a checkpoint can wait for the locks of a pin. A freeze alone blocks none while the database file
 * holds the whole WAL: then there is nothing to write, and a restart needs the read marks only.
 */
export function mayBlockCheckpoint(
  { markSlot }: Pick<Pin, "markSlot">,
  index: WalIndexHeader | null,
): boolean {
  return markSlot !== null || index === null || index.backfilled < index.mxFrame;
}

/**
 * Yields if such a checkpoint waits for our locks. `capture` reads all frames, while nobody can commit. Then
 * the pin drops freeze and mark, waits for the checkpoint, and takes freeze or mark again. Blocks for up to
 * `timeoutMs`.
 * @returns whether the pin holds freeze or mark; if not, its state is "released"
 */
export function yieldToCheckpoint(pin: Pin, capture: () => void, env: Env, timeoutMs = TIMEOUT_MS): boolean {
  if (!pin.foreignCheckpointWaits()) return pin.state !== "released";
  const changeCount = pin.walIndex()?.changeCount;
  capture();
  // After this pause a checkpoint that does not wait has ended. While a checkpoint waits, nobody can commit.
  env.sleepSync(CONFIRM_MS);
  const isWaiting = pin.foreignCheckpointWaits() && pin.walIndex()?.changeCount === changeCount;
  if (!isWaiting) return pin.state !== "released";
  pin.dropFreezeAndMark();
  const deadlineMs = env.monotonicMs() + timeoutMs;
  while (isForeignCheckpointRunning(pin.shmFd) && env.monotonicMs() < deadlineMs) {
    if (pin.isBackfilled() && pin.freeze()) return true;
    env.sleepSync(POLL_MS);
  }
  for (let attempt = 0; attempt < RETAKE_TRIES_MAX && !pin.takeFreezeOrMark(); attempt++) env.sleepSync(1);
  return pin.state !== "released";
}
