/**
 * The record of one watched database between two looks, and the facts that `planLook` reads from it. Only the
 * watcher assigns its fields. Uploads read from the record whether the chain may change.
 */
import { existsSync } from "node:fs";
import { hasCode, type WalrustError } from "../../errors.ts";
import { needsFollowing } from "../capture/deleted-capture.ts";
import type { WalPoller } from "../capture/wal-poller.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import type { UpkeepSchedule } from "../upkeep/upkeep-schedule.ts";
import type { ChainHold } from "../upload/spool-merge.ts";
import { UploadHistory } from "../upload/upload-history.ts";
import type { Attachment, LastCapture } from "./attachment.ts";
import type { FilesVerdict, JobKind, LookFacts, Phase, SeenFacts } from "./plan-look.ts";
import type { SetAside } from "./set-aside.ts";
import type { WatcherHealth } from "./watcher-health.ts";
import type { Work } from "./work.ts";

/** An attach that takes longer is reported as a failure. */
export const ATTACH_MS_MAX = 60_000;

/** Nothing failed, and no job is due that reads the files. */
export const UNSUSPECTED: FilesVerdict = { kind: "unsuspected" };
const UNCHECKED: FilesVerdict = { kind: "unchecked" };

/** The flags of a record, one bit each. */
const FLAGS = {
  hasFailed: 1,
  isFileAbsent: 2,
  isSpoolFull: 4,
  wasBucketMissing: 8,
  isPolled: 16,
  isLastCaptureTaken: 32,
  isEndKnown: 64,
  isAwaited: 128,
  hasLeft: 256,
  isClosing: 512,
} as const;

/** One watched database. */
export class WatchRecord implements ChainHold {
  phase: Phase = "watching";
  /** Why the database leaves the watch, or null. */
  leaving: string | null = null;
  /** Set once: another writer, or a failure at start that nothing will mend. */
  stopped: WalrustError | null = null;
  /** The refusals since the database was last attached, if there are any. */
  setAside: SetAside | null = null;

  job: JobKind = "none";
  /** When the job began, on the monotonic clock. */
  jobSinceMs = 0;

  /** The uploads of this process, as the next upload needs to know them. */
  readonly uploads = new UploadHistory();

  /** The files, as checked in this look. */
  files = UNSUSPECTED;
  /** One bit for each of FLAGS: as fields of their own they would take 72 bytes more. */
  #flags = 0;

  constructor(
    readonly target: WatchTarget,
    readonly attachment: Attachment,
    /** When the upkeep of the database is due. */
    readonly upkeep: UpkeepSchedule,
  ) {}

  /** The last look or job failed, and the files are not checked since. */
  get hasFailed(): boolean {
    return this.#has(FLAGS.hasFailed);
  }
  set hasFailed(isSet: boolean) {
    this.#put(FLAGS.hasFailed, isSet);
  }

  /** The file of an attached database is gone, and that is no failure (`isGone`). */
  get isFileAbsent(): boolean {
    return this.#has(FLAGS.isFileAbsent);
  }
  set isFileAbsent(isSet: boolean) {
    this.#put(FLAGS.isFileAbsent, isSet);
  }

  /** Captures are stopped because the spool is full. */
  get isSpoolFull(): boolean {
    return this.#has(FLAGS.isSpoolFull);
  }
  set isSpoolFull(isSet: boolean) {
    this.#put(FLAGS.isSpoolFull, isSet);
  }

  get wasBucketMissing(): boolean {
    return this.#has(FLAGS.wasBucketMissing);
  }
  set wasBucketMissing(isSet: boolean) {
    this.#put(FLAGS.wasBucketMissing, isSet);
  }

  /** The WAL was polled in this look. */
  get isPolled(): boolean {
    return this.#has(FLAGS.isPolled);
  }
  set isPolled(isSet: boolean) {
    this.#put(FLAGS.isPolled, isSet);
  }

