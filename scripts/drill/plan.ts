/**
 * Plans the kills of a drill. PURE: the same seed gives the same plan.
 */
import { seededRandom } from "../measure/databases.ts";

/** One SIGKILL of `watch`. */
export interface Kill {
  /**
   * - starting: so long after the start of the process, wherever the start has come to
   * - working: so long after every database has an acknowledged capture
   */
  readonly moment: "starting" | "working";
  readonly delayMs: number;
  /** Time from the kill to the next start, in which the writers go on. */
  readonly downMs: number;
  /** Index of the writer that is killed with the watch; null for none. */
  readonly writerIndex: number | null;
}

const STARTING_SHARE = 0.35;
const STARTING_MS_MAX = 600;
const WORKING_MS_MAX = 1_200;
const AT_ONCE_SHARE = 0.5;
const DOWN_MS_MAX = 1_000;
const WITH_WRITER_SHARE = 0.2;

/** Plans `count` kills. */
export function planKills(seed: number, count: number, writerCount: number): Kill[] {
  const random = seededRandom(seed ^ 0x1511);
  return Array.from({ length: count }, () => {
    const moment = random() < STARTING_SHARE ? "starting" : "working";
    const delayMs = Math.round(random() * (moment === "starting" ? STARTING_MS_MAX : WORKING_MS_MAX));
    const downMs = random() < AT_ONCE_SHARE ? 0 : Math.round(random() * DOWN_MS_MAX);
    const writerIndex = random() < WITH_WRITER_SHARE ? Math.floor(random() * writerCount) : null;
    return { moment, delayMs, downMs, writerIndex };
  });
}
