/**
 * Captures from a database whose file is deleted while an application has it open. The descriptors of the pin
 * still lead to the deleted file: its locks show whether another connection is left, and its wal-index shows
 * whether that connection commits.
 *
 * While the -wal lies at its path, captures go on as before. Once the -wal is deleted, too, nothing can be
 * captured any more, and the pin is released: it protects frames that nobody can read.
 */
import { fstatSync } from "node:fs";
import type { AnyPin } from "../../database/pin/open-pin.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";
import { harmOrNull } from "./pin-release.ts";

/** Whether the file of an attached database is deleted, and another connection still has it open. */
export function isDeletedInUse({ pin }: LiveDatabase): boolean {
  return fstatSync(pin.databaseFd).nlink === 0 && !pin.isAlone();
}

/**
 * Whether a deleted file has to be followed: it is in use, or holds commits that can still be captured. A
 * file that cannot be read is followed, too: not having looked is no evidence.
 */
export function needsFollowing(live: LiveDatabase): boolean {
  const { pin } = live;
  try {
    if (fstatSync(pin.databaseFd).nlink > 0) return false;
    return !pin.isAlone() || (isReadable(pin) && isWritten(live));
  } catch {
    return true;
  }
}

/**
 * Captures the commits into a deleted file, or releases the pin if that is impossible or hurts the
 * application.
 * @param isJobRunning whether a job reads the file under the pin
 * @returns whether there was anything to capture
 * @throws WalrustError as `capture`
 */
export function captureDeleted(
  live: LiveDatabase,
  { env, config }: Pick<WatchContext, "env" | "config">,
  isJobRunning: boolean,
): boolean {
  const { pin } = live;
  if (pin.isLockless || pin.state === "released") return false;
  const waitsForUpload = !config.cache.enabled && live.pending.length > 0;
  const outcome = isReadable(pin) && !waitsForUpload ? capture(live, env).kind : null;
  const isPossible = outcome === null ? waitsForUpload : outcome !== "re-anchor";
  const isHarmful = harmOrNull(live, pin, config.sync.walTruncateThresholdPages) !== null;
  if (!isJobRunning && (!isPossible || isHarmful)) pin.release();
  return outcome === "captured";
}

/**
 * The fate of the commits into a deleted file. "captured": walrust alone still reads them. "lost": no file
 * with a name has them.
 */
export type Fate = "unwritten" | "captured" | "lost";

/** The fate of the commits since the file was deleted. */
export function fateOf(live: LiveDatabase): Fate {
  const { pin, state } = live;
  // Without locks nothing tells whether the application commits.
  if (pin.isLockless) return "lost";
  const hasNew = isWritten(live);
  if (hasNew && !isReadable(pin)) return "lost";
  // The deletion was the last change of the attributes of the file.
  const hasCaptured = (state?.timeMs ?? 0) > fstatSync(pin.databaseFd).ctimeMs;
  return hasNew || hasCaptured ? "captured" : "unwritten";
}

/** Whether the pin protects the WAL, and the WAL lies at its path. */
function isReadable(pin: AnyPin): boolean {
  return !pin.isLockless && pin.state !== "released" && pin.isWalInPlace();
}

/** Whether the wal-index shows commits that are not captured. */
function isWritten({ pin, state, changeCount }: LiveDatabase): boolean {
  const index = pin.walIndex();
  if (index === null) return false;
  if (changeCount !== null) return index.changeCount !== changeCount;
  const wal = state?.wal;
  const isAtPosition = wal?.salt1 === index.salt1 && wal.frameCount === index.mxFrame;
  return index.mxFrame > 0 && !isAtPosition;
}
