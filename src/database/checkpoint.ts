/**
 * The checkpoint cycle: copies the captured WAL into the database file, so that the next writer restarts the
 * WAL.
 *
 * 1. Mark, capture, drop the freeze, PASSIVE, fsync: the long part, which blocks nobody. The cycle repeats
 *    this step while writers add many frames. The mark keeps the frames in the WAL, so that the caller may
 *    leave a few of them for the capture of step 2.
 * 2. Under the write lock, if few frames are left (otherwise back to 1): capture them, drop the mark, PASSIVE
 *    for the rest, freeze, release the write lock.
 *
 * Invariants:
 * 1. Freeze or mark is held at every moment, except in step 2 between dropping the mark and taking the
 *    freeze. At that moment we hold the write lock, and everything committed is captured.
 * 2. After any exception, freeze or mark is held again before the write lock is released. If that is
 *    impossible, the state of the pin is "released", and the outcome's reason states it.
 * 3. No page is copied into a database file that another program has written: the cycle compares the stamp of
 *    the file before each copy.
 * 4. No FULL or RESTART checkpoint runs, because every writer would wait while the checkpoint waits for
 *    readers. TRUNCATE runs only after the freeze is held again: then TRUNCATE can cut only frames that the
 *    database file holds.
 */
import { fdatasyncSync } from "node:fs";
import type { Env } from "../env.ts";
import { hasCode } from "../errors.ts";
import type { WalIndexHeader } from "../format/wal-index.ts";
import type { Connection } from "./connection/connection.ts";
import type { Pin } from "./pin/pin.ts";

/** Options of a cycle. */
export interface CycleOptions {
  /** How long to try for the write lock. Blocks this thread. */
  readonly writeLockTimeoutMs?: number;
  /** Whether to truncate the WAL file afterwards, unless another connection blocks that. */
  readonly truncate: boolean;
}

/** The result of a cycle. */
export interface CycleOutcome {
  /**
   * "complete": the database file holds all of the WAL, and the next writer restarts the WAL. "partial": a
   * reader or another checkpointer kept a part back. "busy": no write lock or no mark was available; try
   * again. "aborted": `capture` failed, or the WAL was restarted.
   */
  readonly outcome: "complete" | "partial" | "busy" | "aborted";
  /** The reason for any outcome but "complete"; "" for that. */
  readonly reason: string;
  /** How long the write lock was held, in ms; 0 when it was not needed or not available. */
  readonly writeLockHeldMs: number;
  /** Frames that the database file holds, and frames in the WAL, before the WAL is truncated. */
  readonly backfilled: number;
  readonly mxFrame: number;
  /** Whether the WAL file was truncated. */
  readonly isTruncated: boolean;
}

type Ending = Pick<CycleOutcome, "outcome" | "reason"> & Partial<CycleOutcome>;

/** The parts of a cycle. */
interface Cycle {
  readonly pin: Pin;
  readonly copier: Connection;
  readonly capture: (isLocked: boolean) => boolean;
  readonly options: CycleOptions;
  readonly env: Env;
}

const WRITE_LOCK_TIMEOUT_MS = 1000;
/**
 * Tries before the first wait. A writer without pauses frees the lock for some µs between two commits: one
 * try in each ms came in time for a third of the cycles, and the WAL grew to 28 times its length.
 */
const LOCK_TRIES_FIRST = 400;
/**
 * Tries between two later waits, and the length of a wait. A writer on the same core runs only while we
 * wait, so that more tries find the lock as they left it: waits of 1 ms found it free once in 30.
 */
const LOCK_TRIES_AGAIN = 10;
const LOCK_WAIT_MS = 0.02;
/** Frames that may be left for step 2 in any case: copying and syncing them takes a few ms. */
const LOCKED_FRAMES_MAX = 250;
/**
 * The time that step 2 may take by the pace of step 1. Every further round lets writers without pauses add a
 * thousand frames.
 */
const LOCKED_MS_MAX = 15;
/** The same in the last round, for a writer that is as fast as the copying. */
const LAST_LOCKED_FRAMES_MAX = 4000;
const ROUNDS_MAX = 4;
/** Tries, 1 ms apart, while another checkpointer runs (usually an autocheckpoint). */
const PASSIVE_TRIES_MAX = 20;
const FREEZE_TRIES_MAX = 20;

const NOT_CAPTURED: Ending = { outcome: "aborted", reason: "the WAL could not be captured" };
const OVERWRITTEN: Ending = { outcome: "busy", reason: "another program wrote the database file" };
const BLOCKED: Ending = { outcome: "partial", reason: "a reader or another checkpointer blocks it" };

