/**
 * What a watcher does while it cannot capture: the database comes before its backup, and nothing is tried for
 * ever that only files which are gone could make work.
 */
import { statfsSync } from "node:fs";
import type { Pin } from "../../database/pin/pin.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { LiveDatabase } from "./live-database.ts";

/** A WAL that cannot be captured is let go of at this many times the length it is truncated at. */
const TRUNCATE_THRESHOLDS_MAX = 4;
const FREE_BYTES_MIN = 1 << 30;
const FREE_SHARE_MIN = 0.05;
/** A full disk is no reason to let go of a WAL that takes next to nothing of it. */
const SHORT_WAL_FRAMES = 1_000;

/**
 * Lets go of a database whose WAL cannot be captured at present and hurts the application: it has become
 * long, the disk is nearly full, or the application waits with a checkpoint and keeps its writers waiting.
 * What was not captured is in the database; a difference follows.
 */
export function releaseIfHarmful(
  live: LiveDatabase,
  context: Pick<WatchContext, "env" | "config">,
  name: string,
): void {
  const { pin } = live;
  if (pin.isLoose || pin.state === "released") return;
  const reason = hurtOrNull(live, pin, context.config.sync.walTruncateThresholdPages);
  if (reason === null) return;
  pin.release();
  live.pinLost = `the pin was let go, because ${reason} while nothing could be captured`;
  context.env.log.warn(`${live.pinLost}; a difference follows`, { database: name });
}

function hurtOrNull(live: LiveDatabase, pin: Pin, truncateThresholdPages: number): string | null {
  if (pin.foreignCheckpointWaits()) return "a checkpoint of the application waited";
  const frames = pin.walIndex()?.mxFrame ?? 0;
  if (frames > TRUNCATE_THRESHOLDS_MAX * truncateThresholdPages) return `the WAL reached ${frames} pages`;
  return frames > SHORT_WAL_FRAMES && isDiskShort(live.path) ? "the disk is nearly full" : null;
}

function isDiskShort(path: string): boolean {
  try {
    const { bavail, blocks, bsize } = statfsSync(path);
    return bavail * bsize < Math.max(FREE_BYTES_MIN, blocks * bsize * FREE_SHARE_MIN);
  } catch {
    // It was deleted just now, or may not be looked at: the next look says so.
    return false;
  }
}
