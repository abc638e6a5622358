/**
 * The watcher of one database: attaches it, keeps its WAL, anchors, takes snapshots, uploads and maintains,
 * and gets over every failure by itself except another writer.
 *
 * Invariants:
 * 1. At most one job (attach, anchor, snapshot, adopt) runs at a time. No capture and no checkpoint runs
 *    beside one, but for a snapshot, beside which captures go on. Uploads and upkeep run beside everything.
 * 2. `look` is synchronous and short; nothing is held per database, no timer and no promise, when nothing
 *    happens.
 * 3. An anchor that is due stays due until it is done: nothing is captured on a broken history.
 */
import { errorMessage, hasCode, WalrustError } from "../errors.ts";
import type { WalIndexHeader } from "../format/wal-index.ts";
import { anchor, type Predecessor } from "./anchor.ts";
import { type Attached, adopt, attach } from "./attach.ts";
import { capture } from "./capture.ts";
import { DatabaseRequests, type RequestHost } from "./database-requests.ts";
import { DatabaseSnapshots } from "./database-snapshots.ts";
import { DatabaseUpkeep } from "./database-upkeep.ts";
import { asWalrustError, FailureTracker, RetryPause } from "./failure-tracker.ts";
import { goneReasonOrNull, letGoIfHurting } from "./hardship.ts";
import type { LiveDatabase } from "./live-database.ts";
import type { DatabaseState } from "./state.ts";
import { UploadLanes } from "./upload-lanes.ts";
import { type LookOutcome, WalKeeper } from "./wal-keeper.ts";
import type { AttachTarget, WatchContext } from "./watch-types.ts";

const ACTIVE_MS = 10_000;
const DRAIN_PAUSE_MS = 250;

/** One watched database: `start`, then `look` again and again, then `finish` and `close`. */
export class DatabaseWatcher {
  live: LiveDatabase | null = null;
  /** Set once: another writer, or a failure at start that nothing will mend. */
  stopped: WalrustError | null = null;

  readonly #failures: FailureTracker;
  readonly #keeper: WalKeeper;
  readonly #snapshots: DatabaseSnapshots;
  readonly #upkeep: DatabaseUpkeep;
  readonly #pause = new RetryPause();
  readonly #aborter = new AbortController();
  readonly #uploads: UploadLanes;
  /** What other processes may ask. */
  readonly requests: DatabaseRequests;
  #job: Promise<void> | null = null;
  #isSnapshotting = false;
  #hasFailed = false;
  #isPaused = false;
  #wasBucketMissing = false;
  #anchorDue: { readonly before: Predecessor; readonly reason: string } | null = null;
  #adoptReason: string | null = null;
  #pendingAtClose: number | null = null;

