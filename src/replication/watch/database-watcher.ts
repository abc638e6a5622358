/**
 * The watcher of one database: decides at each look what is due (a job, a capture, an upload, upkeep), and
 * gets over every failure by itself except another writer.
 *
 * Invariants:
 * 1. No capture and no checkpoint runs beside a job (see database-jobs.ts), but for one that only reads.
 *    Uploads and upkeep run beside everything.
 * 2. `look` is synchronous and short; nothing is held per database, no timer and no promise, when nothing
 *    happens.
 * 3. Whatever cannot be watched for a reason that may pass is looked at again (see database-admission.ts),
 *    never given up. Whether a find whose file is gone was deleted or is being replaced, the next discovery
 *    tells.
 */
import { existsSync } from "node:fs";
import { asWalrustError, EXIT_CODES, hasCode, type WalrustError } from "../../errors.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { detachedCapturesOrNull } from "../attach/detached-captures.ts";
import {
  detectOverwrite,
  judgeMixture,
  lostFilesReasonOrNull,
  OVERWRITTEN,
} from "../capture/file-changes.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import { releaseIfHarmful } from "../capture/pin-release.ts";
import { type PollOutcome, WalPoller } from "../capture/wal-poller.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import { Snapshots } from "../upkeep/snapshots.ts";
import { Upkeep } from "../upkeep/upkeep.ts";
import { UploadLanes } from "../upload/upload-lanes.ts";
import { DatabaseAdmission } from "./database-admission.ts";
import { DatabaseEnding } from "./database-ending.ts";
import { DatabaseHealth } from "./database-health.ts";
import { DatabaseJobs } from "./database-jobs.ts";
import { DatabaseRequests } from "./database-requests.ts";
import { guardContext } from "./guarded-context.ts";
import type { DatabaseStatus } from "./watch-status.ts";

const ACTIVE_MS = 10_000;
/** Longest pause while the application is waited for: to open its database, or to close something. */
const APPLICATION_PAUSE_MS_MAX = 5_000;
const FILES_AGAIN_MS = 2_000;

/** One watched database: `start`, then `look` again and again, then `finish` or `letGo`, and `close`. */
export class DatabaseWatcher {
  /** Set once: another writer, or a failure at start that nothing will mend. */
  stopped: WalrustError | null = null;
  /** Why it is being let go of, or null. */
  leaving: string | null = null;
  /** Captures stop and the pin is let go: the spool has reached its limit. */
  isPaused = false;
  readonly context: WatchContext;
  /** What other processes may ask. */
  readonly requests: DatabaseRequests;

  readonly #admission: DatabaseAdmission;
  readonly #health: DatabaseHealth;
  readonly #keeper: WalPoller;
  readonly #snapshots: Snapshots;
  readonly #jobs: DatabaseJobs;
  readonly #upkeep: Upkeep;
  readonly #pause = new Backoff();
  readonly #aborter = new AbortController();
  readonly #uploads: UploadLanes;
  /** Made when it is needed: hundreds are watched for every one that ends. */
  #ending: DatabaseEnding | null = null;
  #closing: Promise<void> | null = null;
  #hasFailed = false;
  #wasBucketMissing = false;
  /** What waits of a database whose file may not be opened. */
  #stranded: Captured | null = null;
  /** Whether the file of an attached database is gone. */
  #isMissing = false;

