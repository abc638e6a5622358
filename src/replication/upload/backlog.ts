/**
 * Reports uploads that fall behind although the store works, with the reason and the setting that helps.
 * Commits that wait for a store that fails are no backlog: that failure is reported by itself.
 *
 * A backlog begins when the oldest commit of any database has been older than 15 s in every sample of 30 s.
 * It ends when no commit waits for 5 s. Merging keeps each database within about two puts, so a short burst
 * is no backlog.
 */
import type { ConditionSink } from "../../errors.ts";
import type { LimiterFacts } from "../../storage/guard/put-limiter.ts";

/** The code of the condition. */
export const FALLING_BEHIND = "falling-behind";

const BEHIND_MS = 15_000;
const CAUGHT_UP_MS = 5_000;
const LASTS_MS = 30_000;
const LOOK_INTERVAL_MS = 10_000;

/** How far the databases whose store works are behind. */
export interface BacklogSample {
  readonly nowMs: number;
  /** Databases that are behind by more than 5 s. */
  readonly databaseCount: number;
  /** The age of the oldest waiting commit. */
  readonly oldestMs: number;
  readonly gate: LimiterFacts;
}

/** Watches the backlog of a process. */
export class Backlog {
  #sinceMs: number | null = null;
  #nextMs = Number.NEGATIVE_INFINITY;

  /** @param gate what all uploads pass; without it nothing is reported */
  constructor(
    readonly conditions: ConditionSink,
    readonly gate?: { readonly facts: LimiterFacts },
  ) {}

  /** Samples the databases every 10 s. */
  poll(nowMs: number, watchers: Iterable<{ readonly uploadLagMs: number }>): void {
    if (this.gate === undefined || nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + LOOK_INTERVAL_MS;
    let databaseCount = 0;
    let oldestMs = 0;
    for (const { uploadLagMs } of watchers) {
      if (uploadLagMs >= CAUGHT_UP_MS) databaseCount++;
      oldestMs = Math.max(oldestMs, uploadLagMs);
    }
    this.judge({ nowMs, databaseCount, oldestMs, gate: this.gate.facts });
  }

  /** Raises or clears the condition. */
  judge(sample: BacklogSample): void {
    const { nowMs, oldestMs } = sample;
    if (oldestMs < CAUGHT_UP_MS) {
      this.#sinceMs = null;
      return this.conditions.clear(FALLING_BEHIND);
    }
    if (oldestMs < BEHIND_MS) return;
    this.#sinceMs ??= nowMs;
    if (nowMs - this.#sinceMs < LASTS_MS) return;
    const { reason, hint } = explain(sample.gate);
    const what = `uploads fall behind in ${sample.databaseCount} databases, by up to`;
    const message = `${what} ${Math.round(oldestMs / 1000)} s: ${reason}`;
    this.conditions.raise({ code: FALLING_BEHIND, health: "degraded", message, hint });
  }
}

/** The limit that slows the uploads, and the setting that helps. */
export function explain({ reason, limit, ceiling }: LimiterFacts): { reason: string; hint: string } {
  const seldom = "raise sync.wal_sync_interval (--wal-sync-interval), so that fewer, larger objects are sent";
  if (reason === "ceiling") {
    return {
      reason: `all ${ceiling} uploads at once are in use`,
      hint: `Raise cache.uploader_concurrency (--uploader-concurrency), or ${seldom}`,
    };
  }
  if (reason === "throttled") {
    return {
      reason: `the store refuses more than about ${limit} uploads at once (429 or 503)`,
      hint: `Ask the provider for a higher limit, spread the databases over more buckets, or ${seldom}`,
    };
  }
  if (reason === "stalled") {
    return {
      reason: `the line to the store carries no more than ${limit} uploads at once`,
      hint: `Use a faster line, or ${seldom}`,
    };
  }
  if (reason === "failed") {
    return {
      reason: "requests to the store keep failing in between",
      hint: `Check the network, or ${seldom}`,
    };
  }
  return {
    reason: `each upload takes long, on this machine or in the store, with ${limit} at once`,
    hint: `Check the load of this machine and of the store, or ${seldom}`,
  };
}
