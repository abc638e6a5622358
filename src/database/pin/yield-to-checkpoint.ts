/**
 * Letting a foreign FULL, RESTART or TRUNCATE checkpoint through a pin. With a busy timeout it holds writer
 * and checkpointer while it waits for us, so every writer of the application waits with it.
 *
 * The freeze is taken again as soon as the database file is written, mostly before the checkpoint gives its
 * write lock back. It cannot be made certain: if it is later, others may have committed, checkpointed and
 * restarted the WAL in between. The change count of the wal-index tells; a caller must compare it with what
 * it captured.
 */
import type { Env } from "../../env.ts";
import { isForeignCheckpointRunning } from "../files/shm.ts";
import type { Pin } from "./pin.ts";

/**
 * SQLite's busy handler sleeps up to 100 ms between two tries, so a waiting checkpoint needs a little more.
 */
const TIMEOUT_MS = 150;
const CONFIRM_MS = 1;
/** Below the resolution of a sleep: the thread looks again and again, as the moment to freeze is short. */
const LOOK_MS = 0.1;
const RETAKE_TRIES_MAX = 100;

/**
 * If such a checkpoint waits for us: `capture` reads all there is (nobody can commit meanwhile), freeze and
 * mark are dropped until it is through, and freeze or mark taken again. Blocks for up to `timeoutMs`.
 * @returns whether the pin holds afterwards; if not its state is "released"
 */
export function yieldToCheckpoint(pin: Pin, capture: () => void, env: Env, timeoutMs = TIMEOUT_MS): boolean {
  if (!pin.foreignCheckpointWaits()) return pin.state !== "released";
  const changeCount = pin.walIndex()?.changeCount;
  capture();
  // One that does not wait is through by now, and another may have begun; one that does lets nobody commit.
  env.sleepSync(CONFIRM_MS);
  const isWaiting = pin.foreignCheckpointWaits() && pin.walIndex()?.changeCount === changeCount;
  if (!isWaiting) return pin.state !== "released";
  pin.dropFreezeAndMark();
  const deadlineMs = env.monotonicMs() + timeoutMs;
  while (isForeignCheckpointRunning(pin.shmFd) && env.monotonicMs() < deadlineMs) {
    if (pin.isBackfilled() && pin.freeze()) return true;
    env.sleepSync(LOOK_MS);
  }
  for (let attempt = 0; attempt < RETAKE_TRIES_MAX && !pin.takeFreezeOrMark(); attempt++) env.sleepSync(1);
  return pin.state !== "released";
}
