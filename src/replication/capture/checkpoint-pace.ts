/**
 * When the checkpoints of one database are due: as soon as its WAL is long enough, which the lengths that the
 * last polls have seen predict, and after a wait when a checkpoint was not possible. Two writers without
 * pauses add some 25 frames in each ms, so each wait begins short.
 */

import type { ReplicationConfig } from "../../config/config.ts";
import { type CycleOptions, type CycleOutcome, checkpointCycle } from "../../database/checkpoint.ts";
import type { Pin } from "../../database/pin/pin.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import type { LoopLoad } from "../context/loop-load.ts";
import type { WatchContext } from "../context/watch-context.ts";

/** Between two lengths that give a rate: a shorter time shows bursts. */
const RATE_MS_MIN = 20;
/** The longest that an attempt for the write lock blocks the loop; it doubles while attempts fail. */
const FIRST_LOCK_BUDGET_MS = 10;
const LOCK_BUDGET_MS_MAX = 1_000;
/** The most by which an attempt for a WAL beyond its length is longer. */
const LONG_FACTOR_MAX = 4;
/** For the wal-index to show frames that a commit has just written; the wait doubles. */
const FIRST_SHOW_MS = 5;
const SHOW_MS_MAX = 40;
/** After writers kept the write lock; at least a part of the attempt, so that uploads have their turn. */
const BUSY_MS = 10;
const BUSY_SHARE = 0.25;
/** For the blocking budget to grow. */
const SPENT_MS = 50;
/**
 * After a reader or another checkpointer kept frames back; the wait doubles, because a reader may hold its
 * transaction for hours.
 */
const FIRST_PARTIAL_MS = 20;
const PARTIAL_MS_MAX = 1_000;

/** Why a checkpoint did not copy the whole WAL, or did not begin. */
export type CheckpointObstacle = "unseen" | "spent" | "busy" | "partial";

/** The length of a WAL, as a multiple of the usual one, from which on it has no time to wait. */
const LENGTH_MAX = 6;
/** The same for the time since the last checkpoint, as a multiple of the interval. */
const INTERVALS_MAX = 3;

/** The facts that decide about the next checkpoint of a database. */
export interface CycleFacts {
  readonly pace: CheckpointPace | null;
  readonly load: LoopLoad | undefined;
  readonly sync: ReplicationConfig["sync"];
  /** The last checkpoint that copied the whole WAL, on the monotonic clock. */
  readonly lastMs: number;
}

/** Runs a checkpoint cycle, and counts its time. Arguments and errors are those of `checkpointCycle`. */
export function countedCycle(
  pin: Pin,
  capture: (isLocked: boolean) => boolean,
  options: CycleOptions,
  { env, load }: Pick<WatchContext, "env" | "load">,
): CycleOutcome {
  const startMs = env.monotonicMs();
  try {
    return checkpointCycle(pin, capture, options, env);
  } finally {
    load?.checkpointed(env.monotonicMs() - startMs);
  }
}

/** Whether a checkpoint cycle is due. @param index the wal-index; null: it cannot be read */
export function isCheckpointDue(index: WalIndexHeader | null, facts: CycleFacts, nowMs: number): boolean {
  if (index === null || index.mxFrame === 0 || index.backfilled >= index.mxFrame) return false;
  const { pace, load, sync, lastMs } = facts;
  const length = index.mxFrame / sync.minCheckpointPageCount;
  const intervals = (nowMs - lastMs) / sync.checkpointIntervalMs;
  if (intervals < 1 && length < (load?.walStretch ?? 1)) return false;
  if (pace?.isFree(nowMs) === false) return false;
  const isOverdue = length >= LENGTH_MAX || intervals >= INTERVALS_MAX;
  if (isOverdue || index.mxFrame > sync.walTruncateThresholdPages) return true;
  return (load?.freeAtMs(nowMs) ?? nowMs) <= nowMs;
}