  get isLastCaptureTaken(): boolean {
    return this.#has(FLAGS.isLastCaptureTaken);
  }
  set isLastCaptureTaken(isSet: boolean) {
    this.#put(FLAGS.isLastCaptureTaken, isSet);
  }

  /** The last capture has ended well, or its failure is logged. */
  get isEndKnown(): boolean {
    return this.#has(FLAGS.isEndKnown);
  }
  set isEndKnown(isSet: boolean) {
    this.#put(FLAGS.isEndKnown, isSet);
  }

  /** The database is found again after its last capture: a new watcher waits for the end of this one. */
  get isAwaited(): boolean {
    return this.#has(FLAGS.isAwaited);
  }
  set isAwaited(isSet: boolean) {
    this.#put(FLAGS.isAwaited, isSet);
  }

  /** Nothing is left to do but to close the watcher. */
  get hasLeft(): boolean {
    return this.#has(FLAGS.hasLeft);
  }
  set hasLeft(isSet: boolean) {
    this.#put(FLAGS.hasLeft, isSet);
  }

  /** The watcher closes: what still runs is broken off. */
  get isClosing(): boolean {
    return this.#has(FLAGS.isClosing);
  }
  set isClosing(isSet: boolean) {
    this.#put(FLAGS.isClosing, isSet);
  }

  /** The database is not found any more. */
  leave(reason: string): void {
    this.leaving ??= reason;
    this.phase = "leaving";
    this.isFileAbsent = false;
  }

  /** The database is found again: continues, or ends at once so that a new watcher can. */
  comeBack(): void {
    if (this.isLastCaptureTaken) {
      this.isAwaited ||= !this.attachment.isOrphaned;
      return;
    }
    this.leaving = null;
    this.phase = "watching";
  }

  #has(flag: number): boolean {
    return (this.#flags & flag) !== 0;
  }

  #put(flag: number, isSet: boolean): void {
    this.#flags = isSet ? this.#flags | flag : this.#flags & ~flag;
  }

  get isDiscovered(): boolean {
    return this.target.isDiscovered === true;
  }

  /**
   * Whether nothing is at the path, and that is no failure: a glob had found the file, or the deleted file
   * has to be followed.
   */
  get isGone(): boolean {
    if (existsSync(this.target.path)) return false;
    const { live } = this.attachment;
    return this.isDiscovered || (live !== null && needsFollowing(live));
  }

  /** Why the database is set aside, or null. */
  get refused(): WalrustError | null {
    return this.setAside?.error ?? null;
  }

  /** The circumstances of the last capture. */
  lastCapture(mayAttach: boolean, wasAttached: boolean): LastCapture {
    return { mayAttach, wasAttached, isSetAside: this.refused !== null, isSpoolFull: this.isSpoolFull };
  }

  /** Why replication stopped, or why a named database is set aside: alone it keeps no watch running. */
  get givenUp(): WalrustError | null {
    return this.stopped ?? (this.isDiscovered ? null : this.refused);
  }

  /** Whether the database is given up and nothing is being tried. */
  get isIdle(): boolean {
    return this.givenUp !== null && this.job !== "blocking";
  }

  /** Whether pending files may be merged: the history is sound, and no job is at it. */
  get mayMerge(): boolean {
    return this.leaving === null && this.isFree;
  }

  get isJobRunning(): boolean {
    return this.job !== "none";
  }

  /** Whether the history is sound, and no job is at it. */
  get isFree(): boolean {
    return this.job === "none" && this.attachment.anchorReason === null;
  }

  get isChainHeld(): boolean {
    const { anchorReason, adoptReason } = this.attachment;
    return this.job === "blocking" || anchorReason !== null || adoptReason !== null;
  }
}

/** A database without captures for this long is idle. */
const ACTIVE_MS = 10_000;

/**
 * How soon the next look at a database is due. `busy`: there is something to do, or to wait for. `active`:
 * more commits are to be expected soon. `none`: replication has stopped for good.
 */
export type Pace = "busy" | "active" | "idle" | "none";