  constructor(
    readonly target: AttachTarget,
    readonly context: WatchContext,
  ) {
    const { env, emit } = context;
    this.#failures = new FailureTracker(target.name, env, emit);
    this.#keeper = new WalKeeper(target.name, context);
    this.#snapshots = new DatabaseSnapshots(target.name, context);
    this.#upkeep = new DatabaseUpkeep(target.name, context, this.#aborter.signal);
    this.requests = new DatabaseRequests(this.#requestHost());
    this.#uploads = new UploadLanes(context, this.#aborter.signal, {
      drained: () => {
        // Whatever took the bucket away may have taken what was in it.
        if (this.#wasBucketMissing) this.#snapshots.ask("the bucket had been missing");
        this.#wasBucketMissing = false;
        if (this.#snapshots.takeRetention(this.live)) this.#upkeep.requestRetention();
        this.#healedIfDrained();
      },
      adopt: (reason) => {
        this.#adoptReason = reason;
      },
      failed: (error) => {
        this.#wasBucketMissing ||= hasCode(error, "missing-bucket");
        this.#say(error);
      },
    });
  }

  get name(): string {
    return this.target.name;
  }

  /** Captured files that are not in the bucket. */
  get pendingCount(): number {
    return this.#pendingAtClose ?? this.live?.pending.length ?? 0;
  }

  /** Whether something was captured in the last seconds, so that more is to be expected soon. */
  isActive(nowMs: number): boolean {
    return nowMs - this.#keeper.lastCaptureMs < ACTIVE_MS;
  }

  /**
   * The first attach. What nothing will mend by itself (no such file, not in WAL mode, locked, wrong
   * credentials) stops this database; anything else is tried again.
   */
  start(signal: AbortSignal): void {
    this.#run(async () => {
      if (signal.aborted) return;
      try {
        await this.#attach();
      } catch (error) {
        if (!(error instanceof WalrustError) || error.retryable) throw error;
        this.stop(error);
      }
    });
  }

  /** One look: does what is due now. @param nowMs the monotonic clock */
  look(nowMs: number): void {
    if (this.stopped !== null) return;
    if (this.#job !== null && !this.#isSnapshotting) return;
    if (!this.#pause.isOver(nowMs)) return this.#endure();
    if (this.#job === null && this.#startDueJob()) return;
    const { live } = this;
    if (live === null) return;
    if (this.#isPaused) return this.#lookPaused(live, nowMs);
    try {
      const limits = { mayCheckpoint: this.#job === null, isUrgent: false };
      this.#handle(this.#keeper.look(live, nowMs, limits));
    } catch (error) {
      this.#fail(error);
    }
    this.#uploads.startDue(live, nowMs);
    this.#upkeep.startDue(live, nowMs);
    this.#startSnapshotIfDue(nowMs);
  }

  /** After everything else, and only on a sound history: a snapshot that cannot be taken holds nothing up. */
  #startSnapshotIfDue(nowMs: number): void {
    const isFree = this.#job === null && this.#anchorDue === null && this.live !== null;
    if (isFree && this.#snapshots.isDue(nowMs)) this.#runSnapshot();
  }

  /** Captures stop and the pin is let go, or go on: the spool has reached its limit, or has room again. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    const { log } = this.context.env;
    const database = this.name;
    if (isPaused) {
      log.warn("the captured files have reached --cache-max-size; capture stops until some are uploaded", {
        database,
      });
    } else log.info("captured files have room again; capture goes on with a difference", { database });
  }

  /** Whether pending files may be merged: no upload is at one of them. */
  get mayMerge(): boolean {
    return this.#job === null && this.#anchorDue === null;
  }

  /** Uploads go on; the database is let go of. */
  #lookPaused(live: LiveDatabase, nowMs: number): void {
    if (this.#job === null && live.pin.state !== "released") {
      live.pin.release();
      live.pinLost = "capture had stopped because the spool was full";
    }
    this.#uploads.startDue(live, nowMs);
  }

  /** Nothing is tried again yet after a failure. */
  #endure(): void {
    if (this.live !== null && this.#job === null) letGoIfHurting(this.live, this.context, this.name);
  }

  /** Starts the job that comes before any look at the WAL. @returns whether one was started */
  #startDueJob(): boolean {
    const isReading = this.#anchorDue !== null;
    const gone = this.live && goneReasonOrNull(this.live, isReading, this.#hasFailed);
    this.#hasFailed = false;
    if (this.live === null) this.#run(() => this.#attach());
    else if (this.#adoptReason !== null) this.#run(() => this.#adopt());
    else if (gone !== null) this.#attachAgain(gone);
    else if (this.#anchorDue !== null) this.#run(() => this.#anchor());
    else return false;
    return true;
  }

  #attachAgain(reason: string): void {
    this.context.env.log.warn(`${reason}; pinning again`, { database: this.name });
    this.#detach();
    this.#run(() => this.#attach(reason));
  }

  #handle(outcome: LookOutcome): void {
    if (outcome.kind === "captured") {
      this.#snapshots.captured(outcome.frames);
      this.#healedIfDrained();
    } else if (this.#job !== null) {
      // A snapshot is being written: what is broken is found again when it is done.
      return;
    } else if (outcome.kind === "replaced") {
      return this.#attachAgain(outcome.reason);
    } else if (outcome.kind === "re-anchor") {
      const before: DatabaseState | null = this.live?.state ?? null;
      if (before !== null) this.#anchorDue = { before, reason: outcome.reason };
    }
  }

  /** Lets go of the database. What an upload was sending is found again by the next attach. */
  #detach(): void {
    this.live?.pin.close();
    if (this.live !== null) this.live.pending.length = 0;
    this.live = null;
    this.#anchorDue = null;
  }

  // Jobs

  #run(job: () => Promise<void>): void {
    this.#job = job()
      .then(() => this.#pause.reset())
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#job = null;
        this.#isSnapshotting = false;
      });
  }

  async #attach(reason: string | null = null): Promise<void> {
    const { attaches, store, env, emit } = this.context;
    const attached = await attaches.run(() => attach(this.target, store, env));
    const { live } = attached;
    this.live = live;
    if (reason !== null) live.pinLost = reason;
    await this.#settle(attached);
    this.#snapshots.begin(live);
    emit({ event: "watching", database: this.name, path: this.target.path, txid: live.state?.txid ?? 0 });
  }

  async #adopt(): Promise<void> {
    await this.#uploads.done();
    const { live } = this;
    if (live === null) return;
    await this.#settle(await adopt(live, this.context.store, this.context.env, this.#adoptReason ?? ""));
    this.#adoptReason = null;
  }

  /** Does what attaching or adopting asked for: an anchor, a snapshot. */
  async #settle(attached: Attached): Promise<void> {
    this.#anchorDue = attached.anchor;
    if (this.#anchorDue !== null) await this.#anchor();
    if (attached.needsSnapshot) this.#snapshots.ask("the bucket lost objects");
    this.#healedIfDrained();
  }

  async #anchor(): Promise<void> {
    const { env, emit, anchors } = this.context;
    const { live } = this;
    const due = this.#anchorDue;
    if (live === null || due === null) return;
    const outcome = await anchors.run(() => anchor(live, due.before, env));
    if (outcome.kind === "later") throw busy(live, outcome.reason);
    this.#anchorDue = null;
    this.#keeper.anchored(env.monotonicMs());
    if (outcome.kind === "unchanged") return;
    if (outcome.mode === "first") return this.#snapshots.begun();
    this.#snapshots.captured(outcome.pageCount);
    const what = `re-anchored with ${outcome.pageCount} pages (${outcome.mode})`;
    env.log.warn(`${what}: ${due.reason}`, { database: this.name });
    emit({ event: "re-anchored", database: this.name, txid: due.before.txid + 1, reason: due.reason });
  }

  /** Takes the snapshot that is due; captures go on while it is written. */
  #runSnapshot(): void {
    this.#isSnapshotting = true;
    this.#run(async () => {
      const { live } = this;
      const state = live?.state;
      if (live === null || !state) return;
      try {
        await this.#snapshots.take(live, () => this.#captureFrozen(live, live.state ?? state));
      } catch (error) {
        // The database is not what was captured: a difference brings the history back to it.
        const isOther = live.state !== null && hasCode(error, "integrity");
        if (isOther) this.#anchorDue ??= { before: live.state ?? state, reason: errorMessage(error) };
        this.#say(error);
      }
    });
  }

  /** Captures up to now under a freeze. @returns the wal-index that an image can be read at */
  #captureFrozen(live: LiveDatabase, state: DatabaseState): WalIndexHeader {
    if (!live.pin.freeze()) throw busy(live, "a checkpoint is running");
    const outcome = capture(live, this.context.env);
    if (outcome.kind === "re-anchor") {
      this.#anchorDue = { before: state, reason: outcome.reason };
      throw busy(live, outcome.reason);
    }
    if (outcome.index === null) throw busy(live, "the wal-index is being changed");
    return outcome.index;
  }

  /** What a request may see and start. */
  #requestHost(): RequestHost {
    return {
      path: this.target.path,
      context: this.context,
      signal: this.#aborter.signal,
      upkeep: this.#upkeep,
      live: () => this.live,
      stopped: () => this.stopped,
      snapshotTaken: () => this.#snapshots.taken,
      askForSnapshot: () => {
        this.#snapshots.ask("requested");
      },
      isReady: () => this.#job === null && this.live?.state != null && this.#anchorDue === null,
      runFrozen: async (work) => {
        this.#isSnapshotting = true;
        this.#run(async () => {
          const { live } = this;
          if (live === null || live.state === null) return;
          const index = this.#captureFrozen(live, live.state);
          await this.context.anchors.run(() => work(live, index));
        });
        await this.#job;
      },
    };
  }

  // Failures

  #fail(error: unknown): void {
    this.#hasFailed = true;
    this.#pause.extend(this.context.env.monotonicMs());
    this.#say(error);
  }

  #say(error: unknown): void {
    const failure = asWalrustError(error);
    if (failure.code === "foreign-writer") this.stop(failure);
    else this.#failures.failed(failure);
  }

  #healedIfDrained(): void {
    if (this.live !== null && this.live.pending.length === 0) this.#failures.healed();
  }

  /** Gives this database up for good; others go on. */
  stop(failure: WalrustError): void {
    if (this.stopped !== null) return;
    this.stopped = failure;
    const { env, emit } = this.context;
    env.log.error(`${failure.message}; stopped`, { database: this.name, hint: failure.hint });
    emit({ event: "stopped", database: this.name, code: failure.code, message: failure.message });
    this.#detach();
  }

  // The end

  /** Captures what is there for the last time and uploads it. */
  async finish(): Promise<void> {
    if (this.#job !== null) await this.#job;
    const { live } = this;
    if (live === null || this.stopped !== null) return;
    try {
      await this.#captureLast(live);
    } catch (error) {
      this.#say(error);
    }
    const isOver = (): boolean => this.#aborter.signal.aborted || this.stopped !== null;
    while (live.pending.length > 0 && !isOver() && this.#adoptReason === null) {
      this.#uploads.start(live);
      const before = live.pending.length;
      await this.#uploads.done();
      if (live.pending.length >= before) await this.context.env.sleep(DRAIN_PAUSE_MS, this.#aborter.signal);
    }
  }

  /** The last capture; where the history is broken, the anchor that mends it. */
  async #captureLast(live: LiveDatabase): Promise<void> {
    if (this.#anchorDue === null) {
      const outcome = capture(live, this.context.env);
      if (outcome.kind !== "re-anchor" || live.state === null) return;
      this.#anchorDue = { before: live.state, reason: outcome.reason };
    }
    if (!this.#isPaused) await this.#anchor();
  }

  /** Stops uploading and lets go of the database. Nothing is lost: the spool keeps what was captured. */
  async close(): Promise<void> {
    this.#aborter.abort();
    await this.#uploads.done();
    await this.#upkeep.done();
    // A job that reads the database has to end before the pin goes.
    await this.#job;
    this.#pendingAtClose = this.pendingCount;
    this.#detach();
  }
}

function busy(live: LiveDatabase, reason: string): WalrustError {
  return new WalrustError("database-busy", `Cannot read ${live.path} yet: ${reason}`, { retryable: true });
}
