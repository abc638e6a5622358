/**
 * Decides when the loop looks at each database, and sleeps until then. An event of the system for a -wal file
 * is a hint that brings the next look forward; without events every database is polled.
 *
 *     something to do (a job, an upload, a failure …)            every 40 ms
 *     with events:     captured in the last 10 s                 every 100 ms
 *                      idle                                      every 2 s
 *     without events:  captured in the last 10 s; idle           every 40 ms; every 80 ms
 *
 * Invariants:
 * 1. Every database is looked at once in 2 s at least, whatever events come or fail to come. Files that are
 *    replaced beside an idle database are noticed in that time, and with its next commit at once.
 * 2. The loop turns at most once in 5 ms, with hundreds of databases in 15, however often files are written.
 * 3. A hint lasts until the database is captured: SQLite shows a commit to readers after its last write.
 */
import { existsSync } from "node:fs";
import type { OpenWalEvents, WalEvents, WalWatch } from "../../database/wal/wal-events.ts";
import type { Env } from "../../env.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { Pace } from "./watch-record.ts";

/** Between two looks at a database with something to do. Also the least time between two captures. */
export const ACTIVE_TICK_MS = 40;
const IDLE_TICK_MS = 80;
/** A WAL that is written fast must not outgrow the checkpoints, which only a look begins. */
const ACTIVE_SWEEP_MS = 100;
const IDLE_SWEEP_MS = 2_000;
/** The longest sleep: foreign checkpoints and requests are noticed within this time. */
const SLEEP_MS_MAX = 125;
const TURN_MS_MIN = 5;
/** A turn of the loop passes over all databases: more of them make its least distance longer. */
const DATABASES_PER_MS = 33;
/** A hint that no capture follows, such as frames of a transaction that is not committed yet. */
const HINT_MS_MAX = 2_000;
const HINT_MS_MIN = 5;

/** A database as the schedule sees it. */
export interface Woken {
  /** Assigned by `WakeUps` alone. */
  readonly turn: Turn;
  readonly live: LiveDatabase | null;
  readonly poller: {
    readonly lastCaptureMs: number;
    /** When the next capture is allowed, on the monotonic clock. */
    readonly captureDueMs: number;
  };
  paceAt(nowMs: number): Pace;
}

/** The looks at one database. */
export class Turn {
  lookedMs = Number.NEGATIVE_INFINITY;
  /** When a write was last reported that no capture has followed yet; null: none. */
  hintedMs: number | null = null;
  /** The wait from the last look to the next one for that commit: at first none, then it doubles. */
  hintWaitMs = 0;
  /** The attached database whose WAL is watched. */
  live: LiveDatabase | null = null;
  watch: WalWatch | null = null;
}

/** The looks at all databases. */
export class WakeUps {
  readonly #byWatch = new Map<WalWatch, Turn>();
  readonly #events: WalEvents | null;
  #wake: AbortController | null = null;
  #turnedMs = Number.NEGATIVE_INFINITY;
  #hasWarned = false;

  constructor(
    readonly env: Env,
    open: OpenWalEvents,
  ) {
    this.#events = open((watch) => this.#hint(watch));
  }

  /** Whether a database is due for a look. */
  isDue(woken: Woken, nowMs: number): boolean {
    return nowMs >= this.#dueMs(woken, nowMs);
  }

  /** A database was looked at. */
  looked(woken: Woken, nowMs: number): void {
    const { turn } = woken;
    turn.lookedMs = nowMs;
    if (turn.live !== woken.live) this.#follow(turn, woken.live);
    if (turn.hintedMs === null) return;
    const isOver = woken.poller.lastCaptureMs >= turn.hintedMs || nowMs - turn.hintedMs >= HINT_MS_MAX;
    if (isOver) turn.hintedMs = null;
    turn.hintWaitMs = Math.min(ACTIVE_TICK_MS, Math.max(HINT_MS_MIN, turn.hintWaitMs * 2));
  }