/**
 * Runs one cycle on a pinned database. Blocks while it copies, and up to the timeout of the write lock.
 * @param capture reads the WAL up to mxFrame and returns whether it could; called two times or more. Under
 *   the write lock it must read all frames
 * @throws WalrustError "database", or any error of `capture`; the pin holds unless its state is "released"
 */
export function checkpointCycle(
  pin: Pin,
  capture: (isLocked: boolean) => boolean,
  options: CycleOptions,
  env: Env,
): CycleOutcome {
  if (!isHeld(pin)) return outcomeOf(pin, { outcome: "aborted", reason: "the pin is not held" });
  try {
    const copier = pin.connect();
    try {
      const cycle = { pin, copier, capture, options, env };
      return outcomeOf(pin, truncateIfRequested(cycle, runRounds(cycle)));
    } finally {
      copier.close();
    }
  } catch (error) {
    if (!hasCode(error, "database-busy") || !isHeld(pin)) throw error;
    return outcomeOf(pin, { outcome: "busy", reason: error.message });
  }
}

function isHeld(pin: Pin): boolean {
  return pin.state !== "released";
}

function runRounds(cycle: Cycle): Ending {
  const { pin, env } = cycle;
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    const startMs = env.monotonicMs();
    const before = pin.walIndex()?.backfilled ?? 0;
    const ahead = copyAhead(cycle);
    if (ahead !== null) return ahead;
    const copied = (pin.walIndex()?.backfilled ?? 0) - before;
    const framesPerMs = copied / Math.max(1, env.monotonicMs() - startMs);
    const leftMax = round === ROUNDS_MAX ? LAST_LOCKED_FRAMES_MAX : lockedFramesMax(framesPerMs);
    const ending = isLittleLeft(cycle.pin.walIndex(), leftMax) ? finish(cycle, leftMax) : null;
    if (ending !== null) return ending;
  }
  return { outcome: "busy", reason: "writers add frames faster than they can be copied" };
}

function lockedFramesMax(framesPerMs: number): number {
  return Math.min(LAST_LOCKED_FRAMES_MAX, Math.max(LOCKED_FRAMES_MAX, LOCKED_MS_MAX * framesPerMs));
}

function isLittleLeft(index: WalIndexHeader | null, leftMax: number): boolean {
  return index !== null && index.mxFrame - index.backfilled <= leftMax;
}

/** Step 1. @returns the ending, or null when the database file holds all frames up to the mark */
function copyAhead(cycle: Cycle): Ending | null {
  const { pin, copier, capture, env } = cycle;
  const isMarked = pin.takeMark(copier);
  if (!capture(!isMarked)) return NOT_CAPTURED;
  if (!isMarked) return settle(cycle);
  const mark = pin.walIndex()?.readMarks[pin.markSlot ?? 0];
  if (pin.isRewritten()) return OVERWRITTEN;
  pin.thaw();
  passive(copier, env);
  // Later writes to the file are not this checkpoint's.
  if (pin.isRewritten()) return OVERWRITTEN;
  // SQLite syncs the file only with the last frame, which would be under the write lock: most of it is done
  // here.
  fdatasyncSync(pin.databaseFd);
  const index = pin.walIndex();
  if (mark === undefined || index === null)
    return { outcome: "busy", reason: "the wal-index cannot be read" };
  return index.backfilled < mark ? BLOCKED : null;
}

/** Without a frame to copy, replaces the mark by the freeze: the next writer may then restart the WAL. */
function settle({ pin, capture }: Cycle): Ending {
  const index = pin.walIndex();
  if (index === null || index.backfilled < index.mxFrame) {
    return { outcome: "busy", reason: "no read mark could be taken" };
  }
  if (!pin.freeze()) return { outcome: "busy", reason: "another checkpoint is running" };
  if (!capture(true)) return NOT_CAPTURED;
  const { backfilled, mxFrame } = index;
  const now = pin.walIndex();
  const isOutdated = now?.salt2 === index.salt2 && now.mxFrame > now.backfilled;
  pin.unmark();
  if (isOutdated) return { outcome: "partial", reason: "a new commit arrived" };
  return { outcome: "complete", reason: "", backfilled, mxFrame };
}

