/**
 * The end of watching one database: a last capture, and the uploads of what waits. Either the watch ends, and
 * this is awaited for a bounded time; or the database is let go of while others are watched, and it goes on
 * look by look, for as long as the store is away. Its pin is let go of first: the application must not wait
 * for the store.
 */
import { existsSync } from "node:fs";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { detachedCapturesOrNull } from "../attach/detached-captures.ts";
import { capture } from "../capture/capture.ts";
import { emptyWalAndRest } from "../capture/empty-wal.ts";
import { lostFilesReasonOrNull } from "../capture/file-changes.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { UploadLanes } from "../upload/upload-lanes.ts";
import type { DatabaseJobs } from "./database-jobs.ts";

const DRAIN_PAUSE_MS = 250;

/** What the end of a watcher needs of it. */
export interface EndingHost {
  readonly jobs: DatabaseJobs;
  readonly uploads: UploadLanes;
  /** Aborts when uploads have to end. */
  readonly signal: AbortSignal;
  isStopped(): boolean;
  /** Whether captures are stopped because the spool is full. */
  isPaused(): boolean;
  /** Whether it was attached before. */
  wasAttached(): boolean;
  say(error: unknown): void;
}

/** The end of one database: `look` again and again until it `isOver`, or `finish`. */
export class DatabaseEnding {
  #isLastTaken = false;
  #isOver = false;
  #remains: Captured | null = null;
  /** The file that is there could not be attached: what was captured before is sent all the same. */
  #isClosed = false;

  constructor(
    readonly target: AttachTarget,
    readonly context: WatchContext,
    readonly host: EndingHost,
  ) {}

  /** Whether there is nothing left to do, or nothing that could be done. */
  get isOver(): boolean {
    return this.#isOver || this.host.isStopped();
  }

  /** Whether the database is not captured any more, so that only a new watcher can go on with it. */
  get isLastTaken(): boolean {
    return this.#isLastTaken;
  }

  /** What waits of a database that was not attached any more when it went. */
  get remains(): Captured | null {
    return this.#remains;
  }

  get #captured(): Captured | null {
    return this.host.jobs.live ?? this.#remains;
  }

  /**
   * Ends it now: the spool keeps what waits. Not so if the local state is gone that leads to it (the folder
   * was deleted, and the spool is in the cache folder): who begins anew there would drop what waits.
   */
  hurry(): void {
    const isState = existsSync(this.target.paths.statePath);
    const isOrphaned = !isState && this.#captured?.pending.some(({ path }) => existsSync(path)) === true;
    if (!isOrphaned) this.#isOver = true;
  }

  /** Does the next step of letting go. No job may be running. @param nowMs the monotonic clock */
  look(nowMs: number): void {
    const { jobs, uploads } = this.host;
    if (!this.#isLastTaken) {
      this.#isLastTaken = true;
      return jobs.run(() => this.#takeLast(jobs.live));
    }
    const captured = this.#captured;
    const isSending = captured !== null && captured.pending.length > 0 && jobs.adoptReason === null;
    if (isSending) uploads.startDue(captured, nowMs);
    else this.#isOver = true;
  }

  /** Captures what is there for the last time and uploads it. */
  async finish(): Promise<void> {
    const { jobs, uploads, signal } = this.host;
    await jobs.done();
    if (this.host.isStopped()) return;
    if (!this.#isLastTaken) {
      this.#isLastTaken = true;
      await this.#attachAgain();
      await this.#takeLast(jobs.live);
    }
    const captured = this.#captured;
    if (captured === null) return;
    const isOver = (): boolean => signal.aborted || this.host.isStopped() || jobs.adoptReason !== null;
    while (captured.pending.length > 0 && !isOver()) {
      uploads.start(captured);
      const before = captured.pending.length;
      await uploads.done();
      if (captured.pending.length >= before) await this.context.env.sleep(DRAIN_PAUSE_MS, signal);
    }
  }

  /** A database whose files were replaced, or whose state was deleted, a moment ago is attached once more. */
  async #attachAgain(): Promise<void> {
    const { jobs, signal } = this.host;
    const { live } = jobs;
    const isKnown = live !== null || this.host.wasAttached();
    const reason = live === null ? "it was not attached" : lostFilesReasonOrNull(live, true, true);
    if (reason === null || !isKnown || signal.aborted || !existsSync(this.target.path)) return;
    try {
      if (live !== null) captureMoved(live, this.context.env);
      jobs.detach();
      await jobs.attach(reason, signal);
    } catch (error) {
      this.#isClosed = true;
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (this.host.signal.aborted) return;
    this.host.say(error);
    this.context.env.log.warn(`what was committed last is not captured: ${errorMessage(error)}`, {
      database: this.target.name,
      hint: "The next watch captures it, if the database is still there",
    });
  }

  async #takeLast(live: LiveDatabase | null): Promise<void> {
    if (live === null) {
      const isClosed = this.#isClosed || this.context.conditions.has("foreign-wal");
      this.#remains = detachedCapturesOrNull(this.target, this.context.store.url, isClosed);
      return;
    }
    try {
      if (live.pin.changedFile() !== "database") await this.#captureLast(live);
      if (this.#mayRest) await emptyWalAndRest(live, this.context.env);
    } catch (error) {
      this.#failed(error);
    }
    live.pin.release();
  }

  /** Whether everything is captured as it should be, so that the WAL is not needed any more. */
  get #mayRest(): boolean {
    const { jobs, signal } = this.host;
    const isSound = jobs.anchorDue === null && jobs.adoptReason === null;
    return isSound && !this.host.isPaused() && !this.host.isStopped() && !signal.aborted;
  }

  /** The last capture; where the history is broken, the anchor that mends it. */
  async #captureLast(live: LiveDatabase): Promise<void> {
    const { jobs } = this.host;
    if (jobs.anchorDue === null) {
      const outcome = capture(live, this.context.env);
      if (outcome.kind !== "re-anchor" || live.state === null) return;
      jobs.anchorDue = { before: live.state, reason: outcome.reason };
    }
    if (!this.host.isPaused()) await jobs.anchor();
  }
}

/** The last commits of a file that was moved away are in the WAL as long as that lies at its path. */
function captureMoved(live: LiveDatabase, env: Env): void {
  const { pin } = live;
  const isMoved = !pin.isLoose && pin.changedFile() === "database" && pin.isWalInPlace();
  if (isMoved && pin.state !== "released") capture(live, env);
}
