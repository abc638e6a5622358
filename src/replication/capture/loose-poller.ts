/**
 * One database's WAL from look to look while it is followed without locks (database/loose-pin.ts): commits
 * are captured from the WAL's own frames; what cannot be followed there is captured as a difference from the
 * file. Nothing is checkpointed, and a pin is taken again as soon as its users share one wal-index for a
 * while.
 */

import type { LoosePin } from "../../database/pin/loose-pin.ts";
import { gripOf } from "../../database/pin/open-pin.ts";
import type { Env } from "../../env.ts";
import { type CaptureOutcome, capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";

const INTERVAL_MS = 1_000;
/** For how long a pin must have been possible before it is taken. */
const STAY_MS = 5_000;
/** An application that shares the wal-index only now and then is followed loosely for longer each time. */
const STAY_MS_MAX = 600_000;
/** A look that takes long, over a long WAL, leaves the loop to others for this many times as long. */
const REST_TIMES = 10;

/** What a look found. */
export type PollOutcome =
  | { readonly kind: "quiet" }
  | { readonly kind: "captured"; readonly frames: number }
  /** Its files are others, or it can be held otherwise: attach again, re-anchor by difference. */
  | { readonly kind: "replaced"; readonly reason: string }
  /** The database file was written over; its WAL may hold pages of the old content (see file-changes.ts). */
  | { readonly kind: "mixture" }
  | { readonly kind: "re-anchor"; readonly reason: string };

const QUIET: PollOutcome = { kind: "quiet" };

/** Follows one database loosely, each time that it has to be. */
export class LoosePoller {
  #nextMs = 0;
  /** Since when a pin has been possible, or null. */
  #pinnableSinceMs: number | null = null;
  #stayMs = STAY_MS;
  #endedMs = Number.NEGATIVE_INFINITY;
  #pin: LoosePin | null = null;
  #hasUnseenCommits = false;

  constructor(readonly env: Env) {}

  /** Whether the next attach has to be a loose one: a pin was taken again in vain. */
  get hasUnseenCommits(): boolean {
    return this.#hasUnseenCommits;
  }

  /** Commits stayed past the wal-index. Once, another pin may mend it; then it has to be followed loosely. */
  sawUnseenCommits(nowMs: number): void {
    this.#hasUnseenCommits = nowMs - this.#endedMs < STAY_MS_MAX;
    this.#endedMs = nowMs;
  }

  /** Does what is due. @throws WalrustError when the disk refuses; the position is unchanged then */
  poll(live: LiveDatabase, pin: LoosePin, nowMs: number, isUrgent: boolean): PollOutcome {
    if (pin !== this.#pin) this.#begin(pin, nowMs);
    if (!isUrgent && nowMs < this.#nextMs) return QUIET;
    this.#nextMs = nowMs + INTERVAL_MS;
    if (pin.changedFile() !== "none") return { kind: "replaced", reason: "the database file was replaced" };
    const moved = pin.movedFile();
    if (moved !== "none") this.#pinnableSinceMs = this.#hasUnseenCommits ? null : this.#pinnableSinceMs;
    if (this.#isPinnable(pin, nowMs)) return this.#end(nowMs);
    if (moved === "none") return QUIET;
    const outcome: CaptureOutcome =
      moved === "database"
        ? { kind: "re-anchor", reason: "the database file was written" }
        : capture(live, this.env);
    this.#nextMs = nowMs + INTERVAL_MS + REST_TIMES * (this.env.monotonicMs() - nowMs);
    if (outcome.kind === "nothing") return QUIET;
    return outcome.kind === "captured" ? { kind: "captured", frames: outcome.frameCount } : outcome;
  }

  #begin(pin: LoosePin, nowMs: number): void {
    this.#pin = pin;
    this.#pinnableSinceMs = null;
    const isSoon = nowMs - this.#endedMs < STAY_MS_MAX;
    this.#stayMs = isSoon ? Math.min(STAY_MS_MAX, this.#stayMs * 2) : STAY_MS;
    this.#nextMs = 0;
  }

  #isPinnable(pin: LoosePin, nowMs: number): boolean {
    const isPossible = gripOf(pin.path, this.env).kind === "pin";
    this.#pinnableSinceMs = isPossible ? (this.#pinnableSinceMs ?? nowMs) : null;
    return this.#pinnableSinceMs !== null && nowMs - this.#pinnableSinceMs >= this.#stayMs;
  }

  #end(nowMs: number): PollOutcome {
    this.#endedMs = nowMs;
    this.#hasUnseenCommits = false;
    return { kind: "replaced", reason: "nobody uses the database past its -shm any more" };
  }
}
