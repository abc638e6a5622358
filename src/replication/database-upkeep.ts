/**
 * Runs the upkeep of one watched database beside everything else: one job at a time, a bounded number over
 * all. A failure is said and tried again when the next job is due; it never stops replication.
 */
import { WalrustError } from "../errors.ts";
import type { CompactionTarget } from "./compact.ts";
import { asWalrustError } from "./failure-tracker.ts";
import type { LiveDatabase } from "./live-database.ts";
import { DEFAULT_UPKEEP, Maintenance, type UpkeepResult, upkeepOnce } from "./maintenance.ts";
import type { RetentionPolicy } from "./retention.ts";
import type { WatchContext } from "./watch-types.ts";

/** The upkeep of one database: `startDue` at every look. */
export class DatabaseUpkeep {
  readonly #maintenance: Maintenance | null;
  #run: Promise<void> | null = null;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
    readonly signal: AbortSignal,
  ) {
    const { options, env } = context;
    this.#maintenance = options.maintenance ? new Maintenance(options.maintenance, env.monotonicMs()) : null;
  }

  /** Retention runs with the next job. */
  requestRetention(): void {
    this.#maintenance?.requestRetention();
  }

  /** Starts a job if one is due and none is running. */
  startDue(live: LiveDatabase, nowMs: number): void {
    const maintenance = this.#maintenance;
    const { state } = live;
    if (maintenance === null || this.#run !== null || state === null) return;
    const txid = (live.pending[0]?.minTxid ?? state.txid + 1) - 1;
    if (!maintenance.isDue(nowMs, txid, live.uploadedBytes)) return;
    const uploaded = { txid, bytes: live.uploadedBytes };
    const target = this.#targetOf(live, state.writer);
    this.#hold(
      this.context.upkeeps
        .run(() => maintenance.run(target, nowMs, uploaded, this.signal))
        .then((made) => {
          for (const { level, minTxid, maxTxid, bytes } of made) {
            this.context.emit({ event: "compacted", database: this.name, level, minTxid, maxTxid, bytes });
          }
        })
        .catch((error) => {
          if (this.signal.aborted) return;
          this.context.env.log.warn(`upkeep: ${asWalrustError(error).message}`, { database: this.name });
        }),
    );
  }

  /**
   * Compacts at once, then applies retention. For `walrust compact` beside this watch.
   * @param retention the policy, if not the watch's own
   * @param isForced false: only tell what would be done
   * @throws WalrustError with a storage code, or naming an object that cannot be compacted
   */
  async request(
    live: LiveDatabase | null,
    retention: RetentionPolicy | undefined,
    isForced: boolean,
  ): Promise<UpkeepResult> {
    await this.done();
    if (live === null || live.state === null) {
      throw new WalrustError("database-busy", `${this.name} is not ready yet`, { retryable: true });
    }
    const own = this.context.options.maintenance ?? DEFAULT_UPKEEP;
    const policy = { compaction: own.compaction, retention: retention ?? own.retention };
    const target = this.#targetOf(live, live.state.writer);
    const result = this.context.upkeeps.run(() => upkeepOnce(target, policy, isForced, this.signal));
    this.#hold(
      result.then(
        () => undefined,
        () => undefined,
      ),
    );
    return result;
  }

  /** Resolves when no job is running. */
  async done(): Promise<void> {
    await this.#run;
  }

  #hold(run: Promise<void>): void {
    this.#run = run.finally(() => {
      this.#run = null;
    });
  }

  #targetOf(live: LiveDatabase, writer: string): CompactionTarget {
    const { store, version, env } = this.context;
    return { store, name: this.name, spoolFolder: live.paths.spoolFolder, writer, version, env };
  }
}
