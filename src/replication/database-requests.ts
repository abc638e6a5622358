/**
 * What other walrust processes ask of a watched database over the control socket: a snapshot, an upkeep, the
 * live content's checksum. Each waits for the watcher's own turn and changes nothing about what it does by
 * itself.
 */
import { WalrustError } from "../errors.ts";
import { formatChecksum } from "../format/ltx.ts";
import type { DatabaseJobs } from "./database-jobs.ts";
import type { DatabaseSnapshots } from "./database-snapshots.ts";
import type { DatabaseUpkeep } from "./database-upkeep.ts";
import { imageChecksum, type LiveChecksum } from "./image-checksum.ts";
import type { UpkeepResult } from "./maintenance.ts";
import type { RetentionPolicy } from "./retention.ts";
import type { SnapshotResult } from "./snapshot.ts";
import { isSnapshotFile } from "./spool.ts";
import type { WatchContext } from "./watch-types.ts";

const LOOK_MS = 20;

/** What of a watcher requests need. */
export interface RequestHost {
  readonly path: string;
  readonly context: WatchContext;
  readonly signal: AbortSignal;
  readonly upkeep: DatabaseUpkeep;
  readonly snapshots: DatabaseSnapshots;
  readonly jobs: DatabaseJobs;
  stopped(): WalrustError | null;
}

/** The requests to one database. Each @throws WalrustError when it is stopped or the watch ends before. */
export class DatabaseRequests {
  constructor(readonly host: RequestHost) {}

  /** Takes a snapshot as soon as possible. @returns what is in the bucket then */
  async snapshot(): Promise<SnapshotResult> {
    const { host } = this;
    const afterMs = host.context.env.monotonicMs();
    host.snapshots.ask("requested");
    const isSent = (txid: number): boolean =>
      !host.jobs.live?.pending.some((file) => isSnapshotFile(file) && file.maxTxid <= txid);
    await this.#until(() => {
      const { taken } = host.snapshots;
      return taken !== null && taken.atMs >= afterMs && isSent(taken.result.txid);
    });
    const { taken } = host.snapshots;
    if (taken === null) throw new Error("a snapshot was taken");
    return taken.result;
  }

  /** Compacts at once and applies retention, as DatabaseUpkeep.request says. */
  async upkeep(retention: Partial<RetentionPolicy> | undefined, isForced: boolean): Promise<UpkeepResult> {
    const stopped = this.host.stopped();
    if (stopped !== null) throw stopped;
    return this.host.upkeep.request(this.host.jobs.live, retention, isForced);
  }

  /**
   * Reads the whole live database. @returns its checksum at a TXID that is in the bucket by then
   * @throws WalrustError code "database-busy" when it cannot be read just now
   */
  async checksum(): Promise<LiveChecksum> {
    const { host } = this;
    const { jobs } = host;
    await this.#until(() => !jobs.isRunning && jobs.live?.state != null && jobs.anchorDue === null);
    let found: LiveChecksum | null = null;
    await jobs.runFrozen(async (live, index) => {
      const txid = live.state?.txid ?? 0;
      const { env } = host.context;
      found = { txid, checksum: formatChecksum(await imageChecksum(live, index, env, host.signal)) };
    });
    const result = found as LiveChecksum | null;
    if (result === null) {
      throw new WalrustError("database-busy", `${host.path} could not be read`, { retryable: true });
    }
    await this.#until(() => !jobs.live?.pending.some(({ maxTxid }) => maxTxid <= result.txid));
    return result;
  }

  async #until(condition: () => boolean): Promise<void> {
    const { host } = this;
    while (!condition()) {
      const stopped = host.stopped();
      if (stopped !== null) throw stopped;
      if (host.signal.aborted) throw new WalrustError("storage", "The watch ended before it was done");
      await host.context.env.sleep(LOOK_MS, host.signal);
    }
  }
}