  constructor(
    readonly target: WatchTarget,
    shared: WatchContext,
  ) {
    const { name, config } = target;
    const { signal } = this.#aborter;
    const { context, breaker } = guardContext(name, shared, config, signal, (change) => {
      this.#health.circuitChanged(change);
      if (change.kind === "closed") this.#healedIfDrained();
    });
    this.context = context;
    this.#health = new DatabaseHealth(name, context, breaker);
    this.#keeper = new WalPoller(name, context);
    this.#snapshots = new Snapshots(name, context);
    this.#upkeep = new Upkeep(name, context, signal, this.#snapshots);
    this.#uploads = this.#makeUploads();
    this.#jobs = new DatabaseJobs(target, context, {
      keeper: this.#keeper,
      snapshots: this.#snapshots,
      uploadsDone: () => this.#uploads.done(),
      worked: () => this.#pause.reset(),
      failed: (error) => this.fail(error),
      snapshotFailed: (error) => this.#say(error),
      settled: () => this.#healedIfDrained(),
    });
    this.#admission = new DatabaseAdmission(target, context, {
      jobs: this.#jobs,
      health: this.#health,
      detach: () => this.#detach(),
      stop: (failure) => this.stop(failure),
      say: (failure) => this.#say(failure),
    });
    this.requests = new DatabaseRequests({
      signal,
      health: this.#health,
      upkeep: this.#upkeep,
      snapshots: this.#snapshots,
      jobs: this.#jobs,
      stopped: () => this.givenUp,
    });
  }

  #makeUploads(): UploadLanes {
    const listener = {
      drained: () => {
        // Whatever took the bucket away may have taken what was in it.
        if (this.#wasBucketMissing) this.#snapshots.request("the bucket had been missing");
        this.#wasBucketMissing = false;
        if (this.#snapshots.takeRetention(this.live)) this.#upkeep.requestRetention();
        this.#healedIfDrained();
      },
      adopt: (reason: string) => {
        this.#jobs.adoptReason = reason;
      },
      failed: (error: unknown) => {
        this.#wasBucketMissing ||= hasCode(error, "missing-bucket");
        this.#say(error);
      },
    };
    const { signal } = this.#aborter;
    if (!this.context.config.cache.enabled)
      return new UploadLanes(this.context, signal, listener, this.#health.breaker);
    const gatherHost = {
      mergeableAfter: () => this.#jobs.mergeableAfter(),
      exclusively: (work: () => Promise<void>) => this.#jobs.runExclusively(work),
    };
    return new UploadLanes(this.context, signal, listener, this.#health.breaker, gatherHost);
  }

  /** The database while it is attached. */
  get live(): LiveDatabase | null {
    return this.#jobs.live;
  }

  get name(): string {
    return this.target.name;
  }

  get #captured(): Captured | null {
    return this.live ?? this.#ending?.remains ?? this.#stranded;
  }

  /** Captured files that are not in the bucket. */
  get pendingCount(): number {
    return this.#health.progress(this.#captured).pendingCount;
  }

  /** How far the bucket is behind what was captured, while nothing fails. */
  get uploadLagMs(): number {
    return this.#health.uploadLagMs(this.#captured);
  }

  /** Whether something was captured in the last seconds, so that more is to be expected soon. */
  isActive(nowMs: number): boolean {
    return nowMs - this.#keeper.lastCaptureMs < ACTIVE_MS;
  }

  /** Whether pending files may be merged: no upload is at one of them. */
  get mayMerge(): boolean {
    return this.leaving === null && this.#isFree;
  }

  /** Whether the history is sound and no job is at it. */
  get #isFree(): boolean {
    return !this.#jobs.isRunning && this.#jobs.anchorDue === null;
  }

  /** Why it stopped, or why one that is named was set aside: on its own it keeps no watch going. */
  get givenUp(): WalrustError | null {
    return this.stopped ?? this.#admission.givenUp;
  }

  /** Whether it is given up and nothing is being tried. */
  get isIdle(): boolean {
    return this.givenUp !== null && !this.#jobs.isBlocking;
  }

  /** The first attach. */
  start(): void {
    this.#admission.start();
  }

  /** A discovery found it, again or still. */
  seen(): void {
    if (this.stopped === null) this.#admission.seen(this.#isMissing);
  }

  /** One look: does what is due now. @param nowMs the monotonic clock */
  look(nowMs: number): void {
    if (this.stopped !== null) return;
    if (this.#jobs.isBlocking) return this.#admission.lookBlocked(nowMs);
    if (this.#admission.look(nowMs)) return;
    if (this.#isMissing) return this.#lookMissing(nowMs);
    const { live } = this;
    this.#health.look(nowMs);
    if (this.#health.takeLift()) this.#pause.reset();
    if (!this.#pause.isOver(nowMs)) {
      // Nothing is tried again yet after a failure.
      if (live !== null && !this.#jobs.isRunning) releaseIfHarmful(live, this.context, this.name);
      if (live === null && this.#stranded !== null) this.#uploads.startDue(this.#stranded, nowMs);
      return;
    }
    if ((!this.#jobs.isRunning && this.#startDueJob()) || live === null) return;
    if (this.isPaused) return this.#lookPaused(live, nowMs);
    try {
      const limits = { mayCheckpoint: !this.#jobs.isRunning, isUrgent: false };
      this.#handle(this.#keeper.poll(live, nowMs, limits));
      if (this.#isMissing) return;
      this.#noteCapturing(live);
    } catch (error) {
      this.fail(error);
    }
    this.#uploads.startDue(live, nowMs);
    this.#upkeep.startDue(live, nowMs);
    // After everything else, and only on a sound history: one that cannot be taken holds nothing up.
    if (this.#isFree && this.live !== null && this.#snapshots.isDue(nowMs)) this.#jobs.startSnapshot();
  }

  /** Uploads go on; the database is let go of. */
  #lookPaused(live: LiveDatabase, nowMs: number): void {
    if (!this.#jobs.isRunning && live.pin.state !== "released") {
      live.pin.release();
      live.pinLost = "capture had stopped because the spool was full";
    }
    this.#health.blocked(null);
    this.#uploads.startDue(live, nowMs);
  }

  /** Its file is gone: the next discovery tells whether it was deleted or is being replaced. */
  #lookMissing(nowMs: number): void {
    if (existsSync(this.target.path)) return this.#attachAgain("the database file was replaced");
    if (this.live !== null && this.#jobs.adoptReason === null) this.#uploads.startDue(this.live, nowMs);
  }

  /** Starts the job that comes before any look at the WAL. @returns whether one was started */
  #startDueJob(): boolean {
    const jobs = this.#jobs;
    const isReading = jobs.anchorDue !== null;
    const isSuspect = isReading || this.#hasFailed;
    const gone = this.live && lostFilesReasonOrNull(this.live, isSuspect, this.#hasFailed);
    const written = isSuspect && this.live !== null ? detectOverwrite(this.live) : "none";
    this.#hasFailed = false;
    if (this.live === null) this.#admission.startAgain();
    else if (jobs.adoptReason !== null) jobs.run(() => jobs.adopt());
    else if (gone !== null) this.#attachAgain(gone);
    else if (written === "mixture") this.#startJudging();
    else if (written === "anew") this.#attachAgain(OVERWRITTEN);
    else if (jobs.anchorDue !== null) jobs.run(() => jobs.anchorDueNow());
    else return false;
    return true;
  }

  #startJudging(): void {
    this.#jobs.run(async () => {
      const { live } = this;
      if (live !== null) await judgeMixture(live, this.context.env);
    });
  }

  #attachAgain(reason: string): void {
    this.#health.blocked(null);
    this.#isMissing = this.#admission.isGone;
    if (this.#isMissing) return this.context.env.log.debug(reason, { database: this.name });
    this.context.env.log.warn(`${reason}; pinning again`, { database: this.name });
    this.#admission.lift();
    this.#detach();
    this.#jobs.run(() => this.#jobs.attach(reason));
  }

  #handle(outcome: PollOutcome): void {
    if (outcome.kind === "captured") {
      this.#snapshots.captured(outcome.frames);
      this.#healedIfDrained();
    } else if (this.#jobs.isRunning) {
      // A snapshot is being written: what is broken is found again when it is done.
      return;
    } else if (outcome.kind === "replaced") {
      return this.#attachAgain(outcome.reason);
    } else if (outcome.kind === "mixture") {
      this.#startJudging();
    } else if (outcome.kind === "re-anchor") {
      const before = this.live?.state ?? null;
      if (before !== null) this.#jobs.anchorDue = { before, reason: outcome.reason };
    }
  }

  // Failures

  /** A look or a job failed: it is tried again after a while. */
  fail(error: unknown): void {
    const { env, stopping } = this.context;
    if (this.#aborter.signal.aborted || error === stopping.reason) return;
    this.#hasFailed = true;
    const nowMs = env.monotonicMs();
    const waitsForApplication = this.live === null && hasCode(error, "database-busy");
    const pauseMsMax = waitsForApplication ? APPLICATION_PAUSE_MS_MAX : undefined;
    const againAtMs = this.#health.retryAtMs(error) ?? this.#againAtMs(error, nowMs);
    if (againAtMs === null) this.#pause.extend(nowMs, pauseMsMax);
    else this.#pause.waitUntil(againAtMs);
    this.#health.blocked(asWalrustError(error));
    this.#admission.failed(asWalrustError(error));
    this.#isMissing = this.live !== null && this.#admission.isGone;
    this.#say(error);
  }

  /** Files that a person puts right are checked again soon, however often that was in vain. */
  #againAtMs(error: unknown, nowMs: number): number | null {
    const isFiles = hasCode(error, "foreign-wal") || (this.live === null && hasCode(error, "not-wal"));
    return isFiles ? nowMs + FILES_AGAIN_MS : null;
  }

  #say(error: unknown): void {
    const failure = asWalrustError(error);
    if (failure.code === "foreign-wal") {
      this.#obstructed(failure);
    } else if (failure.code === "foreign-writer") this.stop(failure);
    else if (failure.exitCode === EXIT_CODES.storage || !this.#admission.isGone) this.#health.failed(failure);
  }

  /** The -wal beside the file is another file's: what was captured before is sent all the same. */
  #obstructed({ message, hint }: WalrustError): void {
    const { conditions, store } = this.context;
    conditions.raise({ code: "foreign-wal", health: "unhealthy", message, ...(hint && { hint }) });
    if (this.live === null) this.#stranded ??= detachedCapturesOrNull(this.target, store.url, true);
  }

  /** A look went well: whether captures are possible. */
  #noteCapturing(live: LiveDatabase): void {
    const isHeld = live === this.live && live.pin.state !== "released";
    if (!isHeld || this.#jobs.anchorDue !== null) return this.#health.blocked(null);
    this.context.conditions.clear("foreign-wal");
    this.#stranded = null;
    if (!this.#health.unblocked()) return;
    this.#pause.reset();
    this.#healedIfDrained();
  }

  #healedIfDrained(): void {
    const isDrained = this.live !== null && this.live.pending.length === 0;
    if (isDrained && !this.#snapshots.isFailing) this.#health.healed();
  }

  /** Gives this database up for good; others go on. */
  stop(failure: WalrustError): void {
    if (this.stopped !== null) return;
    this.stopped = failure;
    const { env, emit } = this.context;
    env.log.error(`${failure.message}; stopped`, { database: this.name, hint: failure.hint });
    emit({ event: "stopped", database: this.name, code: failure.code, message: failure.message });
    this.#health.blocked(failure);
    // A job that reads the database has to end before the pin goes.
    if (this.#jobs.isRunning) void this.#jobs.done().then(() => this.#detach());
    else this.#detach();
  }

  /** What is known of it now. */
  status(): DatabaseStatus {
    return this.#health.status({
      target: this.target,
      live: this.live,
      captured: this.#captured,
      stopped: this.stopped,
      refused: this.#admission.refused,
      isPaused: this.isPaused,
      hasBegun: this.#jobs.hasBegun,
    });
  }

  // The end

  /** Lets go of it while others are watched: `lookLeaving` from here on, until it `hasLeft`. */
  letGo(reason: string): void {
    this.leaving ??= reason;
    this.#isMissing = false;
  }

  /** It is found again: goes on with it, or ends letting go at once, so that a new watcher can. */
  comeBack(): void {
    if (this.#ending?.isLastTaken === true) this.#ending.hurry();
    else this.leaving = null;
  }

  /** The next step of letting go. */
  lookLeaving(nowMs: number): void {
    if (!this.hasLeft && !this.#jobs.isRunning) this.#end.look(nowMs);
  }

  /** Whether nothing is left to do but to close it. */
  get hasLeft(): boolean {
    return this.leaving !== null && this.#end.isOver;
  }

  /** Captures what is there for the last time and uploads it. */
  finish(): Promise<void> {
    return this.#end.finish();
  }

  get #end(): DatabaseEnding {
    this.#ending ??= new DatabaseEnding(this.target, this.context, {
      jobs: this.#jobs,
      uploads: this.#uploads,
      signal: this.#aborter.signal,
      isStopped: () => this.givenUp !== null,
      isPaused: () => this.isPaused,
      wasAttached: () => this.#health.wasAttached,
      say: (error) => this.#say(error),
    });
    return this.#ending;
  }

  /** Stops uploading and lets go of the database. Nothing is lost: the spool keeps what was captured. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#aborter.abort();
    await this.#uploads.done();
    await this.#upkeep.done();
    // A job that reads the database has to end before the pin goes.
    await this.#jobs.done();
    this.#detach();
  }

  #detach(): void {
    this.#health.remember(this.#captured);
    this.#jobs.detach();
  }
}
