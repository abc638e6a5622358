/**
 * The health of one watched database: the current failure and the time of the next attempt, the time since
 * when nothing can be captured, the circuit, and how far the bucket may be behind.
 */
import { hidesCommits } from "../../database/pin/pin-mode.ts";
import { CONDITION_HEALTH, type Condition, EXIT_CODES, hasCode, type WalrustError } from "../../errors.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { type Circuit, isSuspension } from "../../storage/contract/circuit.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import { STORE_SILENT } from "../../storage/network/reachability-monitor.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import type { CircuitOutages } from "./own-context.ts";
import { slowAttachError } from "./set-aside.ts";
import { ATTACH_MS_MAX, type WatchRecord } from "./watch-record.ts";
import { type DatabaseStatus, OldestPending, recordedProgress } from "./watch-status.ts";

/** The longest wait for an application that holds its database. */
const APPLICATION_WAIT_MS_MAX = 5_000;
/** Files that a person puts right are checked again this soon, however often that was in vain. */
const FILES_RETRY_MS = 2_000;

/** A clock set back by less than this is not worth a line. */
const CLOCK_TOLERANCE_MS = 60_000;
const CLOCK_BEHIND = "clock-behind";
/** The check of a bucket at the start that takes no longer is not worth a condition. */
const UNCHECKED_TOLERANCE_MS = 5_000;
const BUCKET_UNCHECKED = "bucket-unchecked";

/** Nothing can be captured: since when, on the monotonic clock, and why if it is a failure. */
interface Blockage {
  readonly sinceMs: number;
  readonly error: WalrustError | null;
}

/** The part of the context that the health uses. */
export type HealthContext = Pick<
  WatchContext,
  "env" | "emit" | "config" | "conditions" | "storeConditions" | "push"
>;

/**
 * The step that a report asks of the watcher: stop for good, or keep the captures of a file that must not be
 * opened.
 */
export type ReportEffect = "none" | "stop" | "keep-detached";

/** The health of one database. */
export class WatcherHealth {
  /** Made with the first failure: hundreds of databases have none. */
  #trouble: Trouble | null = null;
  #backoff: Backoff | null = null;
  #blockage: Blockage | null = null;
  /** Since when nobody knows whether the bucket is up to date (monotonic), or null. */
  #doubtSinceMs: number | null = null;
  #liftCount = 0;
  #oldest: OldestPending | null = null;

  constructor(
    readonly database: string,
    readonly context: HealthContext,
    readonly breaker: Circuit | null = null,
    readonly outages: CircuitOutages | null = null,
  ) {}

  /** The failure that the database recovers from, logged or not. */
  get failure(): WalrustError | null {
    return this.#trouble?.current ?? this.blockedBy;
  }

  /** The failure that keeps the database from being captured, if there is one. */
  get blockedBy(): WalrustError | null {
    return this.#blockage?.error ?? null;
  }

  /** The condition under which commits are in no file that can be captured, or null. */
  get hidden(): Condition | null {
    const isHiding = (one: Condition): boolean => one.code === "deleted-in-use" || hidesCommits(one);
    return this.context.conditions.current.find(isHiding) ?? null;
  }

  get circuit(): Circuit["state"] {
    return this.breaker?.state ?? "closed";
  }

  /** Whether nothing fails, nothing waits and no recovery is to be reported. */
  get isCalm(): boolean {
    const isFailing = this.#trouble?.isOpen === true || this.#blockage !== null || this.#backoff !== null;
    return !isFailing && this.circuit === "closed" && this.outages?.hasOpened !== true;
  }

  /** Whether the circuit had opened, and is closed again. */
  get isCircuitBack(): boolean {
    return this.outages?.hasOpened === true && this.circuit === "closed";
  }

  // Failures

  /** Whether nothing is tried yet after a failure. */
  isWaiting(nowMs: number): boolean {
    return this.#backoff?.isOver(nowMs) === false;
  }

  /** A look or a job failed: nothing can be captured, and nothing is tried for a while. */
  waits(failure: WalrustError, isAttached: boolean): void {
    const nowMs = this.context.env.monotonicMs();
    const isOfFiles = failure.code === "foreign-wal" || (!isAttached && failure.code === "not-wal");
    const openAtMs = isSuspension(failure) ? (this.breaker?.retryAtMs ?? null) : null;
    const retryAtMs = openAtMs ?? (isOfFiles ? nowMs + FILES_RETRY_MS : null);
    const isBusy = !isAttached && hasCode(failure, "database-busy");
    this.#backoff ??= new Backoff();
    if (retryAtMs !== null) this.#backoff.waitUntil(retryAtMs);
    else this.#backoff.extend(nowMs, isBusy ? APPLICATION_WAIT_MS_MAX : undefined);
    this.blocked(failure);
  }

