/**
 * The parts of one database that only uploads and upkeep need. The watcher makes them when a file waits or a
 * job is due, and drops them when they are calm: an idle database keeps its upload history and its upkeep
 * schedule, both in its record.
 */
import type { Circuit } from "../../storage/contract/circuit.ts";
import type { Captured, LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import { Upkeep } from "../upkeep/upkeep.ts";
import { isUploadDue, UploadLanes } from "../upload/uploader.ts";
import type { WatchRecord } from "./watch-record.ts";

/** The uploads and the upkeep of one database while there is something to do. */
export class Work {
  readonly lanes: UploadLanes;
  readonly upkeep: Upkeep;
  /** Uploads that run, each with the folding of its outcome. */
  readonly sending = new Set<Promise<void>>();
  readonly #hasCache: boolean;

  constructor(
    record: WatchRecord,
    context: WatchContext,
    circuit: Circuit,
    readonly snapshots: Snapshots,
  ) {
    this.#hasCache = context.config.cache.enabled;
    // With `--no-cache` at most one capture waits: there is nothing to merge.
    const hold = this.#hasCache ? record : null;
    this.lanes = new UploadLanes(context, context.closing, circuit, hold, record.uploads);
    this.upkeep = new Upkeep(record.target.name, context, record.upkeep, snapshots);
  }

  /**
   * Whether a pending file waits for the start of its upload. With `--no-cache` the next capture waits for
   * the end.
   */
  isWaiting(live: Captured): boolean {
    return isUploadDue(live) && (!this.#hasCache || this.lanes.isWaiting(live));
  }

  /** Whether nothing is under way. */
  get isAtRest(): boolean {
    return this.sending.size === 0 && this.lanes.isAtRest && this.upkeep.isAtRest;
  }

  /** Whether nothing is under way and no failure has to be remembered, so that this object can be dropped. */
  get isCalm(): boolean {
    return this.isAtRest && this.lanes.isCalm && this.upkeep.isCalm;
  }

  /** Starts the job of the upkeep that is due, unless one runs. */
  keepUp(live: LiveDatabase, nowMs: number): void {
    void this.upkeep.startDue(live, nowMs)?.then(({ snapshotReason }) => {
      if (snapshotReason !== null) this.snapshots.request(snapshotReason);
    });
  }

  /** Resolves when every upload that has been started has ended, and its outcome is folded. */
  async uploadsDone(): Promise<void> {
    await Promise.all(this.sending);
  }
}
