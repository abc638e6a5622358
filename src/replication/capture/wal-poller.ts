/**
 * Polls the WAL of one database: captures what is committed, yields to checkpoints of the application, runs
 * our own checkpoints, and switches the pin between freeze and mark. A poll is synchronous and short. If
 * longer work is due, the poll returns it as the outcome, and the watcher runs a job.
 */
import type { LocklessPin } from "../../database/pin/lockless-pin.ts";
import type { Pin } from "../../database/pin/pin.ts";
import { mayBlockCheckpoint } from "../../database/pin/yield-to-checkpoint.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { BlockingBudget } from "../context/blocking-budget.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { type CaptureOutcome, capture, type TimedIndex, timedIndexOf } from "./capture.ts";
import {
  type CheckpointObstacle,
  CheckpointPace,
  type CycleFacts,
  countedCycle,
  isCheckpointDue,
  nextCycleMs,
} from "./checkpoint-pace.ts";
import { captureDeleted, fateOf } from "./deleted-capture.ts";
import { emptyWalIfUnused, recordFile, recordRest, renewWalIndexIfUnused } from "./empty-wal.ts";
import { detectOverwrite, type FileNews, OVERWRITTEN } from "./file-changes.ts";
import { type LiveDatabase, uncapturedFrames } from "./live-database.ts";
import { LocklessPoller, type PollOutcome } from "./lockless-poller.ts";
import { releaseIfHarmful } from "./pin-release.ts";
import { UNSEEN, WalIndexCheck } from "./wal-index-check.ts";

/** A WAL of this share of its length is checkpointed before a job that takes long. */
const AHEAD_SHARE = 0.25;
/** Frames from which on a mark replaces the freeze: under a freeze, a longer WAL makes each commit slower. */
const MARK_FRAMES = 500;
const MARK_INTERVAL_MS = 1_000;
/**
 * Frames that a checkpoint cycle captures under the write lock, in a ms. A capture before the copying as well
 * would leave two increments, of which the second has a commit or two: they are merged, and the object of two
 * TXIDs needs a listing.
 */
const LOCKED_CAPTURE_FRAMES = 1_000;
/** A shorter attempt after failed ones is not worth the copying before it. */
const USEFUL_LOCK_MS = 100;
/** After the last capture the pace of checkpoints is forgotten. */
const PACE_REST_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;
/**
 * Between two checks of the files where events tell of each file that is removed, replaced or overwritten: an
 * event may be lost. A capture checks the files in any case.
 */
const FILE_SWEEP_INTERVAL_MS = 10_000;
/**
 * Quiet time after a capture before the poller checks whether the application has closed the database. The
 * waits between checks then double up to the longest.
 */
const FIRST_REST_MS = 100;
const REST_INTERVAL_MS_MAX = 1_000;
/** An application that opens the database for each commit must not get a checkpoint for each commit. */
const REST_PAUSE_MS = 10_000;
const REST_QUIET_MS = 1_000;

/** The limits of one poll. */
export interface PollLimits {
  /**
   * False while a job reads the database file: no checkpoint may write it, and the pin must not change.
   */
  readonly mayCheckpoint: boolean;
  /** The events for the files since the last check. */
  readonly fileNews: FileNews;
}

const QUIET: PollOutcome = { kind: "quiet" };

/** A capture of everything that was committed when it was requested; each has an object of its own. */
export interface WholeCapture {
  /** The TXID up to which the history has all of it. */
  readonly txid: number;
  /** The generation of the history that the TXID belongs to. */
  readonly generation: number;
}

/** The requests for captures of everything, and their last outcome. */
interface CaptureRequests {
  /** A requested capture is not made yet. */
  isOpen: boolean;
  whole: WholeCapture | null;
  generation: number;
}

export type { PollOutcome };