  /** The attach does not end: nothing can be captured since it began. @returns the failure to report */
  attachIsSlow({ target, jobSinceMs }: Readonly<WatchRecord>): WalrustError {
    const failure = slowAttachError(target.path, ATTACH_MS_MAX);
    this.blocked(failure, jobSinceMs);
    return failure;
  }

  /** A job succeeded, or captures are possible: nothing waits. */
  worked(): void {
    this.#backoff = null;
  }

  /**
   * Reports a failure, once.
   * @param isGone whether the file of a glob's find is gone: then only the store's failures count
   */
  report(failure: WalrustError, isGone: boolean): ReportEffect {
    const { code, message, hint, exitCode } = failure;
    if (code === "foreign-writer") return "stop";
    if (code === "foreign-wal") {
      const { conditions } = this.context;
      conditions.raise({ code: "foreign-wal", health: "unhealthy", message, ...(hint && { hint }) });
      return "keep-detached";
    }
    if (exitCode === EXIT_CODES.storage || !isGone) this.failed(failure);
    return "none";
  }

  /** Logs a failure, once, unless it is that somebody else is at the database just now. */
  failed(failure: WalrustError): void {
    const { code, message } = failure;
    if (code === "database-busy") return;
    this.#trouble ??= this.#newTrouble();
    if (!this.#trouble.failed(failure, isSilenceLogged(failure, this.context))) return;
    this.context.emit({ event: "failed", database: this.database, code, message });
  }

  /** The database is set aside, which is reported elsewhere; its end is reported here. */
  refused(failure: WalrustError): void {
    this.#trouble ??= this.#newTrouble();
    this.#trouble.note(failure);
    this.blocked(failure);
  }

  #newTrouble(): Trouble {
    return new Trouble(this.context.env, { database: this.database, level: "error" });
  }