  /** A database is not watched any more. */
  forget({ turn, live }: Woken): void {
    this.#follow(turn, null);
    // Until its watcher has closed, the database stays attached, and is not to be watched again.
    turn.live = live;
  }

  /** Sleeps until a database is due, something was written, or the signal aborts. */
  async sleep(all: readonly Woken[], until: AbortSignal): Promise<void> {
    const { env } = this;
    const nowMs = env.monotonicMs();
    const earliestMs = this.#turnedMs + Math.max(TURN_MS_MIN, all.length / DATABASES_PER_MS);
    if (nowMs < earliestMs) await env.sleep(earliestMs - nowMs, until);
    let dueMs = nowMs + SLEEP_MS_MAX;
    for (const woken of all) dueMs = Math.min(dueMs, this.#dueMs(woken, nowMs));
    this.#events?.arm();
    const leftMs = dueMs - env.monotonicMs();
    if (leftMs > 0) await this.#sleepUnlessWoken(leftMs, until);
    this.#turnedMs = env.monotonicMs();
  }

  async #sleepUnlessWoken(durationMs: number, until: AbortSignal): Promise<void> {
    if (this.#events === null) return this.env.sleep(durationMs, until);
    const wake = new AbortController();
    const end = (): void => wake.abort();
    this.#wake = wake;
    until.addEventListener("abort", end, { once: true });
    if (!until.aborted) await this.env.sleep(durationMs, wake.signal);
    until.removeEventListener("abort", end);
    this.#wake = null;
  }

  /** Ends all watches. */
  close(): void {
    this.#events?.close();
  }

  #dueMs(woken: Woken, nowMs: number): number {
    const { turn } = woken;
    const { lookedMs, watch, hintedMs, hintWaitMs } = turn;
    const pace = woken.paceAt(nowMs);
    if (pace === "none") return Number.POSITIVE_INFINITY;
    const { lastCaptureMs, captureDueMs } = woken.poller;
    const isEventful = watch !== null && turn.live === woken.live;
    const dueMs = lookedMs + intervalMs(pace, isEventful);
    if (hintedMs === null) return dueMs;
    return Math.min(dueMs, Math.max(lookedMs + hintWaitMs, captureDueMs, lastCaptureMs + ACTIVE_TICK_MS));
  }

  #hint(watch: WalWatch | null): void {
    const nowMs = this.env.monotonicMs();
    const hinted = watch === null ? this.#byWatch.values() : [this.#byWatch.get(watch)];
    for (const turn of hinted) {
      if (turn === undefined) continue;
      // A file that is written without end has no look at each event.
      if (turn.hintedMs === null) turn.hintWaitMs = 0;
      turn.hintedMs = nowMs;
    }
    this.#wake?.abort();
  }

  /** Watches the WAL of the database that is attached now. */
  #follow(turn: Turn, live: LiveDatabase | null): void {
    if (turn.watch !== null) {
      this.#events?.unwatch(turn.watch);
      this.#byWatch.delete(turn.watch);
    }
    turn.live = live;
    // Without locks, changes of the database file count too.
    const isWatched = this.#events !== null && live !== null && !live.pin.isLockless;
    turn.watch = isWatched ? (this.#events?.watchOrNull(live.pin.walPath) ?? null) : null;
    if (turn.watch !== null) this.#byWatch.set(turn.watch, turn);
    else if (isWatched && existsSync(live.pin.walPath)) this.#warn();
  }

  #warn(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.env.log.warn("the system reports no more changes of files: such databases are polled instead", {
      hint: "Raise the limit fs.inotify.max_user_watches; polling costs more CPU and nothing else",
    });
  }
}

/** The longest time between two looks. */
function intervalMs(pace: Exclude<Pace, "none">, isEventful: boolean): number {
  if (pace === "busy") return ACTIVE_TICK_MS;
  if (pace === "active") return isEventful ? ACTIVE_SWEEP_MS : ACTIVE_TICK_MS;
  return isEventful ? IDLE_SWEEP_MS : IDLE_TICK_MS;
}
