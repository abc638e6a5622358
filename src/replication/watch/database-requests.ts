/**
 * What other walrust processes ask of a watched database over the control socket: a snapshot, an upkeep, the
 * live content's checksum. Each waits for the watcher's own turn and changes nothing about what it does by
 * itself. While a failure keeps it from being done it is waited for only as long as that may pass soon
 * (request-patience.ts); the watch goes on with it all the same.
 */
import { EXIT_CODES, WalrustError } from "../../errors.ts";
import { formatChecksum } from "../../format/ltx.ts";
import { isSnapshotFile } from "../../local/spool.ts";
import { imageChecksum, type LiveChecksum } from "../capture/image-checksum.ts";
import type { GivenUpkeep, UpkeepResult } from "../upkeep/maintenance.ts";
import type { SnapshotResult } from "../upkeep/snapshot-once.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import type { Upkeep } from "../upkeep/upkeep.ts";
import type { DatabaseHealth } from "./database-health.ts";
import type { DatabaseJobs } from "./database-jobs.ts";
import { type Hindrance, RequestPatience } from "./request-patience.ts";

const LOOK_MS = 20;

/** What of a watcher requests need. */
export interface RequestHost {
  readonly signal: AbortSignal;
  readonly health: Pick<DatabaseHealth, "failure" | "circuit">;
  readonly upkeep: Upkeep;
  readonly snapshots: Snapshots;
  readonly jobs: DatabaseJobs;
  /** Why it is not watched, if it is not. */
  stopped(): WalrustError | null;
}

/**
 * The requests to one database. Each @throws WalrustError when it is stopped or the watch ends before, and
 * the failure that keeps it from being done.
 */
export class DatabaseRequests {
  constructor(readonly host: RequestHost) {}

  /** Takes a snapshot as soon as possible. @returns what is in the bucket then */
  async snapshot(): Promise<SnapshotResult> {
    const { snapshots, jobs } = this.host;
    const afterMs = jobs.context.env.monotonicMs();
    snapshots.request("requested");
    const patience = new RequestPatience();
    const takenOrNull = (): SnapshotResult | null =>
      snapshots.taken !== null && snapshots.taken.atMs >= afterMs ? snapshots.taken.result : null;
    const isSent = ({ txid }: SnapshotResult): boolean =>
      jobs.live !== null && !jobs.live.pending.some((file) => isSnapshotFile(file) && file.maxTxid <= txid);
    await this.#until(() => {
      const taken = takenOrNull();
      if (taken !== null && isSent(taken)) return true;
      const failure = this.#failureOrNull(patience, taken !== null);
      if (failure !== null) throw this.#unfinished(taken, failure);
      return false;
    });
    const taken = takenOrNull();
    if (taken === null) throw new Error("a snapshot was taken");
    return taken;
  }

  /** What was asked for is not done, and what becomes of it. */
  #unfinished(taken: SnapshotResult | null, failure: WalrustError): WalrustError {
    const { code, message, context, retryable, hint } = failure;
    const { folder, spoolFolder } = this.host.jobs.target.paths;
    const place = spoolFolder.startsWith(`${folder}/`) ? "beside the database" : `in ${spoolFolder}`;
    const state =
      taken === null
        ? "The snapshot is not taken yet; the watch goes on trying"
        : `The snapshot of TXID ${taken.txid} is captured and waits ${place}; ` +
          "it goes up by itself when the store answers again";
    const details = { context, retryable, cause: failure, ...(hint === undefined ? {} : { hint }) };
    return new WalrustError(code, `${state}: ${message}`, details);
  }

  /** Compacts at once and applies retention, as Upkeep.request says. */
  async upkeep(given: GivenUpkeep, isForced: boolean): Promise<UpkeepResult> {
    const stopped = this.host.stopped();
    if (stopped !== null) throw stopped;
    return this.host.upkeep.request(this.host.jobs.live, given, isForced);
  }

  /**
   * Reads the whole live database. @returns its checksum at a TXID that is in the bucket by then
   * @throws WalrustError code "database-busy" when it cannot be read just now
   */
  async checksum(): Promise<LiveChecksum> {
    const { host } = this;
    const { jobs } = host;
    const { env } = jobs.context;
    const patience = new RequestPatience();
    const isHindered = (isCaptured: boolean): void => {
      const failure = this.#failureOrNull(patience, isCaptured);
      if (failure !== null) throw failure;
    };
    await this.#until(() => {
      if (!jobs.isRunning && jobs.live?.state != null && jobs.anchorDue === null) return true;
      isHindered(false);
      return false;
    });
    let found: LiveChecksum | null = null;
    await jobs.runFrozen(async (live, index) => {
      const txid = live.state?.txid ?? 0;
      found = { txid, checksum: formatChecksum(await imageChecksum(live, index, env, host.signal)) };
    });
    const result = found as LiveChecksum | null;
    if (result === null) {
      throw new WalrustError("database-busy", `${jobs.target.path} could not be read`, { retryable: true });
    }
    const isSent = (): boolean =>
      jobs.live !== null && !jobs.live.pending.some(({ maxTxid }) => maxTxid <= result.txid);
    await this.#until(() => {
      if (isSent()) return true;
      isHindered(true);
      return false;
    });
    return result;
  }

  #failureOrNull(patience: RequestPatience, isCaptured: boolean): WalrustError | null {
    const hindrance = this.#hindranceOrNull(isCaptured);
    return hindrance && patience.look(hindrance, this.host.jobs.context.env.monotonicMs());
  }

  /**
   * What may keep something from being captured, or from being uploaded when it is; null while a job that
   * needs no store is at the database, which has its own end.
   */
  #hindranceOrNull(isCaptured: boolean): Hindrance | null {
    const { jobs, health } = this.host;
    const { failure } = health;
    const isSuspended = health.circuit === "open";
    if (isCaptured) {
      // Failures to capture more keep nothing from being uploaded, unless the bucket's history is adopted.
      const isOfUpload = failure?.exitCode === EXIT_CODES.storage || jobs.adoptReason !== null;
      return { failure: isOfUpload ? failure : null, isSuspended };
    }
    if (jobs.live !== null && jobs.isRunning) return null;
    return { failure, isSuspended: jobs.live === null && isSuspended };
  }

  async #until(condition: () => boolean): Promise<void> {
    const { host } = this;
    while (!condition()) {
      const stopped = host.stopped();
      if (stopped !== null) throw stopped;
      if (host.signal.aborted) throw new WalrustError("storage", "The watch ended before it was done");
      await host.jobs.context.env.sleep(LOOK_MS, host.signal);
    }
  }
}
