/**
 * Decides when the uploads of one watched database run: at most one run a lane at a time, after growing waits
 * when one failed, and none while the circuit breaker suspends requests. Each run returns its outcome: the
 * caller decides about a bucket or spool that contradicts the local state.
 */
import { sentRetentionMs } from "../../local/spool-cache.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { type Circuit, isSuspension } from "../../storage/contract/circuit.ts";
import type { Trouble } from "../../storage/contract/trouble.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { type ChainHold, MergeTiming } from "./spool-merge.ts";
import { UploadHistory } from "./upload-history.ts";
import {
  manifestTrouble,
  nextOfLane,
  type UploadLane,
  type UploadOutcome,
  uploadPending,
} from "./uploader.ts";

const LANES = ["links", "snapshots"] as const;

/** The outcome of a run in one lane. */
export type LaneOutcome = UploadOutcome | { readonly kind: "failed"; readonly error: unknown };

const NONE: readonly Promise<LaneOutcome>[] = [];

/** The lanes of one database. */
export class UploadLanes {
  readonly #runs: Record<UploadLane, Promise<LaneOutcome> | null> = { links: null, snapshots: null };
  readonly #pause = new Backoff();
  readonly #gather: MergeTiming | null;
  #manifestTrouble: Trouble | null = null;
  #history: UploadHistory | null = null;
  #isHurried = false;
  #liftCount = 0;

  constructor(
    readonly context: Pick<WatchContext, "store" | "env" | "version" | "emit" | "puts" | "config">,
    readonly signal: AbortSignal,
    /** The circuit breaker of the database, if any. */
    readonly breaker: Pick<Circuit, "state" | "isPassable" | "endCooldown" | "liftCount"> | null = null,
    /** How much of the chain is held fixed; if absent, no captures are merged. */
    hold: ChainHold | null = null,
  ) {
    this.#gather = hold === null ? null : new MergeTiming(context.env, hold);
  }

  /**
   * Starts a run in each lane with pending files, unless one runs, requests are suspended or a wait is not
   * over. A trial of a suspended store needs no other wait.
   * @returns the runs that were started
   */
  startDue(live: Captured, nowMs: number): readonly Promise<LaneOutcome>[] {
    if (live.pending.length === 0) return NONE;
    const { liftCount = 0 } = this.breaker ?? {};
    if (liftCount !== this.#liftCount) this.#pause.reset();
    this.#liftCount = liftCount;
    const state = this.breaker?.state ?? "closed";
    const isDue = state === "closed" ? this.#pause.isOver(nowMs) : this.breaker?.isPassable === true;
    if (isDue) return this.#startLanes(live);
    if (this.#runs.links === null) this.#gather?.whileWaiting(live);
    return NONE;
  }

  /**
   * Starts the runs at once, as the last chance before the end: the first time even while requests are
   * suspended.
   * @returns the runs that were started
   */
  start(live: Captured): readonly Promise<LaneOutcome>[] {
    if (!this.#isHurried) this.breaker?.endCooldown();
    this.#isHurried = true;
    return this.#startLanes(live);
  }

  #startLanes(live: Captured): readonly Promise<LaneOutcome>[] {
    const isTrial = this.breaker?.state === "half-open";
    const started: Promise<LaneOutcome>[] = [];
    for (const lane of LANES) {
      if (this.#runs[lane] !== null || nextOfLane(live, lane) === undefined) continue;
      const run = this.#run(live, lane).finally(() => {
        this.#runs[lane] = null;
      });
      this.#runs[lane] = run;
      started.push(run);
      // Only one call is the trial; a second one would be refused.
      if (isTrial) break;
    }
    return started;
  }

  /** Resolves when no run is under way. */
  async done(): Promise<void> {
    await Promise.all(LANES.map((lane) => this.#runs[lane]));
  }

  async #run(live: Captured, lane: UploadLane): Promise<LaneOutcome> {
    try {
      this.#manifestTrouble ??= manifestTrouble(live.name, this.context.env);
      this.#history ??= new UploadHistory();
      const known = {
        manifestTrouble: this.#manifestTrouble,
        history: this.#history,
        gather: this.#gather,
        keepsSent: sentRetentionMs(this.context.config.cache) > 0,
      };
      const context = { ...this.context, ...known };
      const outcome = await uploadPending(live, context, this.signal, lane);
      if (outcome.kind === "drained") this.#pause.reset();
      return outcome;
    } catch (error) {
      if (this.signal.aborted) return { kind: "aborted" };
      // A suspension needs no wait of its own: the lane starts again when the circuit breaker allows a call.
      if (!isSuspension(error)) this.#pause.extend(this.context.env.monotonicMs());
      return { kind: "failed", error };
    }
  }
}
