/**
 * Decides when the uploads of one watched database run: at most one run a lane at a time, after growing waits
 * when one failed, and none while the circuit breaker suspends requests. The listener decides about a bucket
 * or spool that contradicts the local state.
 */
import { sentRetentionMs } from "../../local/spool-cache.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { type Circuit, isSuspension } from "../../storage/contract/circuit.ts";
import type { Trouble } from "../../storage/contract/trouble.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { type MergeHost, MergeTiming } from "./spool-merge.ts";
import { UploadHistory } from "./upload-history.ts";
import { manifestTrouble, nextOfLane, type UploadLane, uploadPending } from "./uploader.ts";

const LANES = ["links", "snapshots"] as const;

/** Learns how runs end. */
export interface UploadListener {
  /** A lane is empty. */
  drained(): void;
  /** The bucket or the spool contradicts the local state: adopt the bucket's newest TXID. */
  adopt(reason: string): void;
  failed(error: unknown): void;
}

/** The lanes of one database. */
export class UploadLanes {
  readonly #runs: Record<UploadLane, Promise<void> | null> = { links: null, snapshots: null };
  readonly #pause = new Backoff();
  readonly #gather: MergeTiming | null;
  #manifestTrouble: Trouble | null = null;
  #history: UploadHistory | null = null;
  #isHurried = false;
  #liftCount = 0;

  constructor(
    readonly context: Pick<WatchContext, "store" | "env" | "version" | "emit" | "puts" | "config">,
    readonly signal: AbortSignal,
    readonly listener: UploadListener,
    /** The circuit breaker of the database, if any. */
    readonly breaker: Pick<Circuit, "state" | "isPassable" | "endCooldown" | "liftCount"> | null = null,
    /** Allows merges of waiting captures; if absent, none is merged. */
    gatherHost: MergeHost | null = null,
  ) {
    this.#gather = gatherHost === null ? null : new MergeTiming(context.env, gatherHost);
  }

  /**
   * Starts a run in each lane with pending files, unless one runs, requests are suspended or a wait is not
   * over. A trial of a suspended store needs no other wait.
   */
  startDue(live: Captured, nowMs: number): void {
    if (live.pending.length === 0) return;
    const { liftCount = 0 } = this.breaker ?? {};
    if (liftCount !== this.#liftCount) this.#pause.reset();
    this.#liftCount = liftCount;
    const state = this.breaker?.state ?? "closed";
    const isDue = state === "closed" ? this.#pause.isOver(nowMs) : this.breaker?.isPassable === true;
    if (isDue) this.#startLanes(live);
    else if (this.#runs.links === null) this.#gather?.whileWaiting(live);
  }

  /**
   * Starts the runs at once, as the last chance before the end: the first time even while requests are
   * suspended.
   */
  start(live: Captured): void {
    if (!this.#isHurried) this.breaker?.endCooldown();
    this.#isHurried = true;
    this.#startLanes(live);
  }

  #startLanes(live: Captured): void {
    const isTrial = this.breaker?.state === "half-open";
    for (const lane of LANES) {
      if (this.#runs[lane] !== null || nextOfLane(live, lane) === undefined) continue;
      this.#runs[lane] = this.#run(live, lane).finally(() => {
        this.#runs[lane] = null;
      });
      // Only one call is the trial; a second one would be refused.
      if (isTrial) return;
    }
  }

  /** Resolves when no run is under way. */
  async done(): Promise<void> {
    await Promise.all(LANES.map((lane) => this.#runs[lane]));
  }

  async #run(live: Captured, lane: UploadLane): Promise<void> {
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
      if (outcome.kind === "adopt") this.listener.adopt(outcome.reason);
      if (outcome.kind !== "drained") return;
      this.#pause.reset();
      this.listener.drained();
    } catch (error) {
      if (this.signal.aborted) return;
      // A suspension needs no wait of its own: the lane starts again when the circuit breaker allows a call.
      if (!isSuspension(error)) this.#pause.extend(this.context.env.monotonicMs());
      this.listener.failed(error);
    }
  }
}
