/**
 * The snapshots of one watched database: when one is due (by schedule, on request, because the bucket lost
 * objects), how it is taken, and what follows it. A snapshot that fails stays due and is tried again after a
 * pause of its own; it never holds anything else up.
 */
import { hasCode } from "../../errors.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { isSnapshotFile } from "../../local/spool.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { snapshotImage } from "../capture/anchor.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { pendingSnapshot, type SnapshotResult, snapshotResult } from "./snapshot-once.ts";
import { SnapshotSchedule } from "./snapshot-schedule.ts";

/** A snapshot that takes longer lets another go on when one waits. */
const SNAPSHOT_TURN_MS = 5_000;

/** A snapshot that was taken: when it began, on the monotonic clock, and what it is. */
export interface TakenSnapshot {
  readonly atMs: number;
  readonly result: SnapshotResult;
}

/** The snapshots of one database. */
export class Snapshots {
  readonly #clock: SnapshotSchedule;
  readonly #pause = new Backoff();
  #due: string | null = null;
  /** Somebody asked for one of now; for the schedule one that waits for its upload will do. */
  #isAsked = false;
  #taken: TakenSnapshot | null = null;
  /** Whether retention follows when the snapshot that was just taken is uploaded. */
  #isRetentionDue = false;
  #isFailing = false;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
  ) {
    this.#clock = new SnapshotSchedule(context.env.monotonicMs());
  }

  get taken(): TakenSnapshot | null {
    return this.#taken;
  }

  /**
   * Whether one could not be taken, and none was since; that somebody else is at the database is no failure.
   */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** The database was attached: how old its newest snapshot is decides about one at start. */
  begin({ state }: LiveDatabase): void {
    const { env, config } = this.context;
    if (state === null) return;
    const ageMs = state.snapshot === null ? null : env.nowMs() - state.snapshot.timeMs;
    const hasChanges = state.snapshot === null || state.txid > state.snapshot.txid;
    this.#clock.begin(env.monotonicMs(), ageMs, hasChanges, config.sync);
  }

  /** Something was captured. */
  captured(frameCount: number): void {
    this.#clock.captured(this.context.env.monotonicMs(), frameCount);
  }

  /** The first snapshot of a history was taken as its anchor. */
  begun(): void {
    this.#clock.taken(this.context.env.monotonicMs());
  }

  /** One of now is wanted as soon as possible. */
  ask(reason: string): void {
    this.#due ??= reason;
    this.#isAsked = true;
  }

  /** Whether one is to be taken now. */
  isDue(nowMs: number): boolean {
    this.#due ??= this.#clock.dueOrNull(this.context.config.sync, nowMs);
    return this.#due !== null && this.#pause.isOver(nowMs);
  }

  /**
   * Takes the one that is due, through `frozen`, which captures up to now under a freeze.
   * @throws whatever keeps it from being taken; it stays due
   */
  async take(live: LiveDatabase, frozen: () => WalIndexHeader): Promise<void> {
    const { env, config, anchors, closing } = this.context;
    const reason = this.#due ?? "";
    const isAsked = this.#isAsked;
    // One that is asked for from here on is another one.
    this.#due = null;
    this.#isAsked = false;
    try {
      const work = async (between: () => Promise<void>): Promise<void> => {
        const index = frozen();
        env.log.debug(`taking a snapshot (${reason})`, { database: this.name });
        const startedMs = env.monotonicMs();
        const waiting = pendingSnapshot(live);
        const isEnough = !isAsked || waiting?.maxTxid === live.state?.txid;
        const known = isEnough ? waiting : undefined;
        const file = known ?? (await snapshotImage(live, index, env, closing, between));
        this.#clock.taken(env.monotonicMs());
        this.#taken = { atMs: startedMs, result: snapshotResult(live, file, this.context.store) };
        if ((live.state?.txid ?? 0) > file.maxTxid) this.#clock.captured(env.monotonicMs(), 1);
      };
      await anchors.runInTurns(work, SNAPSHOT_TURN_MS, env, closing);
      this.#isRetentionDue = config.sync.compactAfterSnapshot;
      this.#pause.reset();
      this.#isFailing = false;
    } catch (error) {
      this.#due ??= reason;
      this.#isAsked ||= isAsked;
      this.#isFailing ||= !hasCode(error, "database-busy");
      this.#pause.extend(env.monotonicMs());
      throw error;
    }
  }

  /** Whether retention is due because a snapshot is in the bucket now; true once for each. */
  takeRetention(live: LiveDatabase | null): boolean {
    if (!this.#isRetentionDue || live?.pending.some(isSnapshotFile)) return false;
    this.#isRetentionDue = false;
    return true;
  }
}
