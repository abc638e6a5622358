/**
 * The attachment of one watched database: the live database, or its captured files after a detach; whether
 * the history is sound; and the jobs that change the database or its history. The watcher runs at most one of
 * these jobs at a time. A job that fails rejects, and changes nothing beyond the step that failed.
 *
 * Invariants:
 * 1. An anchor that is due stays due until it is made.
 * 2. The pin is closed before another one is opened on the same path, and the files of the last pin are
 *    remembered: their successors must not be opened with a -wal that belongs to them.
 */
import { existsSync } from "node:fs";
import type { KnownFiles } from "../../database/wal/wal-ownership.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import { asWalrustError, hasCode, type WalrustError } from "../../errors.ts";
import { formatChecksum } from "../../format/ltx.ts";
import { sentRetentionMs } from "../../local/spool-cache.ts";
import { type Attached, adopt } from "../attach/adopt.ts";
import { type AttachResult, attach } from "../attach/attach.ts";
import { detachedCapturesOrNull } from "../attach/detached-captures.ts";
import { unreadReasonOrNull } from "../attach/unread-commits.ts";
import { anchor, type Predecessor } from "../capture/anchor.ts";
import { capture } from "../capture/capture.ts";
import { emptyWalAndRest } from "../capture/empty-wal.ts";
import {
  detectOverwrite,
  judgeMixture,
  lostFilesReasonOrNull,
  OVERWRITTEN,
} from "../capture/file-changes.ts";
import { busyError, captureFrozen } from "../capture/frozen-capture.ts";
import { imageChecksum, type LiveChecksum } from "../capture/image-checksum.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import { FILE_WRITTEN } from "../capture/lockless-poller.ts";
import { setPinCondition } from "../capture/wal-index-check.ts";
import type { WalPoller } from "../capture/wal-poller.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import type { FilesVerdict } from "./plan-look.ts";
import { NO_PROGRESS, type Progress, progressOf } from "./watch-status.ts";

/** An attach that waits longer than this for its store makes room for another. */
const ATTACH_PATIENCE_MS = 2_000;
/** An anchor that takes longer, such as that of a large database, lets another continue when one waits. */
const ANCHOR_TURN_MS = 5_000;
/** Between two attempts of a last capture, and the share of the shutdown timeout that they may take. */
const LAST_RETRY_MS = 20;
const LAST_SHARE = 0.5;

const SOUND: FilesVerdict = { kind: "sound" };
const MIXED: FilesVerdict = { kind: "mixed" };
const REWRITTEN: FilesVerdict = { kind: "replaced", reason: OVERWRITTEN };

/** The part of the context that an attachment uses. */
export type AttachmentContext = Pick<
  WatchContext,
  | "store"
  | "env"
  | "config"
  | "attaches"
  | "anchors"
  | "writers"
  | "closing"
  | "emit"
  | "onImage"
  | "conditions"
  | "namesakeOrNull"
>;

/** An anchor that has to be made before anything else is captured. */
interface DueAnchor {
  readonly before: Predecessor;
  readonly reason: string;
}

/** The circumstances of a last capture. */
export interface LastCapture {
  /** Whether a database whose files were replaced a moment ago may be attached once more. */
  readonly mayAttach: boolean;
  /** Whether the database was attached before. */
  readonly wasAttached: boolean;
  /** Whether the database is set aside, because it cannot be watched. */
  readonly isSetAside: boolean;
  /** Whether captures are stopped because the spool is full. */
  readonly isSpoolFull: boolean;
}

/** The attachment of one database. */
export class Attachment {
  #live: LiveDatabase | null = null;
  #detached: Captured | null = null;
  /** Whether the bucket contradicts the captures that wait. */
  #isDetachedRefused = false;
  #knownFiles: KnownFiles | null = null;
  #anchorDue: DueAnchor | null = null;
  #adoptReason: string | null = null;
  #hasBegun = false;
  /** The progress at the last detach; null before it. */
  #last: Progress | null = null;
  #uncaptured: WalrustError | null = null;
  #wasWatched = false;

