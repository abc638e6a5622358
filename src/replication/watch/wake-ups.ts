/**
 * Decides when the loop looks at each database, and sleeps until then. An event of the system for a -wal file
 * is a hint that brings the next look forward; without events every database is polled. An event of the
 * folder shows that a file of the database was removed or replaced, so the files need few checks.
 *
 *     something to do (a job, an upload to start, a failure …)   every 40 ms
 *     with events:     written without a pause                   every 100 ms
 *                      captured in the last 10 s                 every 500 ms
 *                      idle                                      every 2 s, in at most 4 turns a second
 *     without events:  captured in the last 10 s; idle           every 40 ms; every 80 ms
 *     the WAL will be long enough for a checkpoint               then, after 5 ms at the soonest
 *
 * Invariants:
 * 1. Every database is looked at once in 2 s at least, whatever events come or fail to come.
 * 2. The loop turns at most once in 5 ms, with hundreds of databases in 25, however often files are written.
 *    Two turns in 10 ms may come sooner, 1 or 2 ms after the one before: they look again for a commit that
 *    was just reported. Events are read no more often than the loop turns.
 * 3. A hint lasts until the database is captured, or half a second: SQLite shows a commit to readers after
 *    its last write. A hint that a process has closed the file lasts until a look could empty the WAL.
 * 4. A file system that sends no events is noticed by the captures that no event announced.
 */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { OpenWalEvents, WalEvents, WalWatch } from "../../database/wal/wal-events.ts";
import type { Env } from "../../env.ts";
import type { FileNews } from "../capture/file-changes.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { Pace } from "./watch-record.ts";

/** Between two looks at a database with something to do. Also the least time between two captures. */
export const ACTIVE_TICK_MS = 40;
const IDLE_TICK_MS = 80;
const ACTIVE_SWEEP_MS = 500;
/** A WAL that is written fast must not outgrow the checkpoints, which only a look begins. */
const FAST_SWEEP_MS = 100;
/** Events since the last look, from which on a file counts as written without a pause. */
const FAST_HINT_COUNT = 4;
const IDLE_SWEEP_MS = 2_000;
/** Captures in a row without an event, from which on a file system is taken for one that sends none. */
const SILENT_CAPTURE_COUNT = 5;
/** Looks at idle databases share their turns of the loop, because each turn passes over all databases. */
const IDLE_TURN_MS = 250;
/** Between two questions whether a blocking checkpoint of the application waits for a pin. */
const YIELD_MS = 125;
/** The longest sleep: requests are noticed within this time. */
const SLEEP_MS_MAX = 250;
const TURN_MS_MIN = 5;
/**
 * A turn of the loop passes over all databases: more of them make the least time between two turns longer,
 * and that between two reads of events.
 */
const DATABASES_PER_MS = 20;
/**
 * A hint that no capture follows: frames of a transaction that is not committed yet, or the last write of a
 * commit that is captured already. Afterwards the looks of the pace find the commit.
 */
const HINT_MS_MAX = 500;
const HINT_MS_MIN = 1;
/** A write so long after the one before is another commit, as a rule. */
const ANOTHER_MS = 50;
/**
 * The last close releases the locks just after it has closed the -wal; the WAL is emptied after a capture.
 */
const CLOSE_MS = 120;
/** The files that SQLite keeps beside a database. */
const COMPANION = /-(wal|shm)$/;

/** The reason of an abort that ends a sleep. Without one, each abort would make an error with a stack. */
const WOKEN = new Error("the sleep has ended");

/** A database as the schedule sees it. */
export interface Woken {
  /** Assigned by `WakeUps` alone. */
  readonly turn: Turn;
  readonly live: LiveDatabase | null;
  readonly poller: {
    readonly lastCaptureMs: number;
    /** When the next capture is allowed, on the monotonic clock. */
    readonly captureDueMs: number;
    /** When the files were last compared with those of the pin. */
    readonly filesCheckedMs: number;
    /** Whether a checkpoint of the application could wait for the pin, as far as the last look knew. */
    readonly mayBlockCheckpoint: boolean;
    /** When a checkpoint of ours will be due, on the monotonic clock; infinite when nobody knows. */
    readonly checkpointDueMs: number;
  };
  paceAt(nowMs: number): Pace;
}