  /** Nothing can be captured at present. @param beganMs since when (monotonic), if that is new */
  blocked(error: WalrustError | null, beganMs = this.context.env.monotonicMs()): void {
    const sinceMs = this.#blockage?.sinceMs ?? beganMs;
    if (this.#blockage === null || error !== null) this.#blockage = { sinceMs, error };
  }

  /**
   * Time has passed: a recovery that has lasted is reported, and a store that is back ends the wait.
   * @param nowMs monotonic
   */
  poll(nowMs: number, captured: Captured | null): void {
    if (this.#trouble?.poll(nowMs) === true) this.#emitRecovered();
    const { liftCount = 0 } = this.breaker ?? {};
    if (liftCount !== this.#liftCount) this.worked();
    this.#liftCount = liftCount;
    if (captured === null) return;
    this.#compareClock(captured.state?.timeMs ?? 0);
    this.#noteDoubt(captured, nowMs);
  }

  /**
   * Nobody knows whether the bucket is up to date while commits are in no file that walrust can read, and
   * until the bucket has confirmed what the local state calls uploaded.
   */
  #noteDoubt({ isBucketUnchecked = false }: Captured, nowMs: number): void {
    const { conditions } = this.context;
    const isInDoubt = isBucketUnchecked || conditions.current.some(hidesCommits);
    const sinceMs = this.#doubtSinceMs ?? nowMs;
    this.#doubtSinceMs = isInDoubt ? sinceMs : null;
    if (!isBucketUnchecked) return conditions.clear(BUCKET_UNCHECKED);
    if (nowMs - sinceMs < UNCHECKED_TOLERANCE_MS || conditions.has(BUCKET_UNCHECKED)) return;
    conditions.raise({
      code: BUCKET_UNCHECKED,
      health: CONDITION_HEALTH[BUCKET_UNCHECKED],
      message: "The bucket has not answered since the attach: what it holds of the database is not known",
      hint: "Check network, endpoint and store; walrust then checks the bucket and uploads what is missing",
    });
  }

  /** The times of captures never decrease: a clock that was ahead once decides them until it is overtaken. */
  #compareClock(newestMs: number): void {
    const { conditions, env } = this.context;
    const aheadMs = newestMs - env.nowMs();
    if (aheadMs <= 0) return conditions.clear(CLOCK_BEHIND);
    if (aheadMs < CLOCK_TOLERANCE_MS || conditions.has(CLOCK_BEHIND)) return;
    const until = new Date(newestMs).toISOString();
    conditions.raise({
      code: CLOCK_BEHIND,
      health: CONDITION_HEALTH[CLOCK_BEHIND],
      message: `The clock is behind the newest capture: until ${until} all captures have that time`,
      hint: "Check the clock; to restore one of these captures, give its TXID instead of a time",
    });
  }

  /** Captures are possible. @returns whether they were not before */
  unblocked(): boolean {
    this.context.conditions.clear("foreign-wal");
    if (this.#blockage === null) return false;
    this.#blockage = null;
    this.worked();
    return true;
  }

  /** A deleted file is followed. @param isWhole whether none of its commits is lost */
  followed(isWhole: boolean): void {
    if (isWhole) this.unblocked();
    else this.blocked(null);
  }

  /** Everything works and nothing waits: reports the end of a failure. */
  healed(): void {
    if (this.circuit !== "closed") return;
    const hadOpened = this.outages?.end() === true;
    if (this.#trouble?.recovered() === true) return this.#emitRecovered();
    if (this.#trouble?.isOpen === true || !hadOpened) return;
    this.context.env.log.info("recovered", { database: this.database });
    this.#emitRecovered();
  }

  #emitRecovered(): void {
    this.context.emit({ event: "recovered", database: this.database });
  }

  // Status

  /** The status of the database now. */
  status(record: Readonly<WatchRecord>, snapshots: Pick<Snapshots, "nextTimeMs">): DatabaseStatus {
    const { target, attachment, stopped, refused } = record;
    const { live, captured } = attachment;
    const failure = stopped ?? refused ?? this.failure;
    return {
      database: target.name,
      path: target.path,
      state: this.#stateOf(record, failure),
      ...(captured === null && !attachment.wasAttached
        ? recordedProgress(target.paths)
        : attachment.progress),
      listedTimeMs: this.#listedTimeMs(record),
      retryCount: this.breaker?.retryCount ?? 0,
      nextSnapshotTimeMs: live === null ? null : snapshots.nextTimeMs(),
      lagMs: this.#lagMs(record),
      walFrames: live === null ? null : walFramesOrNull(live),
      writer: captured?.state?.writer ?? null,
      circuit: this.circuit,
      failure: failure && { code: failure.code, message: failure.message, hint: failure.hint ?? null },
      walSyncIntervalMs: this.context.config.sync.walSyncIntervalMs,
      conditions: this.context.conditions.current,
      replicas: this.context.push?.statusOf(target.name) ?? [],
    };
  }

  #listedTimeMs({ upkeep: { soundMs } }: Readonly<WatchRecord>): number | null {
    const { env } = this.context;
    return Number.isFinite(soundMs) ? Math.round(env.nowMs() - (env.monotonicMs() - soundMs)) : null;
  }

  #stateOf(record: Readonly<WatchRecord>, failure: WalrustError | null): DatabaseStatus["state"] {
    if (record.stopped !== null) return "stopped";
    if (record.isSpoolFull) return "paused";
    if (failure !== null) return "failing";
    const { hasBegun, wasAttached } = record.attachment;
    return hasBegun || wasAttached ? "watching" : "starting";
  }

  /** How far the bucket is behind the captures while nothing fails; 0 when something fails. */
  uploadLagMs(captured: Captured | null): number {
    const isFailing = this.#blockage !== null || this.circuit !== "closed" || this.#trouble?.current != null;
    return isFailing || captured === null ? 0 : (this.#pendingMs(captured) ?? 0);
  }

  #lagMs({ attachment: { live, captured, hasBegun } }: Readonly<WatchRecord>): number | null {
    const nowMs = this.context.env.monotonicMs();
    const since = [this.#blockage?.sinceMs ?? null, this.#doubtSinceMs].filter((one) => one !== null);
    const lags = since.map((sinceMs) => nowMs - sinceMs);
    const pendingMs = captured === null ? null : this.#pendingMs(captured);
    if (pendingMs !== null) lags.push(pendingMs);
    if (lags.length > 0) return Math.round(Math.max(0, ...lags));
    return live !== null && hasBegun && live.isBucketUnchecked !== true ? 0 : null;
  }

  /** The age of the oldest captured file that waits; null when none waits. */
  #pendingMs(captured: Captured): number | null {
    if (captured.pending.length === 0) return null;
    const nowMs = this.context.env.nowMs();
    this.#oldest ??= new OldestPending();
    return nowMs - (this.#oldest.timeMs(captured, nowMs) ?? nowMs);
  }
}

/** The length of the WAL; null when the system refuses to read it, which the next look reports. */
function walFramesOrNull({ pin }: Pick<LiveDatabase, "pin">): number | null {
  try {
    return pin.walIndex()?.mxFrame ?? null;
  } catch {
    return null;
  }
}

/** Whether the log has it that the store does not answer: then that is not logged for each database again. */
function isSilenceLogged(
  { retryable, exitCode }: WalrustError,
  { storeConditions }: Pick<WatchContext, "storeConditions">,
): boolean {
  return retryable && exitCode === EXIT_CODES.storage && storeConditions.has(STORE_SILENT);
}
