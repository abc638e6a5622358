/**
 * PURE: decides when walrust suspects that a WAL holds commits which its wal-index does not show. The rule: a
 * WAL that changed without a capture must be explained within seconds, whatever the cause.
 *
 * A change is explained if no commit lies beyond the last frame of the wal-index: an open transaction, a
 * rollback, a restarted and empty WAL, a `touch`. A commit writes its frames before the wal-index shows them.
 * So commits beyond the wal-index count only if a second check still finds them there.
 */

/** The suspicion about one WAL. Times in ms on the monotonic clock. */
export interface Suspicion {
  /** Time of the first change without an explanation; null if there is none. */
  readonly sinceMs: number | null;
  /** Time of the last check. */
  readonly checkedMs: number;
  /** How long a change may stay without an explanation before a check. */
  readonly patienceMs: number;
  /** Whether a first check found commits beyond the wal-index. */
  readonly isFound: boolean;
}

/** Observations since the last call. */
export interface WalObservation {
  readonly nowMs: number;
  /** Whether size or modification time of the WAL changed. */
  readonly hasMoved: boolean;
  /** Time of the last capture. */
  readonly capturedMs: number;
}

const PATIENCE_MS = 5_000;
/** The interval between checks doubles up to this limit, because a long transaction writes for minutes. */
const PATIENCE_MS_MAX = 60_000;

/** No suspicion. */
export const NO_SUSPICION: Suspicion = {
  sinceMs: null,
  checkedMs: Number.NEGATIVE_INFINITY,
  patienceMs: PATIENCE_MS,
  isFound: false,
};

/** The suspicion after an observation. */
export function suspect(before: Suspicion, { nowMs, hasMoved, capturedMs }: WalObservation): Suspicion {
  const { sinceMs, checkedMs } = before;
  // A capture explains all earlier changes. A change at the same time needs its own explanation.
  if (capturedMs >= (sinceMs ?? checkedMs)) return hasMoved ? movedAt(nowMs) : NO_SUSPICION;
  return sinceMs === null && hasMoved ? { ...before, sinceMs: nowMs } : before;
}

function movedAt(nowMs: number): Suspicion {
  return { ...NO_SUSPICION, sinceMs: nowMs };
}

/** Whether the WAL must be checked now. */
export function isCheckDue({ sinceMs, patienceMs }: Suspicion, nowMs: number): boolean {
  return sinceMs !== null && nowMs - sinceMs >= patienceMs;
}

/**
 * Judges the result of a check.
 * @returns the suspicion from now on, or "unseen" if two checks found commits beyond the wal-index
 */
export function judgeCheck(
  before: Suspicion,
  hasCommitsBeyond: boolean,
  nowMs: number,
): Suspicion | "unseen" {
  if (hasCommitsBeyond) return before.isFound ? "unseen" : { ...movedAt(nowMs), isFound: true };
  const patienceMs = Math.min(PATIENCE_MS_MAX, before.patienceMs * 2);
  return { sinceMs: null, checkedMs: nowMs, patienceMs, isFound: false };
}
