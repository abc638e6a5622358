/**
 * Decides the next step of one watched database: a pure function from facts to an action with its reason.
 * Watching, leaving (discovery no longer finds the database while others are watched) and ending (the watch
 * drains) are phases of one machine.
 *
 *     watching --- discovery finds the database no more ---> leaving --- found again in time ---> watching
 *     watching, leaving --- the watch ends ---> ending
 *     leaving, ending --- nothing is left to send, or nothing can be sent ---> the watcher closes
 *
 * The watcher gathers the facts, carries the action out, folds the outcome into its state, and plans again
 * until a step ends the look. Only `poll` and `check-files` continue a look, and each runs once in a look.
 *
 * Invariants, which a test holds over all combinations of facts:
 * 1. No job starts while a job runs, and no image is read on a broken history.
 * 2. Nothing reads a database that is not attached, or whose files are replaced or mixed.
 * 3. After a failure nothing is tried until the wait is over, except what relieves the application or sends
 *    captured files.
 */

/** The phase of one watched database. */
export type Phase = "watching" | "leaving" | "ending";

/**
 * The effect of a job on captures. A `reading` job leaves captured files as they are, so captures continue
 * beside it. A `blocking` job replaces files that captures rely on.
 */
export type JobKind = "none" | "reading" | "blocking";

/** The database's files after a failure, or before a job that reads them. */
export type FilesVerdict =
  /** Nothing failed, and no job is due that reads the files. */
  | { readonly kind: "unsuspected" }
  /** Something failed, or a job is due: the files are to be checked first. */
  | { readonly kind: "unchecked" }
  | { readonly kind: "sound" }
  /** The database file was overwritten, and its WAL may hold pages of the old content. */
  | { readonly kind: "mixed" }
  /** Only attaching again helps. */
  | { readonly kind: "replaced"; readonly reason: string };

/** Everything that the next step depends on. */
export interface LookFacts {
  phase: Phase;
  /** Replication stopped for good. */
  isStopped: boolean;
  /** Replication stopped for good, or a named database is set aside. */
  isGivenUp: boolean;
  /** The watcher is closing: what still runs is broken off. */
  isClosing: boolean;
  job: JobKind;
  /** An attach has run for a minute, and no failure is reported that explains it. */
  isAttachSlow: boolean;
  /** The first attach failed for a reason that may pass; `due`: time to try again. */
  setAside: "no" | "waiting" | "due";
  isAttached: boolean;
  /** The file of a glob's find, or one that is deleted while in use: absent, or back at its path. */
  file: "in-place" | "absent" | "back";
  /** The wait after a failure is not over. */
  isWaiting: boolean;
  /** Captures are stopped because the spool is full. */
  isSpoolFull: boolean;
  /** Why the local state has to be given up for the bucket's. */
  adoptReason: string | null;
  /** Why the history has to be anchored anew before anything else is captured. */
  anchorReason: string | null;
  files: FilesVerdict;
  /** Captured files of a database that is not attached. */
  hasDetachedCaptures: boolean;
  /** Captured files wait for their upload. */
  hasPending: boolean;
  /** The WAL was polled in this look. */
  isPolled: boolean;
  isSnapshotDue: boolean;
  /** The last capture of a leaving or ending database is taken. */
  isLastCaptureTaken: boolean;
  /** The database is found again after its last capture: a new watcher waits for the end of this one. */
  isAwaited: boolean;
}