/** The looks at one database. */
export class Turn {
  lookedMs = Number.NEGATIVE_INFINITY;
  /** When the next look is due, as known after the last look or before the last sleep. */
  dueMs = Number.NEGATIVE_INFINITY;
  /** When a write was last reported that no capture has followed yet; null: none. */
  hintedMs: number | null = null;
  /** The wait from the last look to the next one for that commit: at first none, then it doubles. */
  hintWaitMs = 0;
  /** Events since the last look. */
  hintCount = 0;
  /** When a process was last reported to have closed the file; null: none since a look after that. */
  closedMs: number | null = null;
  /** The last capture that a look has seen. */
  captureMs = Number.NEGATIVE_INFINITY;
  /** Whether there was something to do at the last look: another look soon finds what has become possible. */
  wasBusy = false;
  /** Captures in a row that no event announced. */
  silentCount = 0;
  /** The attached database whose WAL is watched. */
  live: LiveDatabase | null = null;
  watch: WalWatch | null = null;
  /** The watch of the folder of the database; null: no event tells of its files. */
  folderWatch: WalWatch | null = null;
  /** Whether a file of the database may have been removed, replaced or overwritten since the last check. */
  areFilesTouched = false;

  /** The events for the files of a database since these were last checked. */
  fileNewsOf(live: LiveDatabase | null): FileNews {
    if (this.areFilesTouched) return "touched";
    if (this.folderWatch === null || !isEventful(this, live)) return "unknown";
    return this.hintedMs === null ? "still" : "written";
  }
}

/** The looks at all databases. */
export class WakeUps {
  readonly #byWatch = new Map<WalWatch, Woken>();
  readonly #events: WalEvents | null;
  #wake: AbortController | null = null;
  /** When the sleep ends. Hints bring it forward. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #turnedMs = Number.NEGATIVE_INFINITY;
  /** When the next question is due. */
  #yieldDueMs = Number.NEGATIVE_INFINITY;
  /** The last two turns that came sooner than others, the older one first. */
  #hastenedMs: [number, number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  #hasWarned = false;

  constructor(
    readonly env: Env,
    open: OpenWalEvents,
  ) {
    this.#events = open((watch, isClosed, name) => this.#noted(watch, isClosed, name));
  }

  /** Whether a database is due for a look. */
  isDue({ turn }: Woken, nowMs: number): boolean {
    return nowMs >= turn.dueMs;
  }

  /**
   * Whether a checkpoint of the application can wait for the pin of a database. A WAL that is backfilled and
   * was not written since lets every checkpoint pass.
   */
  mayBlockCheckpoint({ turn, live, poller }: Woken): boolean {
    return poller.mayBlockCheckpoint || turn.hintedMs !== null || !isEventful(turn, live);
  }

