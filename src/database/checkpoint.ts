/**
 * The checkpoint cycle: moves the captured WAL into the database file, so that the next writer restarts the
 * WAL.
 *
 * 1. Mark, capture, thaw, PASSIVE, fsync: the long part, blocking nobody. Repeated while writers add much to
 *    it.
 * 2. Under the write lock, if only little is left (otherwise back to 1): capture what came in, let the mark
 *    go, PASSIVE for the rest, freeze, give the write lock back.
 *
 * Invariants:
 * 1. Freeze or mark is held at every moment, except in step 2 between letting the mark go and taking the
 *    freeze; there the write lock is ours and everything committed is captured.
 * 2. Whatever is thrown, freeze or mark is held again before the write lock is given back. Where that is
 *    impossible the pin's state is "released" and the outcome's reason says so.
 * 3. No page goes into a database file that something else has written: its stamp is compared before each
 *    copy.
 * 4. Never FULL or RESTART, which make every writer wait while they wait for readers. TRUNCATE only after the
 *    freeze is held again: it can then cut only what is in the database file.
 */
import { fdatasyncSync } from "node:fs";
import type { Env } from "../env.ts";
import { hasCode } from "../errors.ts";
import type { WalIndexHeader } from "../format/wal-index.ts";
import type { Connection } from "./connection/connection.ts";
import type { Pin } from "./pin/pin.ts";

/** How far a cycle may go. */
export interface CycleOptions {
  /** How long to try for the write lock, once a ms, blocking this thread. */
  readonly writeLockTimeoutMs?: number;
  /** Whether to cut the WAL file to nothing afterwards, if nobody is in the way. */
  readonly truncate: boolean;
}

/** What a cycle did. */
export interface CycleOutcome {
  /**
   * "complete": all of the WAL is in the database file, the next writer restarts it. "partial": a reader or
   * another checkpointer keeps a part. "busy": no write lock, or no mark; try again. "aborted": `capture`
   * said no, or the WAL is not the one it was.
   */
  readonly outcome: "complete" | "partial" | "busy" | "aborted";
  /** Why it is not complete; "" when it is. */
  readonly reason: string;
  /** How long writers were kept out, in ms; 0 when the write lock was not needed or not had. */
  readonly writeLockHeldMs: number;
  /** Frames in the database file and frames in the WAL, when the cycle ended but before the WAL was cut. */
  readonly backfilled: number;
  readonly mxFrame: number;
  /** Whether the WAL file was cut. */
  readonly isTruncated: boolean;
}

type Ending = Pick<CycleOutcome, "outcome" | "reason"> & Partial<CycleOutcome>;

/** What a cycle works with. */
interface Cycle {
  readonly pin: Pin;
  readonly copier: Connection;
  readonly capture: () => boolean;
  readonly options: CycleOptions;
  readonly env: Env;
}

const WRITE_LOCK_TIMEOUT_MS = 1000;
/** Frames that may be left for step 2: about as much as is copied and synced in a few ms. */
const LOCKED_FRAMES_MAX = 250;
/** The same in the last round, for a writer that is as quick as the copying. */
const LAST_LOCKED_FRAMES_MAX = 4000;
const ROUNDS_MAX = 4;
/** Tries, 1 ms apart, for a checkpoint while another checkpointer (an autocheckpoint, mostly) is at work. */
const PASSIVE_TRIES_MAX = 20;
const FREEZE_TRIES_MAX = 20;

const NOT_CAPTURED: Ending = { outcome: "aborted", reason: "the WAL could not be captured" };
const WRITTEN_OVER: Ending = { outcome: "busy", reason: "something else wrote the database file" };
const IN_THE_WAY: Ending = { outcome: "partial", reason: "a reader or checkpointer is in the way" };

/**
 * Runs one cycle on a pinned database. Synchronous; blocks for the copying and for the write lock's timeout.
 * `capture` reads the WAL to mxFrame and returns false if it could not; it is called two times or more.
 * @throws WalrustError "database", or what `capture` throws, with the pin held unless its state says
 * "released"
 */
