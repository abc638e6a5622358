/** One database and its looks on a fake clock, with events that a test sends. */
import { expect } from "bun:test";
import type { OnWalEvent, WalEvents, WalWatch } from "../../../../src/database/wal/wal-events.ts";
import type { LiveDatabase } from "../../../../src/replication/capture/live-database.ts";
import { Turn, WakeUps, type Woken } from "../../../../src/replication/watch/wake-ups.ts";
import type { Pace } from "../../../../src/replication/watch/watch-record.ts";
import { recordingEnv } from "../../../support/recording-log.ts";

export const INTERVAL_MS = 1_000;

/** An attached database. */
export function liveAt(path: string, isLockless: boolean): LiveDatabase {
  return { path, pin: { isLockless, walPath: `${path}-wal` } } as LiveDatabase;
}

/** One database, and the events of its WAL. */
export class Run {
  nowMs = 100_000;
  pace: Pace = "idle";
  lastCaptureMs = Number.NEGATIVE_INFINITY;
  live: LiveDatabase = liveAt("/data/app.db", false);
  filesCheckedMs = Number.NEGATIVE_INFINITY;
  readonly watched: string[] = [];
  /** The watched folders; the watch of each is 1,000 more than its index. */
  readonly folders: string[] = [];
  readonly sleeps: number[] = [];
  /** Runs during the next sleep. */
  during: () => void = () => {};
  intervalMs = INTERVAL_MS;
  grantedCount = Number.POSITIVE_INFINITY;
  mayBlock = false;
  checkpointDueMs = Number.POSITIVE_INFINITY;
  #onEvent: OnWalEvent = () => {};
  /** Events that nothing has read. */
  #queue: (() => void)[] = [];
  #isRead = false;
  #isAsleep = false;
  readonly #env = recordingEnv({
    monotonicMs: () => this.nowMs,
    sleep: async (durationMs, signal) => {
      this.sleeps.push(durationMs);
      const { during } = this;
      this.during = () => {};
      this.#isAsleep = true;
      during();
      this.#isAsleep = false;
      this.#readQueue();
      if (signal?.aborted !== true) this.nowMs += durationMs;
    },
  });
  readonly wakeUps: WakeUps;
  readonly woken: Woken;

  constructor(hasEvents = true) {
    const run = this;
    this.woken = {
      turn: new Turn(),
      get live() {
        return run.live;
      },
      poller: {
        get lastCaptureMs() {
          return run.lastCaptureMs;
        },
        get captureDueMs() {
          return run.lastCaptureMs + run.intervalMs;
        },
        get filesCheckedMs() {
          return run.filesCheckedMs;
        },
        get mayBlockCheckpoint() {
          return run.mayBlock;
        },
        get checkpointDueMs() {
          return run.checkpointDueMs;
        },
      },
      paceAt: () => this.pace,
    };
    const open = (onEvent: OnWalEvent) => {
      this.#onEvent = onEvent;
      return hasEvents ? this.#events() : null;
    };
    this.wakeUps = new WakeUps(this.#env.env, open);
  }

  /** An event. During a sleep, it waits for a read of events, which is over after one event or more. */
  hint(watch: WalWatch | null, isClosed = false, name: string | null = null): void {
    const event = (): void => this.#onEvent(watch, isClosed, name);
    if (this.#isAsleep) this.#queue.push(event);
    else event();
  }

  #readQueue(): void {
    if (!this.#isRead || this.#queue.length === 0) return;
    this.#isRead = false;
    for (const event of this.#queue.splice(0)) event();
  }

  #events(): WalEvents {
    const watchOrNull = (path: string): WalWatch | null =>
      this.watched.length < this.grantedCount ? this.watched.push(path) : null;
    const watchFolderOrNull = (folder: string): WalWatch | null => {
      if (!this.folders.includes(folder)) this.folders.push(folder);
      return this.folders.indexOf(folder) + 1_000;
    };
    const unwatch = (watch: WalWatch): void => {
      if (watch >= 1_000) this.folders[watch - 1_000] = "";
      else this.watched[watch - 1] = "";
    };
    const arm = (): void => {
      this.#isRead = true;
    };
    return { watchOrNull, watchFolderOrNull, unwatch, arm, close() {} } as unknown as WalEvents;
  }

  get warnings(): string[] {
    return this.#env.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  }

  /** Looks when the database is due, for some time. @returns the times between the looks */
  async pauses(durationMs: number): Promise<number[]> {
    const looks: number[] = [];
    for (const endMs = this.nowMs + durationMs; this.nowMs < endMs; ) {
      if (this.wakeUps.isDue(this.woken, this.nowMs)) {
        looks.push(this.nowMs);
        this.wakeUps.looked(this.woken, this.nowMs);
      }
      await this.sleep();
    }
    return looks.slice(1).map((lookMs, index) => lookMs - looks[index]!);
  }

  /** Sleeps as the loop does after each turn. */
  async sleep(all: readonly Woken[] = [this.woken], until = new AbortController().signal): Promise<void> {
    this.wakeUps.takeQuestion(this.nowMs);
    await this.wakeUps.sleep(all, until);
  }

  /** Looks once. */
  look(): void {
    expect(this.wakeUps.isDue(this.woken, this.nowMs)).toBe(true);
    this.wakeUps.looked(this.woken, this.nowMs);
  }
}