  /** Whether to ask now if checkpoints of the application wait for pins: true once for each interval. */
  takeQuestion(nowMs: number): boolean {
    if (nowMs < this.#yieldDueMs) return false;
    this.#yieldDueMs = nowMs + YIELD_MS;
    return true;
  }

  /** A database was looked at. */
  looked(woken: Woken, nowMs: number): void {
    const { turn } = woken;
    const { lastCaptureMs, captureDueMs } = woken.poller;
    turn.lookedMs = nowMs;
    if (woken.poller.filesCheckedMs >= nowMs) turn.areFilesTouched = false;
    if (turn.live !== woken.live) this.#follow(woken, woken.live);
    const wasHinted = turn.hintedMs !== null;
    if (lastCaptureMs > turn.captureMs) turn.silentCount = wasHinted ? 0 : turn.silentCount + 1;
    turn.captureMs = lastCaptureMs;
    turn.hintCount = 0;
    if (turn.closedMs !== null && nowMs >= Math.max(turn.closedMs, lastCaptureMs) + CLOSE_MS)
      turn.closedMs = null;
    if (turn.hintedMs !== null) {
      const isLate = nowMs >= captureDueMs && nowMs - turn.hintedMs >= HINT_MS_MAX;
      const isOver = isLate || lastCaptureMs >= turn.hintedMs;
      if (isOver) turn.hintedMs = null;
      if (nowMs >= captureDueMs) turn.hintWaitMs = Math.max(HINT_MS_MIN, turn.hintWaitMs * 2);
    }
    turn.wasBusy = woken.paceAt(nowMs) === "busy";
    turn.dueMs = dueMsOf(woken, nowMs);
  }

  /** A database is not watched any more. */
  forget(woken: Woken): void {
    this.#follow(woken, null);
    // Until its watcher has closed, the database stays attached, and is not to be watched again.
    woken.turn.live = woken.live;
  }

  /**
   * Sleeps until a database or a question is due, or the signal aborts; at most for `SLEEP_MS_MAX`. An event
   * that makes nothing due ends no sleep.
   */
  async sleep(all: readonly Woken[], until: AbortSignal): Promise<void> {
    const { env } = this;
    const nowMs = env.monotonicMs();
    const crowdMs = all.length / DATABASES_PER_MS;
    const earliestMs = this.#turnedMs + Math.max(this.#turnMs(all, nowMs), crowdMs);
    if (nowMs < earliestMs) await env.sleep(earliestMs - nowMs, until);
    let dueMs = nowMs + SLEEP_MS_MAX;
    let isAnyBlocking = false;
    for (const woken of all) {
      woken.turn.dueMs = dueMsOf(woken, nowMs);
      dueMs = Math.min(dueMs, woken.turn.dueMs);
      isAnyBlocking ||= this.mayBlockCheckpoint(woken);
    }
    if (isAnyBlocking) dueMs = Math.min(dueMs, this.#yieldDueMs);
    this.#dueMs = dueMs;
    this.#events?.arm();
    // Looks that take longer than the pauses between them must not keep uploads and signals from their turn.
    if (this.#leftMs > 0 || nowMs >= earliestMs) await this.#sleepUnlessWoken(this.#leftMs, until);
    while (this.#leftMs > 0 && !until.aborted) {
      // A file that is written without end has no read for each event.
      await env.sleep(Math.min(this.#leftMs, Math.max(TURN_MS_MIN, crowdMs)), until);
      this.#events?.arm();
      if (this.#leftMs === 0) break;
      await this.#sleepUnlessWoken(this.#leftMs, until);
    }
    this.#turnedMs = env.monotonicMs();
  }

  /** The time until the sleep ends. */
  get #leftMs(): number {
    return Math.max(0, this.#dueMs - this.env.monotonicMs());
  }

  /** The least time from the last turn to the next one. */
  #turnMs(all: readonly Woken[], nowMs: number): number {
    const [olderMs, newerMs] = this.#hastenedMs;
    if (nowMs - olderMs < 2 * TURN_MS_MIN) return TURN_MS_MIN;
    let turnMs = TURN_MS_MIN;
    for (const woken of all)
      if (isJustHinted(woken, this.#turnedMs + TURN_MS_MIN)) turnMs = Math.min(turnMs, woken.turn.hintWaitMs);
    if (turnMs < TURN_MS_MIN) this.#hastenedMs = [newerMs, nowMs];
    return turnMs;
  }

  async #sleepUnlessWoken(durationMs: number, until: AbortSignal): Promise<void> {
    if (this.#events === null) return this.env.sleep(durationMs, until);
    const wake = new AbortController();
    const end = (): void => wake.abort(WOKEN);
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

  #noted(watch: WalWatch | null, isClosed: boolean, name: string | null): void {
    const written = watch === null ? undefined : this.#byWatch.get(watch);
    if (written !== undefined) this.#hint(written, isClosed);
    else {
      // The watch of a folder has no entry, because its events are rare.
      for (const woken of this.#byWatch.values()) {
        if (watch !== null && !isMeant(woken.turn, watch, isClosed, name)) continue;
        woken.turn.areFilesTouched = true;
        // The folder itself was moved or deleted: its events tell nothing of the path any more.
        if (watch !== null && name === null) {
          woken.turn.folderWatch = null;
          this.#events?.unwatch(watch);
        }
        this.#hint(woken, watch === null);
      }
    }
    this.#wake?.abort(WOKEN);
  }

  #hint(woken: Woken, isClosed: boolean): void {
    const nowMs = this.env.monotonicMs();
    const { turn } = woken;
    // A file that is written without end has no look at each event.
    if (turn.hintedMs === null || nowMs - turn.hintedMs >= ANOTHER_MS) turn.hintWaitMs = 0;
    turn.hintedMs = nowMs;
    turn.hintCount++;
    if (isClosed) turn.closedMs = nowMs;
    turn.dueMs = Math.min(turn.dueMs, dueMsOf(woken, nowMs));
    this.#dueMs = Math.min(this.#dueMs, turn.dueMs, this.#yieldDueMs);
  }

  /** Watches the WAL of the database that is attached now. */
  #follow(woken: Woken, live: LiveDatabase | null): void {
    const { turn } = woken;
    if (turn.watch !== null) {
      this.#events?.unwatch(turn.watch);
      this.#byWatch.delete(turn.watch);
      this.#leaveFolder(turn);
    }
    turn.live = live;
    // Without locks, changes of the database file count too.
    const isWatched = this.#events !== null && live !== null && !live.pin.isLockless;
    turn.watch = isWatched ? (this.#events?.watchOrNull(live.pin.walPath) ?? null) : null;
    turn.silentCount = 0;
    if (turn.watch !== null && live !== null) {
      this.#byWatch.set(turn.watch, woken);
      turn.folderWatch = this.#events?.watchFolderOrNull(dirname(live.path)) ?? null;
      // A file may have been replaced between the pin and the watch.
      turn.areFilesTouched = true;
    } else if (isWatched && existsSync(live.pin.walPath)) this.#warn();
  }

  /** Ends the watch of a folder with the last of its databases. */
  #leaveFolder(turn: Turn): void {
    const { folderWatch } = turn;
    turn.folderWatch = null;
    if (folderWatch === null) return;
    for (const { turn: other } of this.#byWatch.values()) if (other.folderWatch === folderWatch) return;
    this.#events?.unwatch(folderWatch);
  }

  #warn(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.env.log.warn("the system reports no more changes of files: such databases are polled instead", {
      hint: "Raise the limit fs.inotify.max_user_watches; polling costs more CPU and nothing else",
    });
  }
}

/**
 * Whether an event of a folder may mean another content at one of the paths of this database. Each connection
 * closes -wal and -shm, and only another program overwrites them: the wal-index shows that.
 * @param name null: the whole folder
 */
function isMeant(turn: Turn, watch: WalWatch, isClosed: boolean, name: string | null): boolean {
  const { live, folderWatch } = turn;
  if (live === null || folderWatch !== watch) return false;
  return name === null || (isClosed ? name : name.replace(COMPANION, "")) === basename(live.path);
}

/** Whether events announce the commits of the database that is attached now. */
function isEventful(turn: Turn, live: LiveDatabase | null): boolean {
  return turn.watch !== null && turn.live === live && turn.silentCount < SILENT_CAPTURE_COUNT;
}

/** Whether looks have found nothing of a commit that was just reported, and the next is due by then. */
function isJustHinted({ turn: { hintedMs, hintWaitMs, dueMs } }: Woken, byMs: number): boolean {
  return hintedMs !== null && hintWaitMs > 0 && hintWaitMs <= 2 * HINT_MS_MIN && dueMs < byMs;
}

/** When the next look at a database is due, on the monotonic clock. */
function dueMsOf(woken: Woken, nowMs: number): number {
  const { turn } = woken;
  const { lookedMs, hintedMs, closedMs, hintWaitMs } = turn;
  const paceNow = woken.paceAt(nowMs);
  if (paceNow === "none") return Number.POSITIVE_INFINITY;
  const pace = turn.wasBusy ? "busy" : paceNow;
  const sweepMs = lookedMs + intervalMs(pace, turn, woken.live);
  const isShared = pace === "idle" && isEventful(turn, woken.live);
  const lookDueMs = isShared ? Math.floor(sweepMs / IDLE_TURN_MS) * IDLE_TURN_MS : sweepMs;
  const { checkpointDueMs } = woken.poller;
  const dueMs = Math.min(lookDueMs, Math.max(lookedMs + TURN_MS_MIN, checkpointDueMs));
  if (hintedMs === null && closedMs === null) return dueMs;
  const { lastCaptureMs, captureDueMs } = woken.poller;
  const hintDueMs = hintedMs === null ? dueMs : Math.max(captureDueMs, lastCaptureMs + ACTIVE_TICK_MS);
  const closeDueMs = closedMs === null ? dueMs : Math.max(closedMs, lastCaptureMs) + CLOSE_MS;
  return Math.min(dueMs, Math.max(lookedMs + hintWaitMs, Math.min(hintDueMs, closeDueMs)));
}

/** The longest time between two looks. */
function intervalMs(pace: Exclude<Pace, "none">, turn: Turn, live: LiveDatabase | null): number {
  if (pace === "busy") return ACTIVE_TICK_MS;
  if (!isEventful(turn, live)) return pace === "active" ? ACTIVE_TICK_MS : IDLE_TICK_MS;
  if (pace === "idle") return IDLE_SWEEP_MS;
  return turn.hintCount >= FAST_HINT_COUNT ? FAST_SWEEP_MS : ACTIVE_SWEEP_MS;
}