export function checkpointCycle(
  pin: Pin,
  capture: () => boolean,
  options: CycleOptions,
  env: Env,
): CycleOutcome {
  if (!isHeld(pin)) return outcomeOf(pin, { outcome: "aborted", reason: "the pin is not held" });
  try {
    const copier = pin.connect();
    try {
      const cycle = { pin, copier, capture, options, env };
      return outcomeOf(pin, cut(cycle, runRounds(cycle)));
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
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    const leftMax = round === ROUNDS_MAX ? LAST_LOCKED_FRAMES_MAX : LOCKED_FRAMES_MAX;
    const ahead = copyAhead(cycle);
    if (ahead !== null) return ahead;
    const ending = isLittleLeft(cycle.pin.walIndex(), leftMax) ? finish(cycle, leftMax) : null;
    if (ending !== null) return ending;
  }
  return { outcome: "busy", reason: "frames come in more quickly than they can be copied" };
}

function isLittleLeft(index: WalIndexHeader | null, leftMax: number): boolean {
  return index !== null && index.mxFrame - index.backfilled <= leftMax;
}

/** Step 1. @returns how the cycle ends here, or null when all up to the mark is in the database file */
function copyAhead(cycle: Cycle): Ending | null {
  const { pin, copier, capture, env } = cycle;
  const isMarked = pin.takeMark(copier);
  if (!capture()) return NOT_CAPTURED;
  if (!isMarked) return settle(cycle);
  const mark = pin.walIndex()?.readMarks[pin.markSlot ?? 0];
  if (pin.isRewritten()) return WRITTEN_OVER;
  pin.thaw();
  passive(copier, env);
  // Later writes to the file are not this checkpoint's.
  if (pin.isRewritten()) return WRITTEN_OVER;
  // SQLite syncs the file only with the last frame, which would be under the write lock: most of it is done
  // here.
  fdatasyncSync(pin.databaseFd);
  const index = pin.walIndex();
  if (mark === undefined || index === null)
    return { outcome: "busy", reason: "the wal-index cannot be read" };
  return index.backfilled < mark ? IN_THE_WAY : null;
}

/** Nothing is left to copy: the freeze instead of the mark, so that the next writer may restart the WAL. */
function settle({ pin, capture }: Cycle): Ending {
  const index = pin.walIndex();
  if (index === null || index.backfilled < index.mxFrame) {
    return { outcome: "busy", reason: "no read mark could be taken" };
  }
  if (!pin.freeze()) return { outcome: "busy", reason: "another checkpoint is running" };
  if (!capture()) return NOT_CAPTURED;
  const { backfilled, mxFrame } = index;
  const now = pin.walIndex();
  const isOutdated = now?.salt2 === index.salt2 && now.mxFrame > now.backfilled;
  pin.unmark();
  if (isOutdated) return { outcome: "partial", reason: "a commit came in" };
  return { outcome: "complete", reason: "", backfilled, mxFrame };
}

/** Step 2. @returns null, with the mark still held, when too much came in before the write lock was ours */
function finish(cycle: Cycle, leftMax: number): Ending | null {
  const { pin, options, env } = cycle;
  const before = pin.walIndex();
  const writer = pin.connect();
  let ending: Ending | null;
  let writeLockHeldMs = 0;
  try {
    if (!takeWriteLock(writer, options.writeLockTimeoutMs ?? WRITE_LOCK_TIMEOUT_MS, env)) {
      return { outcome: "busy", reason: "writers kept the write lock" };
    }
    const startMs = env.monotonicMs();
    try {
      ending = underWriteLock(cycle, before, leftMax);
    } finally {
      writer.rollback();
    }
    writeLockHeldMs = env.monotonicMs() - startMs;
  } finally {
    writer.close();
  }
  return ending === null ? null : { ...ending, writeLockHeldMs };
}

/** Cuts the WAL to nothing after a complete cycle, if that is wanted and nobody is in the way. */
function cut(cycle: Cycle, ending: Ending): Ending {
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
  if (!capture()) return NOT_CAPTURED;
  if (pin.isRewritten()) return WRITTEN_OVER;
  copyRest(pin, copier, env);
  return judge(pin);
}

/** With the write lock ours and everything captured: the mark goes, the rest is copied, the freeze comes. */
function copyRest(pin: Pin, copier: Connection, env: Env): void {
  pin.dropFreezeAndMark();
  try {
    passive(copier, env);
  } finally {
    repin(pin, copier, env);
  }
}

/** Takes the freeze, or a mark at mxFrame while another checkpointer has byte 123, or any mark. */
function repin(pin: Pin, copier: Connection, env: Env): void {
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

/** How far the copying got; asked before the write lock is given back and a writer may restart the WAL. */
function judge(pin: Pin): Ending {
  if (!isHeld(pin)) return { outcome: "aborted", reason: "the pin could not be taken again" };
  const index = pin.walIndex();
  if (index === null) return { outcome: "partial", reason: "the wal-index cannot be read" };
  const { backfilled, mxFrame } = index;
  if (backfilled === mxFrame) return { outcome: "complete", reason: "", backfilled, mxFrame };
  return { ...IN_THE_WAY, backfilled, mxFrame };
}

function takeWriteLock(writer: Connection, timeoutMs: number, env: Env): boolean {
  const deadlineMs = env.monotonicMs() + timeoutMs;
  while (!writer.tryBeginImmediate()) {
    if (env.monotonicMs() >= deadlineMs) return false;
    env.sleepSync(1);
  }
  return true;
}

/** A PASSIVE checkpoint, tried again while another checkpointer is at work. */
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
