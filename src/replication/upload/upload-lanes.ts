/**
 * The uploads of one database while it is watched: at most one per lane at a time, with growing pauses after
 * a failure, and none while the circuit breaker suspends requests. What the store or the spool contradicts is
 * handed up; nothing is given up here.
 */
import { sentRetentionMs } from "../../local/spool-cache.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { type Circuit, isSuspension } from "../../storage/contract/circuit.ts";
import type { Trouble } from "../../storage/contract/trouble.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { type GatherHost, UploadGather } from "./spool-merge.ts";
import { UploadHistory } from "./upload-history.ts";
import { manifestTrouble, nextOfLane, type UploadLane, uploadPending } from "./uploader.ts";

const LANES = ["links", "snapshots"] as const;

/** Who is told how a run ended. */
export interface UploadListener {
  /** A lane is empty. */
  drained(): void;
  /** The local state has to be given up for the bucket's. */
  adopt(reason: string): void;
  failed(error: unknown): void;
}

/** The lanes of one database. */
export class UploadLanes {
  readonly #runs: Record<UploadLane, Promise<void> | null> = { links: null, snapshots: null };
  readonly #pause = new Backoff();
  readonly #gather: UploadGather | null;
  #manifestTrouble: Trouble | null = null;
  #history: UploadHistory | null = null;
  #isHurried = false;
  #liftCount = 0;

  constructor(
    readonly context: WatchContext,
    readonly signal: AbortSignal,
    readonly listener: UploadListener,
    /** The one before the store, if any. */
    readonly breaker: Pick<Circuit, "state" | "isPassable" | "endCooldown" | "liftCount"> | null = null,
    /** When what waits may be merged; without it never. */
    gatherHost: GatherHost | null = null,
  ) {
    this.#gather = gatherHost === null ? null : new UploadGather(context.env, gatherHost);
  }

  /**
   * Starts what is pending, unless it runs already, requests are suspended or a pause is not over. When a
   * trial is possible again there is no other pause.
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
   * Starts what is pending at once: it is the last chance. The first time even while requests are suspended.
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
      // One is tried; the other would only be refused.
      if (isTrial) return;
    }
  }

  /** Resolves when nothing is on its way. */
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
      // A suspension is no failure of its own: the lane starts again when the breaker lets it.
      if (!isSuspension(error)) this.#pause.extend(this.context.env.monotonicMs());
      this.listener.failed(error);
    }
  }
}
