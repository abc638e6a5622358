/**
 * Takes the snapshots of one watched database: by schedule, on request, and when the bucket lost objects. A
 * snapshot that fails stays due and is repeated after a wait of its own. It never delays captures or uploads.
 */
import { errorMessage, hasCode } from "../../errors.ts";
import { isSnapshotFile } from "../../local/spool.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { snapshotImage } from "../capture/anchor.ts";
import { busyError, captureFrozen } from "../capture/frozen-capture.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { pendingSnapshot, type SnapshotResult, snapshotResult } from "./snapshot-once.ts";
import { SnapshotSchedule } from "./snapshot-schedule.ts";

/** A snapshot that takes longer gives way to a waiting one, and continues later. */
const SNAPSHOT_TURN_MS = 5_000;

/** A snapshot that was taken, with the time at which it began, on the monotonic clock. */
export interface TakenSnapshot {
  readonly atMs: number;
  readonly result: SnapshotResult;
}

/** The outcome of an attempt at a snapshot. */
export type SnapshotOutcome =
  | { readonly kind: "taken" }
  /** `anchorReason`: why the history has to be anchored first, or null. */
  | { readonly kind: "failed"; readonly error: unknown; readonly anchorReason: string | null };

/** The snapshots of one database. */
export class Snapshots {
  readonly #schedule: SnapshotSchedule;
  /** Made with the first failure: hundreds of databases have none. */
  #backoff: Backoff | null = null;
  /** The reason of a snapshot that was requested, or that failed; null: the schedule decides. */
  #due: string | null = null;
  #isTaking = false;
  /** The due snapshot has to be of now. The schedule is content with one that waits for its upload. */
  #isOfNow = false;
  #taken: TakenSnapshot | null = null;
  /** Whether retention follows the upload of the last snapshot. */
  #isRetentionDue = false;
  #isFailing = false;
  /** Captures up to this TXID are counted as changes. */
  #countedTxid = 0;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
  ) {
    this.#schedule = new SnapshotSchedule(context.env.monotonicMs());
  }

  get taken(): TakenSnapshot | null {
    return this.#taken;
  }

  /**
   * Whether the last snapshot failed. A database that another process keeps busy is no failure.
   */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Whether a snapshot was requested, or failed, and is not taken yet. */
  get isRequested(): boolean {
    return this.#due !== null;
  }

  /** The database was attached: the age of its newest snapshot decides about one at start. */
  begin({ state }: LiveDatabase): void {
    const { env, config } = this.context;
    if (state === null) return;
    this.#countedTxid = state.txid;
    const ageMs = state.snapshot === null ? null : env.nowMs() - state.snapshot.timeMs;
    const hasChanges = state.snapshot === null || state.txid > state.snapshot.txid;
    this.#schedule.begin(env.monotonicMs(), ageMs, hasChanges, config.sync);
  }

  /**
   * The history has reached a TXID. A checkpoint of ours, or one of the application that waited, captures too
   * and reports no frames.
   */
  reached(txid: number, frameCount: number): void {
    if (frameCount > 0 || txid > this.#countedTxid) this.captured(Math.max(1, frameCount));
    this.#countedTxid = txid;
  }

  /** Frames were captured. */
  captured(frameCount: number): void {
    this.#schedule.captured(this.context.env.monotonicMs(), frameCount);
  }

  /** The first anchor of a history was taken, which is a snapshot. */
  begun(): void {
    this.#schedule.taken(this.context.env.monotonicMs());
  }

  /** Has a snapshot of now taken as soon as possible. */
  request(reason: string): void {
    this.#due ??= reason;
    this.#isOfNow = true;
  }

  /** When the next snapshot is due, in ms since the epoch; null while no commit waits for one. */
  nextTimeMs(): number | null {
    const { env, config } = this.context;
    const nowMs = env.monotonicMs();
    const dueMs = this.#due === null ? this.#schedule.nextMs(config.sync, nowMs) : nowMs;
    return dueMs === null ? null : env.nowMs() + Math.max(0, dueMs - nowMs);
  }

  /** Whether a snapshot is due now. */
  isDue(nowMs: number): boolean {
    // While a snapshot waits for its place, the schedule still finds it due.
    if (this.#isTaking || this.#backoff?.isOver(nowMs) === false) return false;
    return this.#reasonOrNull(nowMs) !== null;
  }

  #reasonOrNull(nowMs: number): string | null {
    return this.#due ?? this.#schedule.dueOrNull(this.context.config.sync, nowMs);
  }

  /**
   * Takes the due snapshot of a database that has a state. A snapshot that cannot be taken stays due.
   */
  async take(live: LiveDatabase): Promise<SnapshotOutcome> {
    const { env, config, anchors } = this.context;
    const { signal } = this.context.closing;
    const reason = this.#reasonOrNull(env.monotonicMs()) ?? "";
    const isOfNow = this.#isOfNow;
    // A request from here on means another snapshot.
    this.#due = null;
    this.#isOfNow = false;
    this.#isTaking = true;
    let anchorReason: string | null = null;
    try {
      const work = async (between: () => Promise<void>): Promise<void> => {
        const frozen = captureFrozen(live, env);
        if (frozen.kind === "re-anchor") {
          anchorReason = frozen.reason;
          throw busyError(live, frozen.reason);
        }
        env.log.debug(`taking a snapshot (${reason})`, { database: this.name });
        const startedMs = env.monotonicMs();
        const waiting = pendingSnapshot(live);
        const isEnough = !isOfNow || waiting?.maxTxid === live.state?.txid;
        const known = isEnough ? waiting : undefined;
        const betweenSlices = (doneBytes: number, totalBytes: number): Promise<void> => {
          this.context.onImage?.(this.name, doneBytes, totalBytes);
          return between();
        };
        const file = known ?? (await snapshotImage(live, frozen.index, env, signal, betweenSlices));
        this.#schedule.taken(env.monotonicMs());
        this.#taken = { atMs: startedMs, result: snapshotResult(live, file, this.context.store) };
        if ((live.state?.txid ?? 0) > file.maxTxid) this.#schedule.captured(env.monotonicMs(), 1);
        this.#countedTxid = live.state?.txid ?? 0;
      };
      await anchors.runInTurns(work, SNAPSHOT_TURN_MS, env, signal);
      this.#isRetentionDue = config.sync.compactAfterSnapshot;
      this.#backoff = null;
      this.#isFailing = false;
      return { kind: "taken" };
    } catch (error) {
      this.#due ??= reason;
      this.#isOfNow ||= isOfNow;
      this.#isFailing ||= !hasCode(error, "database-busy");
      this.#backoff ??= new Backoff();
      this.#backoff.extend(env.monotonicMs());
      // The database is not what was captured: a difference brings the history back to it.
      if (hasCode(error, "integrity")) anchorReason ??= errorMessage(error);
      return { kind: "failed", error, anchorReason };
    } finally {
      this.#isTaking = false;
    }
  }

  /** Whether retention is due because the last snapshot is uploaded: true once for each snapshot. */
  takeRetention(live: LiveDatabase | null): boolean {
    if (!this.#isRetentionDue || live?.pending.some(isSnapshotFile)) return false;
    this.#isRetentionDue = false;
    return true;
  }
}
