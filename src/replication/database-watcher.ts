/**
 * The watcher of one database: decides at each look what is due (a job, a capture, an upload, upkeep), and
 * gets over every failure by itself except another writer.
 *
 * Invariants:
 * 1. No capture and no checkpoint runs beside a job (see database-jobs.ts), but for one that only reads.
 *    Uploads and upkeep run beside everything.
 * 2. `look` is synchronous and short; nothing is held per database, no timer and no promise, when nothing
 *    happens.
 */
import { hasCode, WalrustError } from "../errors.ts";
import { capture } from "./capture.ts";
import { DatabaseJobs } from "./database-jobs.ts";
import { DatabaseRequests, type RequestHost } from "./database-requests.ts";
import { DatabaseSnapshots } from "./database-snapshots.ts";
import { DatabaseUpkeep } from "./database-upkeep.ts";
import { asWalrustError, FailureTracker, RetryPause } from "./failure-tracker.ts";
import { goneReasonOrNull, letGoIfHurting } from "./hardship.ts";
import type { LiveDatabase } from "./live-database.ts";
import { UploadLanes } from "./upload-lanes.ts";
import { type LookOutcome, WalKeeper } from "./wal-keeper.ts";
import type { AttachTarget, WatchContext } from "./watch-types.ts";

const ACTIVE_MS = 10_000;
const DRAIN_PAUSE_MS = 250;

/** One watched database: `start`, then `look` again and again, then `finish` and `close`. */
export class DatabaseWatcher {
  /** Set once: another writer, or a failure at start that nothing will mend. */
  stopped: WalrustError | null = null;

