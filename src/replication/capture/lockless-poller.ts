/**
 * Polls the WAL of one database that is followed without locks (database/pin/lockless-pin.ts). Commits are
 * captured from the frames of the WAL itself, and changes of the file as a difference. The poller never
 * checkpoints. It asks for a pin as soon as all users of the database have shared one wal-index for a while.
 */
import type { LocklessPin } from "../../database/pin/lockless-pin.ts";
import { pinModeOf } from "../../database/pin/open-pin.ts";
import type { Env } from "../../env.ts";
import { type CaptureOutcome, capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";

/** Why a database without locks is anchored: commits are in its file that no frame shows. */
export const FILE_WRITTEN = "the database file was written";

const INTERVAL_MS = 1_000;
/** A pin is taken after it was possible for this long. */
const STAY_MS = 5_000;
/** The longest such wait; it doubles each time that an application soon stops sharing the wal-index. */
const STAY_MS_MAX = 600_000;
/** After a long poll of a long WAL, other databases get the loop for this many times as long. */
const PAUSE_FACTOR = 10;

/** The outcome of a poll. */
export type PollOutcome =
  | { readonly kind: "quiet" }
  | { readonly kind: "captured"; readonly frames: number }
  /** The files were replaced, or the kind of pin has to change: attach again, then anchor by difference. */
  | { readonly kind: "replaced"; readonly reason: string }
  /** The database file was overwritten, and its WAL may hold pages of the old content (file-changes.ts). */
  | { readonly kind: "mixture" }
  | { readonly kind: "re-anchor"; readonly reason: string };

const QUIET: PollOutcome = { kind: "quiet" };

/** The poller of one database, kept while the database is attached again and again. */
export class LocklessPoller {
  #nextMs = 0;
  /** When a pin became possible; null while it is not. */
  #pinnableSinceMs: number | null = null;
  #stayMs = STAY_MS;
  #endedMs = Number.NEGATIVE_INFINITY;
  #pin: LocklessPin | null = null;
  #hasUnseenCommits = false;

  constructor(readonly env: Env) {}

  /** Whether the next attach has to follow without locks, because a new pin did not help. */
  get hasUnseenCommits(): boolean {
    return this.#hasUnseenCommits;
  }

  /**
   * Commits stayed past the wal-index of a pin. The first time a new pin may help, after that only no pin.
   */
  sawUnseenCommits(nowMs: number): void {
    this.#hasUnseenCommits = nowMs - this.#endedMs < STAY_MS_MAX;
    this.#endedMs = nowMs;
  }

  /**
   * Captures what is due.
   * @param isRequested captures what there is at any time, even if the files seem unchanged
   * @throws WalrustError when the disk refuses; the position is unchanged then
   */
  poll(live: LiveDatabase, pin: LocklessPin, nowMs: number, isRequested = false): PollOutcome {
    if (pin !== this.#pin) this.#begin(pin, nowMs);
    if (nowMs < this.#nextMs && !isRequested) return QUIET;
    this.#nextMs = nowMs + INTERVAL_MS;
    if (pin.changedFile() !== "none") return { kind: "replaced", reason: "the database file was replaced" };
    const moved = pin.writtenFile();
    if (moved !== "none") this.#pinnableSinceMs = this.#hasUnseenCommits ? null : this.#pinnableSinceMs;
    if (this.#isPinnable(pin, nowMs)) return this.#end(nowMs);
    if (moved === "none" && !isRequested) return QUIET;
    const outcome: CaptureOutcome =
      moved === "database" ? { kind: "re-anchor", reason: FILE_WRITTEN } : capture(live, this.env);
    this.#nextMs = nowMs + INTERVAL_MS + PAUSE_FACTOR * (this.env.monotonicMs() - nowMs);
    // A checkpoint that empties the WAL meanwhile takes away the frames of commits that the WAL had.
    const isEmptied = outcome.kind !== "re-anchor" && pin.isFileWritten();
    if (isEmptied) return { kind: "re-anchor", reason: FILE_WRITTEN };
    if (outcome.kind === "nothing") return QUIET;
    return outcome.kind === "captured" ? { kind: "captured", frames: outcome.frameCount } : outcome;
  }

  #begin(pin: LocklessPin, nowMs: number): void {
    this.#pin = pin;
    this.#pinnableSinceMs = null;
    const isSoon = nowMs - this.#endedMs < STAY_MS_MAX;
    this.#stayMs = isSoon ? Math.min(STAY_MS_MAX, this.#stayMs * 2) : STAY_MS;
    this.#nextMs = 0;
  }

  #isPinnable(pin: LocklessPin, nowMs: number): boolean {
    const isPossible = pinModeOf(pin.path, this.env).kind === "pin";
    this.#pinnableSinceMs = isPossible ? (this.#pinnableSinceMs ?? nowMs) : null;
    return this.#pinnableSinceMs !== null && nowMs - this.#pinnableSinceMs >= this.#stayMs;
  }

  #end(nowMs: number): PollOutcome {
    this.#endedMs = nowMs;
    this.#hasUnseenCommits = false;
    return { kind: "replaced", reason: "nobody uses the database past its -shm any more" };
  }
}