/**
 * @param work the parts for uploads and upkeep, if there are any
 * @param nowMs the monotonic clock
 */
export function paceOf(
  record: Readonly<WatchRecord>,
  health: Pick<WatcherHealth, "isCalm">,
  snapshots: Pick<Snapshots, "isRequested">,
  work: Pick<Work, "isWaiting"> | null,
  { lastCaptureMs, isRequested }: Pick<WalPoller, "lastCaptureMs" | "isRequested">,
  nowMs: number,
): Pace {
  if (record.stopped !== null) return "none";
  const { attachment, phase, job } = record;
  const isSound =
    attachment.live !== null && attachment.anchorReason === null && attachment.adoptReason === null;
  const isWhole = isSound && !record.hasFailed && !record.isFileAbsent && !record.isSpoolFull;
  const isAtRest = phase === "watching" && job === "none" && !isUploadDue(attachment, work);
  if (!isWhole || !isAtRest || !health.isCalm || snapshots.isRequested || isRequested) return "busy";
  return nowMs - lastCaptureMs < ACTIVE_MS ? "active" : "idle";
}

/** Looks at an idle pace start the check of a bucket without pending files: hundreds may wait for a store. */
function isUploadDue({ captured }: Attachment, work: Pick<Work, "isWaiting"> | null): boolean {
  if (captured === null || captured.pending.length === 0) return false;
  return work?.isWaiting(captured) !== false;
}

/** One record for all looks, which are synchronous: hundreds of databases have their looks. */
const shared = {} as LookFacts;

/** Gathers the facts of this moment. They are valid until the next call. @param nowMs the monotonic clock */
export function gatherFacts(
  record: WatchRecord,
  health: Pick<WatcherHealth, "isWaiting" | "blockedBy">,
  snapshots: Pick<Snapshots, "isDue">,
  nowMs: number,
): Readonly<LookFacts> {
  const { attachment, job, refused } = record;
  const isAttached = attachment.live !== null;
  const { anchorReason, adoptReason } = attachment;
  const isSuspect = record.hasFailed || anchorReason !== null || adoptReason !== null;
  const isAttaching = job === "blocking" && !isAttached && refused === null && health.blockedBy === null;
  shared.phase = record.phase;
  shared.isStopped = record.stopped !== null;
  shared.isGivenUp = record.givenUp !== null;
  shared.isClosing = record.isClosing;
  shared.job = job;
  shared.isAttachSlow = isAttaching && nowMs - record.jobSinceMs >= ATTACH_MS_MAX;
  shared.setAside = refused === null ? "no" : record.setAside?.isDue(nowMs) === true ? "due" : "waiting";
  shared.isAttached = isAttached;
  shared.file = record.isFileAbsent ? (record.isGone ? "absent" : "back") : "in-place";
  shared.isWaiting = health.isWaiting(nowMs);
  shared.isSpoolFull = record.isSpoolFull;
  shared.adoptReason = adoptReason;
  shared.anchorReason = anchorReason;
  shared.files = isSuspect && record.files === UNSUSPECTED ? UNCHECKED : record.files;
  shared.hasDetachedCaptures = attachment.detached !== null;
  shared.hasPending = attachment.hasPending;
  shared.isPolled = record.isPolled;
  shared.isSnapshotDue = record.isPolled && snapshots.isDue(nowMs);
  shared.isLastCaptureTaken = record.isLastCaptureTaken;
  shared.isAwaited = record.isAwaited;
  return shared;
}

/**
 * Gathers what a discovery that finds the database again leads to. @param blockedBy what keeps it uncaptured
 */
export function seenFacts(record: WatchRecord, blockedBy: WalrustError | null): SeenFacts {
  return {
    isDiscovered: record.isDiscovered,
    job: record.job,
    isSetAside: record.refused !== null,
    isFileAbsent: record.isFileAbsent,
    isAttached: record.attachment.live !== null,
    isBusy: hasCode(blockedBy, "database-busy"),
  };
}