/** The next step. Every action carries its reason. */
export type LookAction =
  /** Nothing until the next look. */
  | { readonly kind: "rest"; readonly reason: string }
  | { readonly kind: "report-slow-attach"; readonly reason: string }
  /** Attaches for the first time, or after a failed attach. */
  | { readonly kind: "attach"; readonly reason: string }
  /** Detaches and attaches again. */
  | { readonly kind: "reattach"; readonly reason: string }
  | { readonly kind: "adopt"; readonly reason: string }
  | { readonly kind: "check-files"; readonly reason: string }
  /** Compares an overwritten file with the page sums. */
  | { readonly kind: "judge-mixture"; readonly reason: string }
  | { readonly kind: "anchor"; readonly reason: string }
  /** Releases the pin if holding it hurts the application. */
  | { readonly kind: "relieve"; readonly reason: string }
  /** Releases the pin in any case, and sends what waits. */
  | { readonly kind: "release"; readonly reason: string }
  /** Sends what waits; `isLastChance`: at once, without the waits after failures. */
  | { readonly kind: "send"; readonly reason: string; readonly isLastChance: boolean }
  /** Captures what an application still commits into a deleted file, and sends what waits. */
  | { readonly kind: "follow-deleted"; readonly reason: string }
  /** Captures what is committed, then sends and keeps up what is due. */
  | { readonly kind: "poll"; readonly reason: string }
  | { readonly kind: "snapshot"; readonly reason: string }
  /** `mayAttach`: a database whose files were replaced a moment ago is attached once more. */
  | { readonly kind: "last-capture"; readonly reason: string; readonly mayAttach: boolean }
  /** Nothing is left to do but to close the watcher. */
  | { readonly kind: "leave"; readonly reason: string };

// Actions without a reason of their own are made once: hundreds of databases have their looks.
const STOPPED: LookAction = { kind: "rest", reason: "replication is stopped" };
const JOB_RUNS: LookAction = { kind: "rest", reason: "a job runs" };
const SLOW_ATTACH: LookAction = { kind: "report-slow-attach", reason: "the attach does not end" };
const SET_ASIDE: LookAction = { kind: "rest", reason: "the database cannot be watched yet" };
const RETRY_ASIDE: LookAction = { kind: "attach", reason: "it may be possible to watch the database now" };
const ABSENT: LookAction = { kind: "rest", reason: "the file is gone" };
const ABSENT_SEND: LookAction = { kind: "send", reason: "the file is gone", isLastChance: false };
const FOLLOW: LookAction = { kind: "follow-deleted", reason: "the file is gone" };
const BACK: LookAction = { kind: "reattach", reason: "the database file was replaced" };
const WAITING: LookAction = { kind: "rest", reason: "the wait after a failure is not over" };
const RELIEVE: LookAction = { kind: "relieve", reason: "nothing can be captured at present" };
const SEND_DETACHED: LookAction = {
  kind: "send",
  reason: "the database is not attached",
  isLastChance: false,
};
const ATTACH: LookAction = { kind: "attach", reason: "the database is not attached" };
const CHECK_FILES: LookAction = { kind: "check-files", reason: "something failed, or a job reads the files" };
const JUDGE: LookAction = { kind: "judge-mixture", reason: "the file may not belong to its WAL" };
const RELEASE: LookAction = { kind: "release", reason: "the spool is full" };
const POLL: LookAction = { kind: "poll", reason: "the database is attached" };
const SNAPSHOT: LookAction = { kind: "snapshot", reason: "a snapshot is due" };
const DONE: LookAction = { kind: "rest", reason: "everything due is done" };
const LEAVE_GIVEN_UP: LookAction = { kind: "leave", reason: "replication is given up" };
const LEAVE_CLOSING: LookAction = { kind: "leave", reason: "the time for the drain is over" };
const LEAVE_AWAITED: LookAction = { kind: "leave", reason: "a new watcher continues from the spool" };
const LEAVE_DONE: LookAction = { kind: "leave", reason: "nothing is left to send" };
const LEAVE_ADOPT: LookAction = { kind: "leave", reason: "the bucket contradicts what is left to send" };
const LAST_LEAVING: LookAction = { kind: "last-capture", reason: "the database is gone", mayAttach: false };
const LAST_ENDING: LookAction = { kind: "last-capture", reason: "the watch ends", mayAttach: true };
const SEND_LEAVING: LookAction = { kind: "send", reason: "captured files wait", isLastChance: false };
const SEND_ENDING: LookAction = { kind: "send", reason: "the watch ends", isLastChance: true };

