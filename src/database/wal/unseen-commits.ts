/**
 * PURE: when to suspect that a WAL is written past the wal-index that we read. The rule behind it: a WAL that
 * changed and that no capture followed has to be explained within seconds, whatever the cause.
 *
 * Explained is what holds no commit beyond the wal-index's last frame: frames of a transaction that is not
 * committed, one that was rolled back, a WAL that was restarted and is empty, a `touch`. Frames of a commit
 * that is on its way to the disk are there before the wal-index shows them, so they count only if they are
 * still beyond it a while later.
 */

/** What is suspected of one WAL. Times in ms on the monotonic clock. */
export interface Suspicion {
  /** Since when a change has not been explained; null while there is none. */
  readonly sinceMs: number | null;
  /** When the WAL was read last. */
  readonly readMs: number;
  /** How long a change may go without an explanation before the WAL is read. */
  readonly patienceMs: number;
  /** Whether commits beyond the wal-index were found once. */
  readonly isFound: boolean;
}

/** What was seen since the last time. */
export interface WalObservation {
  readonly nowMs: number;
  /** Whether size or modification time of the WAL moved. */
  readonly hasMoved: boolean;
  /** When something was captured last. */
  readonly capturedMs: number;
}

const PATIENCE_MS = 5_000;
/** A long transaction writes for minutes: its frames are read ever more rarely. */
const PATIENCE_MS_MAX = 60_000;

/** Nothing is suspected. */
export const NO_SUSPICION: Suspicion = {
  sinceMs: null,
  readMs: Number.NEGATIVE_INFINITY,
  patienceMs: PATIENCE_MS,
  isFound: false,
};

/** Takes a sighting into account. */
export function suspect(before: Suspicion, { nowMs, hasMoved, capturedMs }: WalObservation): Suspicion {
  const { sinceMs, readMs } = before;
  // A capture explains what came before it; what moved in the same moment has to be explained anew.
  if (capturedMs >= (sinceMs ?? readMs)) return hasMoved ? movedAt(nowMs) : NO_SUSPICION;
  return sinceMs === null && hasMoved ? { ...before, sinceMs: nowMs } : before;
}

function movedAt(nowMs: number): Suspicion {
  return { ...NO_SUSPICION, sinceMs: nowMs };
}

/** Whether the WAL has to be read now. */
export function isCheckDue({ sinceMs, patienceMs }: Suspicion, nowMs: number): boolean {
  return sinceMs !== null && nowMs - sinceMs >= patienceMs;
}

/**
 * Judges what reading the WAL found.
 * @returns what is suspected from here on, or "unseen": commits stay beyond the wal-index
 */
export function judgeCheck(
  before: Suspicion,
  hasCommitsBeyond: boolean,
  nowMs: number,
): Suspicion | "unseen" {
  if (hasCommitsBeyond) return before.isFound ? "unseen" : { ...movedAt(nowMs), isFound: true };
  const patienceMs = Math.min(PATIENCE_MS_MAX, before.patienceMs * 2);
  return { sinceMs: null, readMs: nowMs, patienceMs, isFound: false };
}
