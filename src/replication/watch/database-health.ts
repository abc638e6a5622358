/**
 * How one watched database is: the failure it is getting over, since when nothing can be captured of it, its
 * circuit, and how far behind the bucket may be.
 */
import { EXIT_CODES, type WalrustError } from "../../errors.ts";
import { type Circuit, type CircuitChange, isSuspension } from "../../storage/contract/circuit.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import { STORE_SILENT } from "../../storage/network/reachability-monitor.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import {
  type DatabaseStatus,
  NO_PROGRESS,
  OldestPending,
  type Progress,
  progressOf,
} from "./watch-status.ts";

/** Nothing can be captured: since when, on the monotonic clock, and why if it is a failure. */
interface Blockage {
  readonly sinceMs: number;
  readonly error: WalrustError | null;
}

/** What a watcher adds to its health to tell its status. */
export interface WatcherFacts {
  readonly target: WatchTarget;
  readonly live: LiveDatabase | null;
  readonly captured: Captured | null;
  readonly stopped: WalrustError | null;
  /** Why it is set aside until the next look. */
  readonly refused: WalrustError | null;
  readonly isPaused: boolean;
  readonly hasBegun: boolean;
}

/** The health of one database. */
export class DatabaseHealth {
  readonly #trouble: Trouble;
  #blockage: Blockage | null = null;
  #wasCircuitOpen = false;
  #liftCount = 0;
  #last: Progress | null = null;
  #oldest: OldestPending | null = null;

  constructor(
    readonly database: string,
    readonly context: WatchContext,
    readonly breaker: Circuit | null,
  ) {
    this.#trouble = new Trouble(context.env, { database, level: "error" });
  }

  /** The failure it is getting over, said or not. */
  get failure(): WalrustError | null {
    return this.#trouble.current ?? this.blockedBy;
  }

  /** What keeps it from being captured, if it is a failure. */
  get blockedBy(): WalrustError | null {
    return this.#blockage?.error ?? null;
  }

  get circuit(): Circuit["state"] {
    return this.breaker?.state ?? "closed";
  }

  /** When a suspended request is let through again (on the monotonic clock), or null for other failures. */
  retryAtMs(error: unknown): number | null {
    return isSuspension(error) ? (this.breaker?.retryAtMs ?? null) : null;
  }

  /** Whether the store was found to be back since the last call. */
  takeLift(): boolean {
    const { liftCount = 0 } = this.breaker ?? {};
    const isLifted = liftCount !== this.#liftCount;
    this.#liftCount = liftCount;
    return isLifted;
  }

  /** Whether it was attached before. */
  get wasAttached(): boolean {
    return this.#last !== null;
  }

  /** Says a failure, once. */
  failed(failure: WalrustError): void {
    const { code, message } = failure;
    // That somebody else is at the database just now is no failure.
    if (code === "database-busy" || !this.#trouble.failed(failure, isSilenceSaid(failure, this.context)))
      return;
    this.context.emit({ event: "failed", database: this.database, code, message });
  }

  /** It cannot be watched, and that is said elsewhere; its end is said here. */
  refused(failure: WalrustError): void {
    this.#trouble.note(failure);
    this.blocked(failure);
  }

  circuitChanged(change: CircuitChange): void {
    if (change.kind === "opened") this.#wasCircuitOpen = true;
  }

  /** Nothing can be captured at present. @param beganMs since when (monotonic), if that is news */
  blocked(error: WalrustError | null, beganMs = this.context.env.monotonicMs()): void {
    const sinceMs = this.#blockage?.sinceMs ?? beganMs;
    if (this.#blockage === null || error !== null) this.#blockage = { sinceMs, error };
  }

  /** Time has passed: a recovery that has lasted is told. */
  look(nowMs: number): void {
    if (this.#trouble.poll(nowMs)) this.#emitRecovered();
  }

  /** Captures are possible. @returns whether they were not before */
  unblocked(): boolean {
    const wasBlocked = this.#blockage !== null;
    this.#blockage = null;
    return wasBlocked;
  }

  /** Everything works and nothing waits: says so if something did not. */
  healed(): void {
    if (this.circuit !== "closed") return;
    const wasCircuitOpen = this.#wasCircuitOpen;
    this.#wasCircuitOpen = false;
    if (this.#trouble.recovered()) return this.#emitRecovered();
    if (this.#trouble.isOpen || !wasCircuitOpen) return;
    this.context.env.log.info("recovered", { database: this.database });
    this.#emitRecovered();
  }

  #emitRecovered(): void {
    this.context.emit({ event: "recovered", database: this.database });
  }

  /** Where its history stands; as it was last known while it is not attached. */
  progress(captured: Captured | null): Progress {
    const last = this.#last ?? NO_PROGRESS;
    return captured === null ? last : progressOf(captured, last);
  }

  /** It is about to be let go of. */
  remember(captured: Captured | null): void {
    if (captured !== null) this.#last = this.progress(captured);
  }

  /** What is known of it now. */
  status(facts: WatcherFacts): DatabaseStatus {
    const { target, live, captured, stopped, refused } = facts;
    const failure = stopped ?? refused ?? this.failure;
    return {
      database: target.name,
      path: target.path,
      state: this.#stateOf(facts, failure),
      ...this.progress(captured),
      lagMs: Math.round(Math.max(0, this.#lagMs(captured))),
      walFrames: live?.pin.walIndex()?.mxFrame ?? null,
      writer: captured?.state?.writer ?? null,
      circuit: this.circuit,
      failure: failure && { code: failure.code, message: failure.message },
      walSyncIntervalMs: this.context.config.sync.walSyncIntervalMs,
      conditions: this.context.conditions.current,
    };
  }

  #stateOf(facts: WatcherFacts, failure: WalrustError | null): DatabaseStatus["state"] {
    if (facts.stopped !== null) return "stopped";
    if (facts.isPaused) return "paused";
    if (failure !== null) return "failing";
    return facts.hasBegun || this.wasAttached ? "watching" : "starting";
  }

  /** How far the bucket is behind what was captured, while nothing fails; 0 when something does. */
  uploadLagMs(captured: Captured | null): number {
    const isFailing = this.#trouble.current !== null || this.#blockage !== null || this.circuit !== "closed";
    if (isFailing || captured === null || captured.pending.length === 0) return 0;
    return this.#lagMs(captured);
  }

  #lagMs(captured: Captured | null): number {
    const { env } = this.context;
    const blockedMs = this.#blockage === null ? 0 : env.monotonicMs() - this.#blockage.sinceMs;
    if (captured === null || captured.pending.length === 0) return blockedMs;
    this.#oldest ??= new OldestPending();
    const oldestMs = this.#oldest.timeMs(captured, env.nowMs()) ?? env.nowMs();
    return Math.max(blockedMs, env.nowMs() - oldestMs);
  }
}

/** Whether the log says of the store that it does not answer: then it is not said for each database again. */
export function isSilenceSaid(
  { retryable, exitCode }: WalrustError,
  { storeConditions }: Pick<WatchContext, "storeConditions">,
): boolean {
  return retryable && exitCode === EXIT_CODES.storage && storeConditions.has(STORE_SILENT);
}