  readonly #failures: FailureTracker;
  readonly #keeper: WalKeeper;
  readonly #snapshots: DatabaseSnapshots;
  readonly #jobs: DatabaseJobs;
  readonly #upkeep: DatabaseUpkeep;
  readonly #pause = new RetryPause();
  readonly #aborter = new AbortController();
  readonly #uploads: UploadLanes;
  /** What other processes may ask. */
  readonly requests: DatabaseRequests;
  #hasFailed = false;
  #isPaused = false;
  #wasBucketMissing = false;
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
    this.#uploads = this.#makeUploads();
    this.#jobs = new DatabaseJobs(target, context, {
      keeper: this.#keeper,
      snapshots: this.#snapshots,
      uploadsDone: () => this.#uploads.done(),
      worked: () => this.#pause.reset(),
      failed: (error) => this.#fail(error),
      snapshotFailed: (error) => this.#say(error),
      settled: () => this.#healedIfDrained(),
    });
    this.requests = new DatabaseRequests(this.#requestHost());
  }

  #makeUploads(): UploadLanes {
    return new UploadLanes(this.context, this.#aborter.signal, {
      drained: () => {
        // Whatever took the bucket away may have taken what was in it.
        if (this.#wasBucketMissing) this.#snapshots.ask("the bucket had been missing");
        this.#wasBucketMissing = false;
        if (this.#snapshots.takeRetention(this.live)) this.#upkeep.requestRetention();
        this.#healedIfDrained();
      },
      adopt: (reason) => {
        this.#jobs.adoptReason = reason;
      },
      failed: (error) => {
        this.#wasBucketMissing ||= hasCode(error, "missing-bucket");
        this.#say(error);
      },
    });
  }

  /** The database while it is attached. */
  get live(): LiveDatabase | null {
    return this.#jobs.live;
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
    this.#jobs.run(async () => {
      if (signal.aborted) return;
      try {
        await this.#jobs.attach();
      } catch (error) {
        if (!(error instanceof WalrustError) || error.retryable) throw error;
        this.stop(error);
      }
    });
  }

  /** One look: does what is due now. @param nowMs the monotonic clock */
  look(nowMs: number): void {
    if (this.stopped !== null) return;
    if (this.#jobs.isBlocking) return;
    if (!this.#pause.isOver(nowMs)) return this.#endure();
    if (!this.#jobs.isRunning && this.#startDueJob()) return;
    const { live } = this;
    if (live === null) return;
    if (this.#isPaused) return this.#lookPaused(live, nowMs);
    try {
      const limits = { mayCheckpoint: !this.#jobs.isRunning, isUrgent: false };
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
    if (this.mayMerge && this.live !== null && this.#snapshots.isDue(nowMs)) this.#jobs.startSnapshot();
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
    return !this.#jobs.isRunning && this.#jobs.anchorDue === null;
  }

  /** Uploads go on; the database is let go of. */
  #lookPaused(live: LiveDatabase, nowMs: number): void {
    if (!this.#jobs.isRunning && live.pin.state !== "released") {
      live.pin.release();
      live.pinLost = "capture had stopped because the spool was full";
    }
    this.#uploads.startDue(live, nowMs);
  }

  /** Nothing is tried again yet after a failure. */
  #endure(): void {
    if (this.live !== null && !this.#jobs.isRunning) letGoIfHurting(this.live, this.context, this.name);
  }

  /** Starts the job that comes before any look at the WAL. @returns whether one was started */
  #startDueJob(): boolean {
    const jobs = this.#jobs;
    const isReading = jobs.anchorDue !== null;
    const gone = this.live && goneReasonOrNull(this.live, isReading, this.#hasFailed);
    this.#hasFailed = false;
    if (this.live === null) jobs.run(() => jobs.attach());
    else if (jobs.adoptReason !== null) jobs.run(() => jobs.adopt());
    else if (gone !== null) this.#attachAgain(gone);
    else if (jobs.anchorDue !== null) jobs.run(() => jobs.anchor());
    else return false;
    return true;
  }

  #attachAgain(reason: string): void {
    this.context.env.log.warn(`${reason}; pinning again`, { database: this.name });
    this.#jobs.detach();
    this.#jobs.run(() => this.#jobs.attach(reason));
  }

  #handle(outcome: LookOutcome): void {
    if (outcome.kind === "captured") {
      this.#snapshots.captured(outcome.frames);
      this.#healedIfDrained();
    } else if (this.#jobs.isRunning) {
      // A snapshot is being written: what is broken is found again when it is done.
      return;
    } else if (outcome.kind === "replaced") {
      return this.#attachAgain(outcome.reason);
    } else if (outcome.kind === "re-anchor") {
      const before = this.live?.state ?? null;
      if (before !== null) this.#jobs.anchorDue = { before, reason: outcome.reason };
    }
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
      isReady: () => !this.#jobs.isRunning && this.live?.state != null && this.#jobs.anchorDue === null,
      runFrozen: (work) => this.#jobs.runFrozen(work),
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
    this.#jobs.detach();
  }

  // The end

  /** Captures what is there for the last time and uploads it. */
  async finish(): Promise<void> {
    await this.#jobs.done();
    const { live } = this;
    if (live === null || this.stopped !== null) return;
    try {
      await this.#captureLast(live);
    } catch (error) {
      this.#say(error);
    }
    const isOver = (): boolean => this.#aborter.signal.aborted || this.stopped !== null;
    while (live.pending.length > 0 && !isOver() && this.#jobs.adoptReason === null) {
      this.#uploads.start(live);
      const before = live.pending.length;
      await this.#uploads.done();
      if (live.pending.length >= before) await this.context.env.sleep(DRAIN_PAUSE_MS, this.#aborter.signal);
    }
  }

  /** The last capture; where the history is broken, the anchor that mends it. */
  async #captureLast(live: LiveDatabase): Promise<void> {
    if (this.#jobs.anchorDue === null) {
      const outcome = capture(live, this.context.env);
      if (outcome.kind !== "re-anchor" || live.state === null) return;
      this.#jobs.anchorDue = { before: live.state, reason: outcome.reason };
    }
    if (!this.#isPaused) await this.#jobs.anchor();
  }

  /** Stops uploading and lets go of the database. Nothing is lost: the spool keeps what was captured. */
  async close(): Promise<void> {
    this.#aborter.abort();
    await this.#uploads.done();
    await this.#upkeep.done();
    // A job that reads the database has to end before the pin goes.
    await this.#jobs.done();
    this.#pendingAtClose = this.pendingCount;
    this.#jobs.detach();
  }
}
