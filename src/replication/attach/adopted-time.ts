/**
 * How far the times of adopted objects are believed.
 *
 * Captures never go back in time, so a watch that continues a history stamps nothing older than its newest
 * object. An object from the far future, written by a wrong clock or in bad faith, would stop time for all
 * that follow and keep every snapshot from becoming due. So its time is not taken over: captures go on from
 * the present, and a lookup by time passes over the objects that are ahead of it.
 */
import type { Env } from "../../env.ts";

/** What two clocks may differ by. */
const AHEAD_MAX_MS = 24 * 3_600_000;

/** The time to go on from after an object of the bucket. Logs when that is not the object's own. */
export function adoptedTimeMs(timeMs: number, key: string, name: string, env: Env): number {
  const nowMs = env.nowMs();
  if (timeMs <= nowMs + AHEAD_MAX_MS) return timeMs;
  const time = new Date(timeMs).toISOString();
  env.log.warn(
    `${key} is from the future (${time}): captures are stamped with the present time all the same`,
    {
      database: name,
      hint: "Restore this object's own point by its TXID; a time finds the points beside it",
    },
  );
  return nowMs;
}