/** Step 2. @returns null, with the mark held, when too many frames arrived before the write lock was ours */
function finish(cycle: Cycle, leftMax: number): Ending | null {
  const { pin, options, env } = cycle;
  const before = pin.walIndex();
  if (!takeWriteLock(pin, options.writeLockTimeoutMs ?? WRITE_LOCK_TIMEOUT_MS, env)) {
    return { outcome: "busy", reason: "writers kept the write lock" };
  }
  const startMs = env.monotonicMs();
  let ending: Ending | null;
  try {
    ending = underWriteLock(cycle, before, leftMax);
  } finally {
    pin.unlockWriter();
  }
  return ending === null ? null : { ...ending, writeLockHeldMs: env.monotonicMs() - startMs };
}

/** Truncates the WAL after a complete cycle, if requested and no other connection blocks it. */
function truncateIfRequested(cycle: Cycle, ending: Ending): Ending {
  const { pin, copier, options } = cycle;
  if (!options.truncate || ending.outcome !== "complete" || !pin.isFrozen) return ending;
  return { ...ending, isTruncated: !copier.checkpoint("TRUNCATE").isBusy };
}

function underWriteLock(cycle: Cycle, before: WalIndexHeader | null, leftMax: number): Ending | null {
  const { pin, copier, capture, env } = cycle;
  const index = pin.walIndex();
  if (index === null || index.salt1 !== before?.salt1 || index.salt2 !== before.salt2) {
    return { outcome: "aborted", reason: "the WAL was restarted under the mark" };
  }
  if (!isLittleLeft(index, leftMax)) return null;
  if (!capture(true)) return NOT_CAPTURED;
  if (pin.isRewritten()) return OVERWRITTEN;
  copyRest(pin, copier, env);
  return judge(pin);
}

/** Drops the mark, copies the rest and freezes. The write lock is ours, and everything is captured. */
function copyRest(pin: Pin, copier: Connection, env: Env): void {
  const isCopied = pin.isBackfilled();
  pin.dropFreezeAndMark();
  try {
    // Often nobody has committed since step 1, and a checkpoint would only ask for locks.
    if (!isCopied) passive(copier, env);
  } finally {
    freezeOrMark(pin, copier, env);
  }
}

/** Takes the freeze; or a mark at mxFrame, while another checkpointer holds byte 123; or any mark. */
function freezeOrMark(pin: Pin, copier: Connection, env: Env): void {
  for (let attempt = 0; attempt < FREEZE_TRIES_MAX; attempt++) {
    if (pin.freeze()) return;
    env.sleepSync(1);
  }
  try {
    pin.takeMark(copier);
  } finally {
    if (!isHeld(pin)) pin.takeFreezeOrMark();
  }
}

/** Judges the copying. Call before the write lock is released, after which a writer may restart the WAL. */
function judge(pin: Pin): Ending {
  if (!isHeld(pin)) return { outcome: "aborted", reason: "neither freeze nor mark could be taken again" };
  const index = pin.walIndex();
  if (index === null) return { outcome: "partial", reason: "the wal-index cannot be read" };
  const { backfilled, mxFrame } = index;
  if (backfilled === mxFrame) return { outcome: "complete", reason: "", backfilled, mxFrame };
  return { ...BLOCKED, backfilled, mxFrame };
}

/**
 * Takes the lock byte of the writer. No write transaction of ours is needed: a connection with one could not
 * checkpoint, so that the cycle would need a second connection, which costs as much as the copying.
 */
function takeWriteLock(pin: Pin, timeoutMs: number, env: Env): boolean {
  const deadlineMs = env.monotonicMs() + timeoutMs;
  for (let tries = 1; !pin.tryLockWriter(); tries++) {
    if (env.monotonicMs() >= deadlineMs) return false;
    if (tries >= LOCK_TRIES_FIRST && tries % LOCK_TRIES_AGAIN === 0) env.sleepSync(LOCK_WAIT_MS);
  }
  return true;
}

/** Runs a PASSIVE checkpoint; tries again while another checkpointer runs. */
function passive(copier: Connection, env: Env): void {
  for (let attempt = 0; attempt < PASSIVE_TRIES_MAX; attempt++) {
    if (!copier.checkpoint("PASSIVE").isBusy) return;
    env.sleepSync(1);
  }
}

function outcomeOf(pin: Pin, ending: Ending): CycleOutcome {
  const index = pin.walIndex();
  return {
    writeLockHeldMs: 0,
    backfilled: index?.backfilled ?? 0,
    mxFrame: index?.mxFrame ?? 0,
    isTruncated: false,
    ...ending,
  };
}
