/**
 * Gathers what waits behind an upload: when the lane of one database is free again, all increments that were
 * captured meanwhile become one, and go in one put. While nothing can be sent they are gathered too, once
 * enough have come, so that an outage leaves no thousands of files.
 *
 * An increment that may have been sent, by this process or by the one before it, is never part of it: the
 * store may hold it already, whatever the answer was.
 */
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { isChainLink } from "../../format/chain.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { Captured } from "../capture/live-database.ts";
import { mergeInSlices, mergeNow, type PlannedMerge, planMerge } from "./spool-merge.ts";

/** While nothing can be sent: how many more have to wait before they are merged, and with what. */
const IDLE_COUNT = 64;
const IDLE_GROWTH = 2;

/** When pending increments may be merged. */
export interface GatherHost {
  /**
   * The TXID beyond which the chain may change, or null while it must not: a job counts on it, or the history
   * is broken.
   */
  mergeableAfter(): number | null;
  /** Runs a long merge beside which nothing is captured. Never rejects. */
  exclusively(work: () => Promise<void>): Promise<void>;
}

/** The gathering of one database. */
export class UploadGather {
  #live: Captured | null = null;
  /** No link up to this TXID may be merged: it may have been sent. */
  #sentTxid = 0;
  /** How many waited when they were last merged while nothing could be sent. */
  #idleCount = 0;

  constructor(
    readonly env: Pick<Env, "log" | "turn">,
    readonly host: GatherHost,
  ) {}

  /** A link is about to be sent. */
  sending(live: Captured, file: SpoolFile): void {
    this.#attend(live);
    this.#sentTxid = Math.max(this.#sentTxid, file.maxTxid);
    this.#idleCount = 0;
  }

  /** The lane is free: merges all that waits, unless one goes first that may have been sent before. */
  async beforeUpload(live: Captured): Promise<void> {
    this.#attend(live);
    const next = live.pending.find(isChainLink);
    if (next === undefined || next.minTxid <= this.#sentTxid) return;
    const plan = this.#planOrNull(live);
    if (plan === null) return;
    if (!plan.isLong) return this.#merge(live, plan);
    await this.host.exclusively(async () => {
      try {
        await mergeInSlices(live, plan, () => this.env.turn());
      } catch (error) {
        this.#say(live, error);
      }
    });
  }

  /** Nothing can be sent now: merges what came in, once it is a lot. */
  whileWaiting(live: Captured): void {
    if (live.pending.length < this.#idleCount + IDLE_COUNT) return;
    const plan = this.#planOrNull(live, IDLE_GROWTH);
    if (plan !== null && !plan.isLong) this.#merge(live, plan);
    this.#idleCount = live.pending.length;
  }

  #planOrNull(live: Captured, growth?: number): PlannedMerge | null {
    const afterTxid = this.host.mergeableAfter();
    if (afterTxid === null) return null;
    this.#attend(live);
    // A link ends where a snapshot stands, so that the history leads through each of them.
    const snapshotTxid = live.state?.snapshot?.txid ?? 0;
    return planMerge(live, Math.max(afterTxid, this.#sentTxid, snapshotTxid), growth);
  }

  #merge(live: Captured, plan: PlannedMerge): void {
    try {
      mergeNow(live, plan);
    } catch (error) {
      this.#say(live, error);
    }
  }

  /** The first file that waits is the one that the process before this one was sending when it ended. */
  #attend(live: Captured): void {
    const isKnown = live === this.#live && (live.state?.txid ?? 0) >= this.#sentTxid;
    if (isKnown) return;
    this.#live = live;
    this.#sentTxid = live.pending.find(isChainLink)?.maxTxid ?? 0;
    this.#idleCount = 0;
  }

  /** They are sent one by one then: nothing has changed. */
  #say(live: Captured, error: unknown): void {
    this.env.log.debug(`cannot merge the captures that wait: ${errorMessage(error)}`, {
      database: live.name,
    });
  }
}