/** The poller of one database: `poll` again and again. */
export class WalPoller {
  #lastCaptureMs = Number.NEGATIVE_INFINITY;
  #lastCycleMs: number;
  #checkpointDueMs = Number.POSITIVE_INFINITY;
  #nextMarkMs = 0;
  #checkedMs = Number.NEGATIVE_INFINITY;
  #filesCheckedMs = Number.NEGATIVE_INFINITY;
  #mayBlockCheckpoint = true;
  #nextRestMs = 0;
  #lastRestMs = Number.NEGATIVE_INFINITY;
  readonly #blocking: BlockingBudget;
  readonly #indexCheck: WalIndexCheck;
  /** Null while the WAL does not grow. */
  #pace: CheckpointPace | null = null;
  /** Frames that the cycle of this poll has captured. */
  #cycleFrames = 0;
  /** Made when the database is first followed without locks. */
  #lockless: LocklessPoller | null = null;
  #pin: Pin | null = null;
  /** Made with the first request: an idle database has none. */
  #requests: CaptureRequests | null = null;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
  ) {
    this.#lastCycleMs = context.env.monotonicMs();
    this.#blocking = context.blocking ?? new BlockingBudget();
    this.#indexCheck = new WalIndexCheck(context.env, context.conditions);
  }

  /** Whether the WAL gets commits past the wal-index even under a new pin. */
  get hasUnseenCommits(): boolean {
    return this.#lockless?.hasUnseenCommits === true;
  }

  /** Has the next poll capture everything that is committed, whether that is due or not. */
  request(): void {
    this.#requests = { ...(this.#requests ?? { whole: null, generation: 0 }), isOpen: true };
  }

  /** Whether a requested capture is not made yet. */
  get isRequested(): boolean {
    return this.#requests?.isOpen === true;
  }

  /** The last requested capture, or null. */
  get whole(): WholeCapture | null {
    return this.#requests?.whole ?? null;
  }

  /** Grows with each anchor after a request, because an anchor may continue another history. */
  get generation(): number {
    return this.#requests?.generation ?? 0;
  }

  /** The time of the last capture, on the monotonic clock. */
  get lastCaptureMs(): number {
    return this.#lastCaptureMs;
  }

  /** When the next capture is allowed, on the monotonic clock. */
  get captureDueMs(): number {
    return this.#lastCaptureMs + this.context.config.sync.walSyncIntervalMs;
  }

  /** When the files were last compared with those of the pin, on the monotonic clock. */
  get filesCheckedMs(): number {
    return this.#filesCheckedMs;
  }

  /** When the WAL will be long enough for a checkpoint of ours, as the last poll predicts it. */
  get checkpointDueMs(): number {
    return this.#checkpointDueMs;
  }

  /** Whether a checkpoint of the application may have to wait for the pin, as the last poll found it. */
  get mayBlockCheckpoint(): boolean {
    return this.#mayBlockCheckpoint;
  }

  /**
   * Checkpoints a WAL early, before a job that takes long and keeps captures and checkpoints waiting.
   * @returns whether the WAL is short, or cannot be shortened; false: the next attempt may succeed
   * @throws as `poll`
   */
  checkpointAhead(live: LiveDatabase, nowMs: number): boolean {
    const { pin } = live;
    if (pin.isLockless || pin.state === "released" || this.#waitsForUpload(live)) return true;
    const index = pin.walIndex();
    const frames = index?.mxFrame ?? 0;
    const isShort = frames < this.context.config.sync.minCheckpointPageCount * AHEAD_SHARE;
    if (index === null || isShort || index.backfilled >= frames) return true;
    if (this.#pace?.isFree(nowMs) === false) return false;
    const reason = this.#checkpoint(live, pin, frames, nowMs);
    return reason !== null || (pin.walIndex()?.backfilled ?? 0) >= frames;
  }

  /** An anchor counts as a capture. */
  anchored(nowMs: number): void {
    if (this.#requests !== null) this.#requests.generation++;
    this.#mayBlockCheckpoint = true;
    this.#lastCaptureMs = nowMs;
    this.#nextRestMs = nowMs + FIRST_REST_MS;
  }

  /**
   * Captures, yields and checkpoints as is due.
   * @throws WalrustError when the disk or SQLite refuses; the position is unchanged then
   */
  poll(live: LiveDatabase, nowMs: number, limits: PollLimits): PollOutcome {
    const outcome = this.#poll(live, nowMs, limits);
    // Beside a job nobody follows the finding. So the check does not count, and is made again.
    if (!isCalm(outcome)) this.#filesCheckedMs = Number.NEGATIVE_INFINITY;
    return outcome;
  }

  /**
   * Captures what an application commits into a deleted file, as soon as that is due.
   * @returns whether no commit is lost
   * @throws WalrustError as `poll`
   */
  pollDeleted(live: LiveDatabase, nowMs: number, isJobRunning: boolean): boolean {
    const isDue = nowMs >= this.captureDueMs;
    if (isDue && captureDeleted(live, this.context, isJobRunning)) this.#lastCaptureMs = nowMs;
    return fateOf(live) !== "lost";
  }

  #poll(live: LiveDatabase, nowMs: number, limits: PollLimits): PollOutcome {
    const { pin } = live;
    this.#mayBlockCheckpoint = true;
    this.#checkpointDueMs = Number.POSITIVE_INFINITY;
    if (pin.isLockless) return this.#pollLockless(live, pin, nowMs);
    // A requested capture is whole only if the pinned files are the database's, and all users share them.
    const fileNews = this.isRequested ? "touched" : limits.fileNews;
    if (this.isRequested) this.#indexCheck.checkUsersNext();
    const isCheckDue = nowMs - this.#checkedMs >= CHECK_INTERVAL_MS;
    // A capture explains the write, so the check comes after a look that captured nothing.
    const isExplained = fileNews === "written" && nowMs >= this.captureDueMs && pin.state !== "released";
    if (fileNews === "touched" || (isCheckDue && !isExplained)) {
      const found = this.#checkFiles(live, pin, nowMs, fileNews);
      if (found !== null) return found;
    }
    const outcome = this.#pollWal(live, pin, nowMs, { ...limits, fileNews });
    if (!isCheckDue || !isExplained || !isCalm(outcome)) return outcome;
    const news = outcome.kind === "captured" ? "still" : fileNews;
    return this.#checkFiles(live, pin, nowMs, news) ?? outcome;
  }

  /**
   * Checks the files of the database. @returns a finding that makes the pin or the history unsound, or null
   */
  #checkFiles(live: LiveDatabase, pin: Pin, nowMs: number, news: FileNews): PollOutcome | null {
    this.#checkedMs = nowMs;
    const reason = this.#distrustOrNull(live, pin, nowMs, news);
    if (reason !== null) {
      this.#captureLast(live, pin);
      return { kind: "replaced", reason };
    }
    // Under a mark, a later checkpoint hides that another program wrote the file before it.
    const isContentDue = this.#filesCheckedMs >= nowMs || !pin.isFrozen;
    // The pin stays: without it, the next process to open would apply the old WAL to the new content.
    const written = isContentDue ? detectOverwrite(live) : "none";
    if (written === "mixture") return { kind: "mixture" };
    if (written === "anew") return { kind: "replaced", reason: OVERWRITTEN };
    return written === "harmless" ? { kind: "re-anchor", reason: OVERWRITTEN } : null;
  }

  #pollWal(live: LiveDatabase, pin: Pin, nowMs: number, limits: PollLimits): PollOutcome {
    if (pin.state === "released") {
      live.pinLost ??= "the pin was released";
      if (this.#waitsForUpload(live)) return QUIET;
      if (!pin.repin(this.context.env)) return QUIET;
    }
    let seen = timedIndexOf(live, this.context.env);
    this.#mayBlockCheckpoint = mayBlockCheckpoint(pin, seen.index);
    if (limits.mayCheckpoint && this.#mayBlockCheckpoint && pin.foreignCheckpointWaits()) {
      this.#yieldPin(live, pin);
      seen = timedIndexOf(live, this.context.env);
    }
    if (this.#waitsForUpload(live)) {
      if (limits.mayCheckpoint) releaseIfHarmful(live, this.context, this.name);
      return QUIET;
    }
    const isDue = nowMs >= this.captureDueMs || this.isRequested;
    // A cycle captures everything itself.
    const mayCycle = limits.mayCheckpoint && !this.isRequested;
    const isCycleDue = mayCycle && isCheckpointDue(seen.index, this.#cycleFacts, nowMs);
    const outcome = isDue && !isCycleDue ? this.#capture(live, nowMs, seen, limits.fileNews) : QUIET;
    if (!isCalm(outcome) || !limits.mayCheckpoint) return outcome;
    this.#cycleFrames = 0;
    let reason = null;
    try {
      reason = this.#checkpointIfDue(live, pin, seen.index, nowMs);
      reason ??= this.#restIfAlone(live, seen.index, nowMs);
    } catch (error) {
      // A checkpoint that is refused again and again must not keep commits from being captured.
      if (isDue && isCycleDue && this.#cycleFrames === 0) this.#capture(live, nowMs, null, limits.fileNews);
      throw error;
    }
    if (reason !== null) return { kind: "re-anchor", reason };
    if (this.#cycleFrames > 0) return { kind: "captured", frames: this.#cycleFrames };
    const isStillDue = isDue && isCycleDue && pin.state !== "released";
    return isStillDue ? this.#capture(live, nowMs, null, limits.fileNews) : outcome;
  }

  get #cycleFacts(): CycleFacts {
    const { load, config } = this.context;
    return { pace: this.#pace, load, sync: config.sync, lastMs: this.#lastCycleMs };
  }

  #pollLockless(live: LiveDatabase, pin: LocklessPin, nowMs: number): PollOutcome {
    if (this.#waitsForUpload(live)) return QUIET;
    this.#lockless ??= new LocklessPoller(this.context.env);
    const outcome = this.#lockless.poll(live, pin, nowMs, this.isRequested);
    if (outcome.kind === "captured") this.#lastCaptureMs = nowMs;
    // A requested poll is quiet only when it has found nothing new.
    if (isCalm(outcome)) this.#noteWhole(live);
    return outcome;
  }

  /**
   * Why the pin cannot be trusted any more, or null: its files were replaced, or not all users share them.
   */
  #distrustOrNull(live: LiveDatabase, pin: Pin, nowMs: number, news: FileNews): string | null {
    const check = this.#indexCheck;
    const isSweep = news === "still" && pin === this.#pin && !check.isSuspicious;
    if (pin !== this.#pin) check.begin();
    this.#pin = pin;
    if (isSweep && nowMs - this.#filesCheckedMs < FILE_SWEEP_INTERVAL_MS) return check.poll(pin, nowMs);
    const reason = this.#replacedReasonOrNull(live, nowMs) ?? check.poll(pin, nowMs);
    if (reason !== null || !check.hasUnseenCommits(pin, nowMs, this.#lastCaptureMs)) return reason;
    this.#lockless ??= new LocklessPoller(this.context.env);
    this.#lockless.sawUnseenCommits(nowMs);
    return UNSEEN;
  }

  /** Captures the last commits of a database file that was moved away, if its WAL still lies at its path. */
  #captureLast(live: LiveDatabase, pin: Pin): void {
    const isWhole = pin.changedFile() === "database" && pin.isWalInPlace();
    if (isWhole && pin.state !== "released" && !this.#waitsForUpload(live)) capture(live, this.context.env);
  }

  /**
   * Does the work of the last close, which our pin prevents.
   * @param index the wal-index at the begin of the poll
   * @returns why to anchor anew, or null
   */
  #restIfAlone(live: LiveDatabase, index: WalIndexHeader | null, nowMs: number): string | null {
    const quietMs = nowMs - this.#lastCaptureMs;
    // Until it is empty, the WAL is a trap for a file that a script moves into place. So each poll asks
    // whether the application has closed the database, which costs a microsecond.
    const hasJustClosed = quietMs >= FIRST_REST_MS && index?.mxFrame !== 0 && isAlone(live);
    if (nowMs < this.#nextRestMs && !hasJustClosed) return null;
    this.#nextRestMs = nowMs + Math.min(REST_INTERVAL_MS_MAX, Math.max(FIRST_REST_MS, quietMs));
    const isOften = nowMs - this.#lastRestMs < REST_PAUSE_MS;
    if (quietMs < (isOften ? REST_QUIET_MS : FIRST_REST_MS)) return null;
    const renewed = renewWalIndexIfUnused(live, this.context.env, index);
    if (renewed !== null) return renewed;
    if (recordRest(live, this.context.env)) return null;
    const outcome = emptyWalIfUnused(live, this.context.env);
    if (outcome.kind === "emptied") {
      this.#lastRestMs = nowMs;
      this.#nextRestMs = nowMs + FIRST_REST_MS;
    }
    return outcome.kind === "re-anchor" ? outcome.reason : null;
  }

  #capture(live: LiveDatabase, nowMs: number, seen: TimedIndex | null, news: FileNews): PollOutcome {
    const outcome = capture(live, this.context.env, seen);
    if (outcome.kind === "nothing") {
      // Without an index, a writer was about to show a commit.
      if (outcome.index !== null) this.#noteWhole(live);
      return QUIET;
    }
    // A capture reads the pinned -wal and no other. Events tell of the other files, or this look has checked
    // all of them before.
    const isKnown = outcome.kind === "captured" && (news === "written" || this.#filesCheckedMs >= nowMs);
    const replaced = isKnown ? null : this.#replacedReasonOrNull(live, nowMs);
    if (replaced !== null) return { kind: "replaced", reason: replaced };
    if (outcome.kind === "re-anchor") return outcome;
    this.#captured(outcome, nowMs);
    this.#noteWhole(live);
    return { kind: "captured", frames: outcome.frameCount };
  }

  #captured({ walStamp }: CaptureOutcome & { kind: "captured" }, nowMs: number): void {
    this.#indexCheck.captured(walStamp);
    this.#lastCaptureMs = nowMs;
    this.#nextRestMs = nowMs + FIRST_REST_MS;
  }

  /** A poll has captured everything that was committed when it began. */
  #noteWhole({ state }: LiveDatabase): void {
    const requests = this.#requests;
    if (requests?.isOpen !== true || state === null) return;
    requests.isOpen = false;
    requests.whole = { txid: state.txid, generation: requests.generation };
  }

  /** Whether captures wait for the store: with `--no-cache` they go no further than it has acknowledged. */
  #waitsForUpload(live: LiveDatabase): boolean {
    return !this.context.config.cache.enabled && live.pending.length > 0;
  }

  #replacedReasonOrNull(live: LiveDatabase, nowMs: number): string | null {
    this.#filesCheckedMs = nowMs;
    const changed = live.pin.changedFile();
    return changed === "none" ? null : `the ${changed} file was replaced`;
  }

  /** Captures all commits, then yields to a FULL, RESTART or TRUNCATE checkpoint of the application. */
  #yieldPin(live: LiveDatabase, pin: Pin): void {
    const { env } = this.context;
    let outcome: CaptureOutcome | null = null;
    const isPinned = pin.yieldToCheckpoint(() => {
      outcome = capture(live, env);
    }, env);
    // While the lock was dropped, a restart is expected; the count of commits shows a lost commit.
    const isCaptured = (outcome as CaptureOutcome | null)?.kind !== "re-anchor";
    live.mayRestart = isCaptured && live.changeCount !== null;
    if (!isPinned) live.pinLost = "the pin could not be taken again after a checkpoint by the application";
    env.log.debug("yielded to a checkpoint of the application", { database: this.name });
  }

  /**
   * @param index the wal-index at the begin of the poll
   * @returns why the history has to be anchored anew, or null
   */
  #checkpointIfDue(live: LiveDatabase, pin: Pin, index: WalIndexHeader | null, nowMs: number): string | null {
    if (live.mayRestart) this.#lastCycleMs = nowMs;
    const frames = index?.mxFrame ?? 0; // The whole length counts, captured or not.
    const pace = this.#paceOf(frames, nowMs);
    pace?.saw(frames, nowMs);
    if (index === null || frames === 0 || index.backfilled >= frames) return null;
    if (isCheckpointDue(index, this.#cycleFacts, nowMs)) return this.#checkpoint(live, pin, frames, nowMs);
    this.#checkpointDueMs = nextCycleMs(this.#cycleFacts, nowMs);
    if (frames >= MARK_FRAMES && pin.state === "frozen" && nowMs >= this.#nextMarkMs) {
      this.#nextMarkMs = nowMs + MARK_INTERVAL_MS;
      pin.mark();
    }
    return null;
  }

  /** The pace, while a WAL of some length is written or a long one waits for its checkpoint. */
  #paceOf(frames: number, nowMs: number): CheckpointPace | null {
    const isShort = frames < this.context.config.sync.minCheckpointPageCount / 4;
    if (!isShort) this.#pace ??= new CheckpointPace();
    else if (nowMs - this.#lastCaptureMs > PACE_REST_MS) this.#pace = null;
    return this.#pace;
  }

  #checkpoint(live: LiveDatabase, pin: Pin, frames: number, nowMs: number): string | null {
    const { env, config, emit } = this.context;
    const pace = (this.#pace ??= new CheckpointPace());
    // Beside another wal-index, a checkpoint could destroy commits of that wal-index's writer.
    if (!this.#indexCheck.mayCheckpoint(pin)) return this.#hindered(pace, "unseen");
    const startMs = env.monotonicMs();
    const availableMs = this.#blocking.availableMs(startMs);
    const budgetMs = pace.lockBudgetMs(frames / config.sync.minCheckpointPageCount);
    if (availableMs < Math.min(USEFUL_LOCK_MS, budgetMs)) return this.#hindered(pace, "spent");
    let broken: string | null = null;
    const captureAll = (isLocked: boolean): boolean => {
      if (!isLocked && uncapturedFrames(live, pin.walIndex()) <= LOCKED_CAPTURE_FRAMES) return true;
      const outcome = capture(live, env);
      if (outcome.kind === "re-anchor") broken = outcome.reason;
      if (outcome.kind === "captured") {
        this.#cycleFrames += outcome.frameCount;
        this.#captured(outcome, nowMs);
      }
      return broken === null;
    };
    const truncate = frames > config.sync.walTruncateThresholdPages;
    const cycleOptions = { writeLockTimeoutMs: Math.min(availableMs, budgetMs), truncate };
    const result = countedCycle(pin, captureAll, cycleOptions, this.context);
    const endMs = env.monotonicMs();
    if (broken !== null) return broken;
    recordFile(live);
    if (pin.state === "released") live.pinLost = "the pin could not be taken again after a checkpoint";
    if (result.outcome === "complete") {
      this.#lastCycleMs = nowMs;
      pace.completed(endMs);
      this.#checkpointDueMs = nextCycleMs(this.#cycleFacts, endMs);
      // Under the write lock all frames were captured and then copied, so the next writer restarts the WAL.
      if (result.writeLockHeldMs > 0) live.mayRestart = true;
      const type = result.isTruncated ? "truncate" : "passive";
      const times = { held_ms: result.writeLockHeldMs, duration_ms: endMs - startMs };
      emit({ event: "checkpointed", database: this.name, frames, type, ...times });
      return null;
    }
    const isBusy = result.outcome === "busy";
    if (isBusy) this.#blocking.spent(endMs - startMs);
    return this.#hindered(pace, isBusy ? "busy" : "partial");
  }

  #hindered(pace: CheckpointPace, by: CheckpointObstacle): null {
    const nowMs = this.context.env.monotonicMs();
    pace.hindered(by, nowMs);
    this.#checkpointDueMs = nextCycleMs(this.#cycleFacts, nowMs);
    return null;
  }
}

function isCalm({ kind }: PollOutcome): boolean {
  return kind === "quiet" || kind === "captured";
}

function isAlone({ pin }: LiveDatabase): boolean {
  return !pin.isLockless && pin.state !== "released" && pin.isAlone();
}