  constructor(
    readonly target: AttachTarget,
    readonly context: AttachmentContext,
    readonly poller: WalPoller,
    readonly snapshots: Snapshots,
  ) {}

  /** The database while it is attached. */
  get live(): LiveDatabase | null {
    return this.#live;
  }

  /** Captured files of a database that is gone, or whose file may not be opened. */
  get detached(): Captured | null {
    return this.#detached;
  }

  /** The captures that uploads send: of the attached database, or of a database that is gone. */
  get captured(): Captured | null {
    return this.#live ?? this.#detached;
  }

  /** Whether the database was attached before. */
  get wasAttached(): boolean {
    return this.#last !== null;
  }

  /**
   * How far the history is captured and uploaded; while detached, as it was last known. A state that was
   * given up for the bucket's has the TXID that the due anchor follows.
   */
  get progress(): Progress {
    const last = this.#last ?? NO_PROGRESS;
    const { captured } = this;
    return captured === null ? last : progressOf(captured, last, this.#anchorDue?.before.txid);
  }

  /** Why the last capture has not everything that was committed, or null. */
  get uncaptured(): WalrustError | null {
    return this.#uncaptured;
  }

  /** Whether the database was ever anchored and reported as watched. */
  get wasWatched(): boolean {
    return this.#wasWatched;
  }

  /** Whether captured files wait for their upload. */
  get hasPending(): boolean {
    return (this.captured?.pending.length ?? 0) > 0;
  }

  /** Whether the database is attached, anchored and reported as watched. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Why the history has to be anchored anew before anything else is captured, or null. */
  get anchorReason(): string | null {
    return this.#anchorDue?.reason ?? null;
  }

  /** Why the local state has to be given up for the bucket's, or null. */
  get adoptReason(): string | null {
    return this.#adoptReason;
  }

  /** The bucket contradicts the local state, or the captures that are sent without the database. */
  contradicted(reason: string): void {
    if (this.#live !== null || this.#detached === null) {
      this.#adoptReason = reason;
      return;
    }
    // The next attach judges them.
    const message = `captured files are not sent while the database cannot be opened: ${reason}`;
    this.context.env.log.warn(message, { database: this.target.name });
    this.#detached = null;
    this.#isDetachedRefused = true;
  }

  /** The history is broken: it has to be anchored anew. */
  breakHistory(reason: string): void {
    const before = this.#live?.state ?? null;
    if (before !== null) this.#anchorDue ??= { before, reason };
  }

  /** Checks the files of the attached database. @param hasFailed whether a look or a job failed */
  checkFiles(hasFailed: boolean): FilesVerdict {
    if (this.#live === null) return SOUND;
    const reason = lostFilesReasonOrNull(this.#live, true, hasFailed);
    if (reason !== null) return { kind: "replaced", reason };
    const overwrite = detectOverwrite(this.#live);
    if (overwrite === "mixture") return MIXED;
    return overwrite === "anew" ? REWRITTEN : SOUND;
  }

  /**
   * Keeps the captures that wait of a database whose file may not be opened, or is gone: they are sent all
   * the same. The next failed attach tries again where the disk refuses.
   * @param isClosed whether the file is there
   * @returns the failure of the disk, or null
   */
  keepDetached(isClosed: boolean): unknown {
    if (this.#live !== null || this.#isDetachedRefused) return null;
    try {
      this.#detached ??= detachedCapturesOrNull(this.target, this.context.store.url, isClosed);
      return null;
    } catch (error) {
      return error;
    }
  }

  /** Releases the database. An upload that sends one of its files finds it again after the next attach. */
  detach(): void {
    const live = this.#live;
    if (this.captured !== null) this.#last = this.progress;
    this.#knownFiles = live?.pin.knownFiles() ?? this.#knownFiles;
    live?.log?.settle();
    live?.pin.close();
    if (live !== null) live.pending.length = 0;
    this.#live = null;
    this.#anchorDue = null;
    this.#hasBegun = false;
  }

  // Jobs

  /**
   * Attaches, and makes the anchor that is due then.
   * @param reason why the pin did not hold since the last capture, or null
   * @param until ends the wait for other databases
   */
  async attach(reason: string | null, until: AbortSignal): Promise<void> {
    const { attaches, store, env, writers, conditions, config } = this.context;
    const work = async (): Promise<AttachResult> => {
      // Hundreds may wait: each leaves the others a turn.
      if (attaches.isContended) await env.turn();
      until.throwIfAborted();
      const namesake = await this.context.namesakeOrNull?.(this.target, until);
      if (namesake) throw namesake;
      const { hasUnseenCommits } = this.poller;
      return attach(this.target, store, env, { files: this.#knownFiles, hasUnseenCommits, writers });
    };
    const attached = await attaches.runPatiently(work, ATTACH_PATIENCE_MS, env, until);
    const { live } = attached;
    // Without copies of uploaded files, each has a file of its own, which its upload removes.
    live.usesLogs = sentRetentionMs(config.cache) > 0;
    if (this.#detached !== null) takeSentOver(live, this.#detached);
    this.#live = live;
    this.#detached = null;
    this.#isDetachedRefused = false;
    setPinCondition(attached.condition, conditions);
    if (reason !== null) live.pinLost = reason;
    await this.#settle(attached);
  }

  /** Gives the local state up for the bucket's. No upload may run. */
  async adopt(): Promise<void> {
    if (this.#live === null) return;
    const { store, env } = this.context;
    const adopted = await adopt(this.#live, store, env, this.#adoptReason ?? "");
    // Adopted it is from here on: an anchor that fails is due again, after a check of the files.
    this.#adoptReason = null;
    await this.#settle(adopted);
  }

  /** Does what attaching or adopting asked for: an anchor, a snapshot. */
  async #settle({ live, anchor, needsSnapshot }: Attached): Promise<void> {
    this.#anchorDue = anchor;
    if (needsSnapshot) this.snapshots.request("the bucket lost objects");
    await this.anchorAndBegin();
    if (live.state !== null) this.context.writers.add(live.name, live.state.writer);
  }

  /** Makes the anchor that is due, if any; from the first one on the database is watched. */
  async anchorAndBegin(): Promise<void> {
    await this.#anchorIfDue();
    const live = this.#live;
    if (live === null || this.#hasBegun) return;
    this.#hasBegun = true;
    this.#wasWatched = true;
    this.snapshots.begin(live);
    const { name, path } = this.target;
    this.context.emit({ event: "watching", database: name, path, txid: live.state?.txid ?? 0 });
  }

  /** @throws WalrustError code "database-busy", retryable, when the database cannot be read yet */
  async #anchorIfDue(): Promise<void> {
    const { env, emit, anchors, closing } = this.context;
    const live = this.#live;
    const due = this.#anchorDue;
    if (live === null || due === null) return;
    this.#repin(live);
    const before = predecessorOf(due, live);
    const { name } = this.target;
    const work = (turn: () => Promise<void>) =>
      anchor(live, before, env, closing.signal, (doneBytes, totalBytes) => {
        this.context.onImage?.(name, doneBytes, totalBytes);
        return turn();
      });
    const outcome = await anchors.runInTurns(work, ANCHOR_TURN_MS, env, closing.signal);
    if (outcome.kind === "later") throw busyError(live, outcome.reason);
    this.#anchorDue = null;
    // An anchor that found nothing new explains no change of the WAL.
    if (outcome.kind === "unchanged") return;
    this.poller.anchored(env.monotonicMs());
    if (outcome.mode === "first") return this.snapshots.begun();
    this.snapshots.captured(outcome.pageCount);
    const database = this.target.name;
    const what = `re-anchored with ${outcome.pageCount} pages (${outcome.mode})`;
    // Without locks a difference is the rule, and a condition says so.
    env.log[live.pin.isLockless ? "debug" : "warn"](`${what}: ${due.reason}`, { database });
    emit({ event: "re-anchored", database, txid: before.txid + 1, reason: due.reason });
  }

  /**
   * Takes the pin again that was released while an anchor failed: only then can the file be frozen.
   * @throws WalrustError code "database-busy", or as `Pin.repin` does; after a replacement of the files the
   * next look attaches anew
   */
  #repin(live: LiveDatabase): void {
    const { pin } = live;
    if (pin.isLockless || pin.state !== "released" || pin.repin(this.context.env)) return;
    if (pin.changedFile() !== "none") this.detach();
    throw busyError(live, "the pin cannot be taken again");
  }

  /** Compares an overwritten file with the page sums. @throws as `judgeMixture` */
  async judgeMixture(): Promise<void> {
    if (this.#live !== null) await judgeMixture(this.#live, this.context.env);
  }

  /** Takes the snapshot that is due. @returns why it could not be taken, or null */
  async takeSnapshot(): Promise<unknown> {
    const live = this.#live;
    if (live === null || live.state === null) return null;
    const outcome = await this.snapshots.take(live);
    if (outcome.kind === "taken" || this.context.closing.isClosed) return null;
    if (outcome.anchorReason !== null) this.breakHistory(outcome.anchorReason);
    return outcome.error;
  }

  /**
   * Reads the whole live database under a freeze.
   * @returns its checksum, or null when there is nothing to read
   * @throws WalrustError code "database-busy", retryable, when it cannot be read now
   */
  async readChecksum(): Promise<LiveChecksum | null> {
    const { env, anchors } = this.context;
    const { signal } = this.context.closing;
    const live = this.#live;
    if (live === null || live.state === null) return null;
    const frozen = captureFrozen(live, env);
    if (frozen.kind === "re-anchor") {
      this.breakHistory(frozen.reason);
      throw busyError(live, frozen.reason);
    }
    const { txid } = live.state;
    const checksum = await anchors.run(() => imageChecksum(live, frozen.index, env, signal), signal);
    return { txid, checksum: formatChecksum(checksum) };
  }

  // The end

  /**
   * Takes the last capture, and releases the pin before the uploads: the application must not wait for the
   * store. Where the database cannot be attached, only what was captured before is left to send.
   * @returns what went wrong, in order
   */
  async takeLast(last: LastCapture): Promise<unknown[]> {
    const { mayAttach, isSpoolFull } = last;
    const failures: unknown[] = [];
    try {
      if (mayAttach) await this.#onceFree(() => this.#attachForLast(last));
    } catch (error) {
      failures.push(error);
      this.#leaveUncaptured(error);
    }
    const live = this.#live;
    if (live === null) {
      const refused = this.keepDetached(failures.length > 0 || this.context.conditions.has("foreign-wal"));
      return refused === null ? failures : [...failures, refused];
    }
    try {
      await this.#onceFree(() => this.#captureLast(live, !isSpoolFull));
      if (!isSpoolFull) await this.#rest(live);
      const unread = unreadReasonOrNull(live, this.anchorReason, this.context.env);
      if (unread !== null) this.#leaveUncaptured(unread);
    } catch (error) {
      failures.push(error);
      this.#leaveUncaptured(error);
    }
    this.#live?.pin.release();
    return failures;
  }

  /** Tries again while somebody is at the database for a moment. The uploads need the rest of the time. */
  async #onceFree(work: () => Promise<void>): Promise<void> {
    const { env, closing, config } = this.context;
    const untilMs = env.monotonicMs() + config.sync.shutdownTimeoutMs * LAST_SHARE;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const isOver = closing.isClosed || env.monotonicMs() >= untilMs;
        if (isOver || !hasCode(error, "database-busy")) throw error;
        await env.sleep(LAST_RETRY_MS, closing.signal);
      }
    }
  }

  #leaveUncaptured(error: unknown): void {
    const { env, closing } = this.context;
    if (closing.isClosed) return;
    const failure = asWalrustError(error);
    this.#uncaptured = failure;
    env.log.warn(`what was committed last is not captured: ${failure.message}`, {
      database: this.target.name,
      hint: failure.hint ?? "The next watch captures it, if the database is still there",
    });
  }

  /**
   * Attaches a database once more whose files were replaced, or whose state was deleted, a moment ago, and a
   * database whose first attach the end of the watch has cut off.
   */
  async #attachForLast({ wasAttached, isSetAside }: LastCapture): Promise<void> {
    const live = this.#live;
    const { closing } = this.context;
    let reason = wasAttached ? "it was not attached" : null;
    if (live !== null) {
      reason = lostFilesReasonOrNull(live, true, true);
      if (reason === null) return;
      this.#captureMoved(live);
    } else if (!wasAttached && isSetAside) return;
    if (closing.isClosed || !existsSync(this.target.path)) return;
    this.detach();
    await this.attach(reason, closing.signal);
  }

  /** Captures the last commits of a file that was moved away, as long as its WAL lies at its path. */
  #captureMoved(live: LiveDatabase): void {
    const { pin } = live;
    const isMoved = !pin.isLockless && pin.changedFile() === "database" && pin.isWalInPlace();
    const isSound = this.#anchorDue === null && pin.state !== "released";
    if (isMoved && isSound) capture(live, this.context.env);
  }

  /** @param mayAnchor whether the spool has room for an anchor */
  async #captureLast(live: LiveDatabase, mayAnchor: boolean): Promise<void> {
    if (live.pin.changedFile() === "database") return this.#captureMoved(live);
    if (this.#anchorDue === null) {
      // The frames of a WAL that was checkpointed and deleted since the last poll are in the file alone.
      const isWritten = live.pin.isLockless && live.pin.writtenFile() === "database";
      if (isWritten) this.breakHistory(FILE_WRITTEN);
      else {
        const outcome = capture(live, this.context.env);
        if (outcome.kind !== "re-anchor") return;
        this.breakHistory(outcome.reason);
      }
    }
    if (mayAnchor) await this.#anchorIfDue();
  }

  /** Empties the WAL of a soundly captured database, if nobody else has it open. */
  async #rest(live: LiveDatabase): Promise<void> {
    const isSound = this.#anchorDue === null && this.#adoptReason === null;
    if (isSound && !this.context.closing.isClosed) await emptyWalAndRest(live, this.context.env);
  }

  /**
   * Whether ending now would orphan captured files: the local state that leads to them is gone with its
   * folder, and the spool lies in the cache folder. A watcher that begins anew there would drop them.
   */
  get isOrphaned(): boolean {
    const isState = existsSync(this.target.paths.statePath);
    return !isState && this.captured?.pending.some(({ path }) => existsSync(path)) === true;
  }
}

/**
 * The state that a due anchor follows. An earlier attempt may have reached the next TXID before it failed: a
 * second file must not have that TXID.
 */
function predecessorOf({ before }: DueAnchor, { state }: LiveDatabase): Predecessor {
  return state !== null && state.txid > before.txid ? state : before;
}

/**
 * Takes over which captures still wait: since the attach has read them, some were sent without the database.
 * No merge takes such captures in. An upload that still sends one ends with it.
 */
function takeSentOver(live: LiveDatabase, { state, pending, acknowledged }: Captured): void {
  if (live.state === null || live.state.txid !== state?.txid || live.state.chain !== state.chain) return;
  live.pending.splice(0, live.pending.length, ...pending.splice(0));
  live.acknowledged = acknowledged;
}