/** Decides the next step. */
export function planLook(facts: Readonly<LookFacts>): LookAction {
  if (facts.phase !== "watching") return planEnd(facts, facts.phase === "ending");
  const { job, isAttached, file } = facts;
  if (facts.isStopped) return STOPPED;
  if (job === "blocking") return facts.isAttachSlow ? SLOW_ATTACH : JOB_RUNS;
  if (facts.setAside !== "no") return facts.setAside === "due" && job === "none" ? RETRY_ASIDE : SET_ASIDE;
  if (file === "back" && job === "none") return BACK;
  if (file !== "in-place") {
    if (!isAttached || facts.adoptReason !== null) return ABSENT;
    // Beside another file the -wal at the path may be that file's.
    const mayFollow = file === "absent" && !facts.isWaiting && facts.anchorReason === null;
    return mayFollow ? FOLLOW : ABSENT_SEND;
  }
  if (facts.isWaiting) return planWait(facts);
  const dueJob = job === "none" ? planJobOrNull(facts) : null;
  if (dueJob !== null) return dueJob;
  if (!isAttached) return JOB_RUNS;
  if (facts.isSpoolFull) return RELEASE;
  if (!facts.isPolled) return POLL;
  // Last, and on a sound history only: a snapshot that cannot be taken holds nothing else up.
  const maySnapshot = job === "none" && facts.anchorReason === null;
  return maySnapshot && facts.isSnapshotDue ? SNAPSHOT : DONE;
}

/** A failure is waited out: the application comes before its backup. */
function planWait({ isAttached, job, hasDetachedCaptures }: Readonly<LookFacts>): LookAction {
  if (isAttached) return job === "none" ? RELIEVE : WAITING;
  return hasDetachedCaptures ? SEND_DETACHED : WAITING;
}

/** The job that comes before any poll of the WAL, or null. */
function planJobOrNull({
  isAttached,
  adoptReason,
  files,
  anchorReason,
}: Readonly<LookFacts>): LookAction | null {
  if (!isAttached) return ATTACH;
  if (files.kind === "unchecked") return CHECK_FILES;
  if (files.kind === "replaced") return { kind: "reattach", reason: files.reason };
  // Only the local state can judge a mixture, and adopting drops the state.
  if (files.kind === "mixed") return JUDGE;
  if (adoptReason !== null) return { kind: "adopt", reason: adoptReason };
  return anchorReason === null ? null : { kind: "anchor", reason: anchorReason };
}

function planEnd(facts: Readonly<LookFacts>, isEnding: boolean): LookAction {
  if (facts.isGivenUp) return LEAVE_GIVEN_UP;
  if (facts.isAwaited) return LEAVE_AWAITED;
  if (facts.isClosing) return LEAVE_CLOSING;
  if (facts.job !== "none") return JOB_RUNS;
  if (!facts.isLastCaptureTaken) return isEnding ? LAST_ENDING : LAST_LEAVING;
  if (!facts.hasPending) return LEAVE_DONE;
  if (facts.adoptReason !== null) return LEAVE_ADOPT;
  return isEnding ? SEND_ENDING : SEND_LEAVING;
}

/** The facts that the next step depends on when a discovery finds a database again. */
export interface SeenFacts {
  /** A glob found the database; false for a database that is named. */
  readonly isDiscovered: boolean;
  readonly job: JobKind;
  readonly isSetAside: boolean;
  readonly isFileAbsent: boolean;
  readonly isAttached: boolean;
  /** Somebody else is at the database, so it cannot be attached. */
  readonly isBusy: boolean;
}

/** Decides the step after a discovery has found a database again. A named database retries by itself. */
export function planSeen(facts: SeenFacts): "nothing" | "attach" | "report-absent" | "report-busy" {
  if (!facts.isDiscovered || facts.job === "blocking") return "nothing";
  if (facts.isSetAside) return facts.job === "none" ? "attach" : "nothing";
  if (facts.isFileAbsent) return "report-absent";
  return !facts.isAttached && facts.isBusy ? "report-busy" : "nothing";
}