/** When to look whether a checkpoint is due; infinite if the WAL does not grow. */
export function nextCycleMs({ pace, load, sync }: Omit<CycleFacts, "lastMs">, nowMs: number): number {
  if (pace === null) return Number.POSITIVE_INFINITY;
  const usualMs = pace.dueMs(sync.minCheckpointPageCount * (load?.walStretch ?? 1));
  const freeMs = load?.freeAtMs(nowMs) ?? nowMs;
  return Math.min(Math.max(usualMs, freeMs), pace.dueMs(sync.minCheckpointPageCount * LENGTH_MAX));
}

/** The pace of the checkpoints of one database. All times are on the monotonic clock, in ms. */
export class CheckpointPace {
  #lockBudgetMs = FIRST_LOCK_BUDGET_MS;
  #notBeforeMs = 0;
  #showMs = FIRST_SHOW_MS;
  #partialMs = FIRST_PARTIAL_MS;
  #seenMs = 0;
  #frames = 0;
  #framesPerMs = 0;

  /** A poll has seen a WAL of `frames`. */
  saw(frames: number, nowMs: number): void {
    const passedMs = nowMs - this.#seenMs;
    const added = frames - this.#frames;
    if (added >= 0 && passedMs < RATE_MS_MIN) return;
    // A shorter WAL has begun anew at an unknown moment: the rate before stays.
    if (added >= 0) this.#framesPerMs = added / passedMs;
    this.#frames = frames;
    this.#seenMs = nowMs;
  }

  /** Whether no wait forbids a checkpoint. */
  isFree(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs;
  }

  /**
   * When to look whether the WAL has `frames` and no wait forbids a checkpoint; infinite if the WAL does not
   * grow. A look at half of the way finds writers that have become faster: after a pause of the disk they add
   * three times as many frames.
   */
  dueMs(frames: number): number {
    const missing = Math.max(0, frames - this.#frames);
    const waitMs = missing === 0 ? 0 : missing / this.#framesPerMs;
    const isFar = waitMs >= 2 * RATE_MS_MIN;
    return Math.max(this.#notBeforeMs, this.#seenMs + (isFar ? waitMs / 2 : waitMs));
  }

  /**
   * How long the next attempt may try for the write lock, in ms. Each failed attempt lets the WAL grow by
   * hundreds of frames, so an attempt is longer as the WAL is.
   * @param share length of the WAL as a share of the length from which on it is checkpointed
   */
  lockBudgetMs(share: number): number {
    const factor = Math.min(LONG_FACTOR_MAX, Math.max(1, share));
    return Math.min(LOCK_BUDGET_MS_MAX, this.#lockBudgetMs * factor);
  }

  /** The file holds the whole WAL: the next writer begins the WAL anew. */
  completed(nowMs: number): void {
    this.#lockBudgetMs = FIRST_LOCK_BUDGET_MS;
    this.#partialMs = FIRST_PARTIAL_MS;
    this.#showMs = FIRST_SHOW_MS;
    this.#notBeforeMs = 0;
    this.saw(0, nowMs);
  }

  /** A checkpoint was not possible: the next attempt waits. */
  hindered(by: CheckpointObstacle, nowMs: number): void {
    this.#notBeforeMs = nowMs + this.#waitMs(by);
    if (by === "unseen") this.#showMs = Math.min(SHOW_MS_MAX, this.#showMs * 2);
    else this.#showMs = FIRST_SHOW_MS;
    if (by === "busy") this.#lockBudgetMs = Math.min(LOCK_BUDGET_MS_MAX, this.#lockBudgetMs * 2);
    if (by === "partial") this.#partialMs = Math.min(PARTIAL_MS_MAX, this.#partialMs * 2);
  }

  #waitMs(by: CheckpointObstacle): number {
    if (by === "unseen") return this.#showMs;
    if (by === "partial") return this.#partialMs;
    return by === "busy" ? Math.max(BUSY_MS, this.#lockBudgetMs * BUSY_SHARE) : SPENT_MS;
  }
}
