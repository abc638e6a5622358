/**
 * Releases the pin when holding it hurts the application (a long WAL, a nearly full disk, a waiting
 * checkpoint) while captures are not possible. The database comes before its backup.
 */
import type { Pin } from "../../database/pin/pin.ts";
import { diskRoomOf, isPinHarmful } from "../../local/folders/disk-room.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { LiveDatabase } from "./live-database.ts";

/** The pin is released when the WAL reaches this many times the length at which it is truncated. */
const TRUNCATE_THRESHOLDS_MAX = 4;
/** A shorter WAL takes so little disk that a full disk is no reason to release the pin. */
const SHORT_WAL_FRAMES = 1_000;

/**
 * Releases the pin if it hurts the application: the WAL has become long, the disk is nearly full, or a
 * checkpoint of the application waits and keeps its writers waiting. Commits that were not captured stay in
 * the database, and a difference captures them later.
 */
export function releaseIfHarmful(
  live: LiveDatabase,
  context: Pick<WatchContext, "env" | "config">,
  name: string,
): void {
  const { pin } = live;
  if (pin.isLockless || pin.state === "released") return;
  const reason = harmOrNull(live, pin, context.config.sync.walTruncateThresholdPages);
  if (reason === null) return;
  pin.release();
  live.pinLost = `the pin was released, because ${reason} while nothing could be captured`;
  context.env.log.warn(`${live.pinLost}; a difference follows`, { database: name });
}

/** Why a pin hurts the application, or null. */
export function harmOrNull(live: LiveDatabase, pin: Pin, truncateThresholdPages: number): string | null {
  if (pin.foreignCheckpointWaits()) return "a checkpoint of the application waited";
  const frames = pin.walIndex()?.mxFrame ?? 0;
  if (frames > TRUNCATE_THRESHOLDS_MAX * truncateThresholdPages) return `the WAL reached ${frames} pages`;
  return frames > SHORT_WAL_FRAMES && isDiskShort(live.path) ? "the disk is nearly full" : null;
}

function isDiskShort(path: string): boolean {
  try {
    return isPinHarmful(diskRoomOf(path));
  } catch {
    // The file was deleted just now, or its folder cannot be read: the next poll reports it.
    return false;
  }
}

/**
 * Releases the pin while nothing is captured because the spool is full: the WAL must not grow without bound.
 */
export function releaseForFullSpool(live: LiveDatabase): void {
  if (live.pin.state === "released") return;
  live.pin.release();
  live.pinLost = "capture had stopped because the spool was full";
}
