/**
 * The watcher of one database: looks at its WAL when asked, captures, checkpoints, anchors and uploads, and gets
 * over every failure by itself except another writer.
 *
 * Invariants:
 * 1. At most one asynchronous job (attach, anchor, snapshot, adopt) runs at a time, and no capture or checkpoint
 *    runs beside it. Uploads run beside everything.
 * 2. `look` is synchronous and short; it holds no timer and no promise when nothing happens.
 * 3. A failure is said once, is tried again with growing pauses, and its end is said once.
 */
import { checkpointCycle } from "../database/checkpoint.ts";
import { errorMessage, WalrustError } from "../errors.ts";
import { anchor, type Predecessor, snapshotImage } from "./anchor.ts";
import { type Attached, adopt, attach } from "./attach.ts";
import { type CaptureOutcome, capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";
import type { DatabaseState } from "./state.ts";
import { uploadPending } from "./uploader.ts";
import type { AttachTarget, WatchContext } from "./watch-types.ts";

/** A WAL under a freeze costs every commit of the application more the longer it is: then a mark is taken. */
const MARK_FRAMES = 500;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;
/** How long one try for the write lock may block the loop; doubled up to the maximum while it fails. */
const FIRST_LOCK_BUDGET_MS = 10;
const MAX_LOCK_BUDGET_MS = 1_000;
const FILE_CHECK_INTERVAL_MS = 1_000;
const MARK_INTERVAL_MS = 1_000;
const ACTIVE_MS = 10_000;

export class DatabaseWatcher {
  live: LiveDatabase | null = null;
  /** Set once: another writer, or a failure at start that nothing will mend. */
  stopped: WalrustError | null = null;
  /** The failure it is getting over, if any. */
  failure: WalrustError | null = null;

  #job: Promise<void> | null = null;
  #upload: Promise<void> | null = null;
  #adoptReason: string | null = null;
  #pendingAtClose: number | null = null;
  #retryAtMs = 0;
  #retryDelayMs = FIRST_RETRY_MS;
  #uploadAtMs = 0;
  #uploadDelayMs = FIRST_RETRY_MS;
  #lastCaptureMs = Number.NEGATIVE_INFINITY;
  #lastCycleMs: number;
  #nextCycleMs = 0;
  #nextMarkMs = 0;
  #lockBudgetMs = FIRST_LOCK_BUDGET_MS;
  #lastFileCheckMs = 0;
  readonly #aborter = new AbortController();

  constructor(
    readonly target: AttachTarget,
    readonly context: WatchContext,
  ) {
    this.#lastCycleMs = context.env.monotonicMs();
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
    return nowMs - this.#lastCaptureMs < ACTIVE_MS;
  }

  /**
   * The first attach. What nothing will mend by itself (no such file, not in WAL mode, locked, wrong credentials)
   * stops this database; anything else is tried again.
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
    if (this.stopped !== null || this.#job !== null) return;
    if (nowMs < this.#retryAtMs) return;
    if (this.live === null) return this.#run(() => this.#attach());
    if (this.#adoptReason !== null) return this.#run(() => this.#adopt());
    try {
      this.#lookAtWal(this.live, nowMs);
    } catch (error) {
      this.#fail(error);
    }
    if (this.#upload === null && this.live.pending.length > 0 && nowMs >= this.#uploadAtMs)
      this.#startUpload();
  }

  #lookAtWal(live: LiveDatabase, nowMs: number): void {
    if (nowMs - this.#lastFileCheckMs >= FILE_CHECK_INTERVAL_MS && this.#isReplaced(live, nowMs)) return;
    if (live.pin.state === "released") {
      live.pinLost ??= "the pin was let go";
      if (!live.pin.repin(this.context.env)) return;
    }
    if (!live.mayRestart && live.pin.foreignCheckpointWaits()) this.#yieldPin(live);
    if (nowMs - this.#lastCaptureMs >= this.context.options.walSyncIntervalMs) {
      if (!this.#capture(live, nowMs)) return;
    }
    this.#checkpointIfDue(live, nowMs);
  }

  /** Captures what is there. @returns false when the history has to be anchored anew (a job was started) */
  #capture(live: LiveDatabase, nowMs: number): boolean {
    const outcome = capture(live, this.context.env);
    if (outcome.kind === "nothing") return true;
    if (this.#isReplaced(live, nowMs)) return false;
    if (outcome.kind === "re-anchor") {
      this.#startAnchor(outcome.reason);
      return false;
    }
    this.#lastCaptureMs = nowMs;
    this.#healed();
    return true;
  }

  /** A file was replaced under the pin: everything is opened again and re-anchored by difference. */
  #isReplaced(live: LiveDatabase, nowMs: number): boolean {
    this.#lastFileCheckMs = nowMs;
    const changed = live.pin.changedFile();
    if (changed === "none") return false;
    const reason = `the ${changed} file was replaced`;
    this.context.env.log.warn(`${reason}; pinning again`, { database: this.name });
    this.#detach(live);
    this.#run(() => this.#attach(reason));
    return true;
  }

  #detach(live: LiveDatabase): void {
    live.pin.close();
    this.live = null;
  }

  /** Lets a FULL, RESTART or TRUNCATE checkpoint of somebody else through, after capturing all there is. */
  #yieldPin(live: LiveDatabase): void {
    const { env } = this.context;
    let outcome: CaptureOutcome | null = null;
    const isPinned = live.pin.yieldToCheckpoint(() => {
      outcome = capture(live, env);
    }, env);
    // The lock was dropped for some ms: a restart is expected, and the count of commits tells if one is missing.
    const isCaptured = (outcome as CaptureOutcome | null)?.kind !== "re-anchor";
    live.mayRestart = isCaptured && live.changeCount !== null;
    if (!isPinned) live.pinLost = "the pin could not be taken again after a checkpoint by the application";
    env.log.debug("let a checkpoint of the application through", { database: this.name });
  }

  #checkpointIfDue(live: LiveDatabase, nowMs: number): void {
    const frames = live.state?.wal?.frameCount ?? 0;
    if (live.mayRestart || frames === 0) {
      this.#lastCycleMs = live.mayRestart ? nowMs : this.#lastCycleMs;
      return;
    }
    const { options } = this.context;
    const isLong = frames >= options.minCheckpointPages;
    const isOld = nowMs - this.#lastCycleMs >= options.checkpointIntervalMs;
    if ((isLong || isOld) && nowMs >= this.#nextCycleMs) this.#checkpoint(live, frames, nowMs);
    else if (frames >= MARK_FRAMES && live.pin.state === "frozen" && nowMs >= this.#nextMarkMs) {
      this.#nextMarkMs = nowMs + MARK_INTERVAL_MS;
      live.pin.mark();
    }
  }

  #checkpoint(live: LiveDatabase, frames: number, nowMs: number): void {
    const { env, options, emit } = this.context;
    let broken: string | null = null;
    const captureAll = (): boolean => {
      const outcome = capture(live, env);
      if (outcome.kind === "re-anchor") broken = outcome.reason;
      return broken === null;
    };
    const truncate = frames > options.walTruncateThresholdPages;
    const cycleOptions = { writeLockTimeoutMs: this.#lockBudgetMs, truncate };
    const result = checkpointCycle(live.pin, captureAll, cycleOptions, env);
    if (broken !== null) return this.#startAnchor(broken);
    if (live.pin.state === "released") live.pinLost = "the pin could not be taken again after a checkpoint";
    if (result.outcome === "complete") {
      this.#lastCycleMs = nowMs;
      this.#lockBudgetMs = FIRST_LOCK_BUDGET_MS;
      this.#nextCycleMs = 0;
      // Under the write lock everything was captured and then copied: the next writer restarts the WAL.
      if (result.writeLockHeldMs > 0) live.mayRestart = true;
      emit({ event: "checkpointed", database: this.name, frames, held_ms: result.writeLockHeldMs });
      return;
    }
    if (result.outcome === "busy") this.#lockBudgetMs = Math.min(MAX_LOCK_BUDGET_MS, this.#lockBudgetMs * 2);
    this.#nextCycleMs = nowMs + (result.outcome === "busy" ? 50 : 1_000);
  }

  // Jobs

  #run(job: () => Promise<void>): void {
    this.#job = job()
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#job = null;
      });
  }

  async #attach(reason: string | null = null): Promise<void> {
    const { attaches, store, env } = this.context;
    const attached = await attaches.run(() => attach(this.target, store, env));
    this.live = attached.live;
    if (reason !== null) attached.live.pinLost = reason;
    await this.#settle(attached);
    const txid = attached.live.state?.txid ?? 0;
    this.context.emit({ event: "watching", database: this.name, path: this.target.path, txid });
  }

  async #adopt(): Promise<void> {
    if (this.#upload !== null) await this.#upload;
    const { live } = this;
    if (live === null) return;
    const reason = this.#adoptReason ?? "";
    await this.#settle(await adopt(live, this.context.store, this.context.env, reason));
    this.#adoptReason = null;
  }

  /** Does what attaching or adopting asked for: an anchor, a snapshot. */
  async #settle(attached: Attached): Promise<void> {
    if (attached.anchor !== null) await this.#anchor(attached.anchor.before, attached.anchor.reason);
    if (attached.needsSnapshot) await this.#snapshot();
    this.#healed();
  }

  #startAnchor(reason: string): void {
    const { live } = this;
    if (live?.state == null) return;
    const before: DatabaseState = live.state;
    this.#run(async () => {
      await this.#anchor(before, reason);
      this.#healed();
    });
  }

  async #anchor(before: Predecessor, reason: string): Promise<void> {
    const { env, emit, anchors } = this.context;
    const { live } = this;
    if (live === null) return;
    const outcome = await anchors.run(() => anchor(live, before, env));
    if (outcome.kind === "later") {
      throw new WalrustError("database-busy", `Cannot read ${live.path} yet: ${outcome.reason}`, {
        retryable: true,
      });
    }
    this.#lastCaptureMs = env.monotonicMs();
    if (outcome.kind === "unchanged" || outcome.mode === "first") return;
    env.log.warn(`re-anchored with ${outcome.pageCount} pages (${outcome.mode}): ${reason}`, {
      database: this.name,
    });
    emit({ event: "re-anchored", database: this.name, txid: before.txid + 1, reason });
  }

  /** A snapshot of the present state, after capturing up to it. */
  async #snapshot(): Promise<void> {
    const { live } = this;
    if (live === null || !live.pin.freeze()) return;
    const outcome = capture(live, this.context.env);
    if (outcome.kind === "re-anchor" || outcome.index === null) return;
    const { index } = outcome;
    await this.context.anchors.run(() => snapshotImage(live, index, this.context.env));
  }

  #startUpload(): void {
    const { live } = this;
    if (live === null) return;
    this.#upload = uploadPending(live, this.context, this.#aborter.signal)
      .then((outcome) => {
        if (outcome.kind === "adopt") this.#adoptReason = outcome.reason;
        if (outcome.kind !== "drained") return;
        this.#uploadDelayMs = FIRST_RETRY_MS;
        this.#healed();
      })
      .catch((error) => this.#uploadFailed(error))
      .finally(() => {
        this.#upload = null;
      });
  }

  #uploadFailed(error: unknown): void {
    if (this.#aborter.signal.aborted) return;
    this.#uploadAtMs = this.context.env.monotonicMs() + this.#uploadDelayMs;
    this.#uploadDelayMs = Math.min(MAX_RETRY_MS, this.#uploadDelayMs * 2);
    this.#say(error);
  }

  // Failures

  #fail(error: unknown): void {
    this.#retryAtMs = this.context.env.monotonicMs() + this.#retryDelayMs;
    this.#retryDelayMs = Math.min(MAX_RETRY_MS, this.#retryDelayMs * 2);
    this.#say(error);
  }

  #say(error: unknown): void {
    const failure =
      error instanceof WalrustError
        ? error
        : new WalrustError("internal", errorMessage(error), { cause: error });
    const { env, emit } = this.context;
    const { code, message } = failure;
    if (code === "foreign-writer") {
      this.stop(failure);
      return;
    }
    if (this.failure?.message !== message && code !== "database-busy") {
      env.log.error(message, { database: this.name, hint: failure.hint });
      emit({ event: "failed", database: this.name, code, message });
    }
    if (code !== "database-busy") this.failure = failure;
  }

  #healed(): void {
    this.#retryDelayMs = FIRST_RETRY_MS;
    if (this.failure === null) return;
    if (this.live === null || this.live.pending.length > 0) return;
    this.failure = null;
    this.context.env.log.info("recovered", { database: this.name });
    this.context.emit({ event: "recovered", database: this.name });
  }

  /** Gives this database up for good; others go on. */
  stop(failure: WalrustError): void {
    if (this.stopped !== null) return;
    this.stopped = failure;
    const { env, emit } = this.context;
    env.log.error(`${failure.message}; stopped`, { database: this.name, hint: failure.hint });
    emit({ event: "stopped", database: this.name, code: failure.code, message: failure.message });
    if (this.live !== null) this.#detach(this.live);
  }

  // The end

  /** Captures what is there for the last time and lets the uploads begin. */
  async finish(): Promise<void> {
    if (this.#job !== null) await this.#job;
    const { live } = this;
    if (live === null || this.stopped !== null) return;
    try {
      capture(live, this.context.env);
    } catch (error) {
      this.#say(error);
    }
    while (live.pending.length > 0 && !this.#aborter.signal.aborted) {
      this.#uploadAtMs = 0;
      if (this.#upload === null) this.#startUpload();
      const before = live.pending.length;
      await this.#upload;
      if (live.pending.length >= before) await this.context.env.sleep(FIRST_RETRY_MS, this.#aborter.signal);
      if (this.#adoptReason !== null) return;
    }
  }

  /** Stops uploading and lets go of the database. Nothing is lost: the spool keeps what was captured. */
  async close(): Promise<void> {
    this.#aborter.abort();
    await this.#upload;
    this.#pendingAtClose = this.pendingCount;
    if (this.live !== null) this.#detach(this.live);
  }
}
