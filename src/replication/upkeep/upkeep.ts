/**
 * Runs the upkeep of one watched database beside everything else: one job at a time, a bounded number over
 * all. A failure is tried again when the next job is due, and never stops replication; it is said once, and
 * so is its end.
 */
import type { RetentionConfig } from "../../config/config.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { isSnapshotFile, uploadedTxidOf } from "../../local/spool.ts";
import { pruneSent, sentRetentionMs } from "../../local/spool-cache.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { isSuspension } from "../../storage/contract/circuit.ts";
import { StandingFindings, Trouble } from "../../storage/contract/trouble.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Validation } from "../context/watch-events.ts";
import type { CompactionTarget } from "./compaction.ts";
import { Maintenance, type UpkeepResult, upkeepOnce } from "./maintenance.ts";
import { acknowledgedOf, ReconcileSchedule, reconcile } from "./reconcile.ts";
import type { Snapshots } from "./snapshots.ts";

const PRUNE_INTERVAL_MS = 600_000;
const FIRST_PRUNE_MS = 60_000;
/** Upkeep that takes longer, above all for a store that hangs, makes room for that of another database. */
const UPKEEP_PATIENCE_MS = 15_000;
/** A snapshot that did not make the history restorable is taken again after this long. */
const ASKED_AGAIN_MS = 3_600_000;

/** Codes of conditions. */
const NOT_RESTORABLE = "not-restorable";
const VALIDATION_FAILED = "validation-failed";

/** The snapshots of the same database, as far as upkeep needs them. */
export type AskedSnapshots = Pick<Snapshots, "ask" | "taken">;

/** The upkeep of one database: `startDue` at every look. */
export class Upkeep {
  readonly #maintenance: Maintenance;
  #run: Promise<void> | null = null;
  #validationDueMs: number;
  readonly #pause = new Backoff();
  #pruneDueMs: number;
  #upkeepTrouble: Trouble | null = null;
  #validationTrouble: Trouble | null = null;
  /** The findings of the last validation. */
  readonly #findings = new StandingFindings();
  readonly #reconcileClock: ReconcileSchedule;
  #reconcileTrouble: Trouble | null = null;
  /** When a snapshot was asked for because what is stored is not restorable; null while it is. */
  #askedMs: number | null = null;
  /** Whether the snapshot that was asked for has not been looked for in the bucket yet. */
  #isAwaited = false;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
    readonly signal: AbortSignal,
    readonly snapshots: AskedSnapshots,
  ) {
    const { config, env } = context;
    this.#reconcileClock = new ReconcileSchedule(env.monotonicMs());
    this.#maintenance = new Maintenance(config, env.monotonicMs(), env.random());
    // Soon after the start, so that one that is restarted often prunes too.
    this.#pruneDueMs = env.monotonicMs() + FIRST_PRUNE_MS;
    this.#validationDueMs = env.monotonicMs() + this.#validationIntervalMs;
  }

  get #validationIntervalMs(): number {
    const { validate, config } = this.context;
    return (validate === undefined ? 0 : config.sync.validationIntervalMs) || Number.POSITIVE_INFINITY;
  }

  /** Retention runs with the next job. */
  requestRetention(): void {
    this.#maintenance.requestRetention();
  }

  /** Starts a job if one is due and none is running. */
  startDue(live: LiveDatabase, nowMs: number): void {
    const maintenance = this.#maintenance;
    const { state } = live;
    this.#pruneSpool(live, nowMs);
    if (this.#run !== null || state === null) return;
    if (nowMs >= this.#validationDueMs) return this.#startValidation(nowMs);
    if (this.#isReconcileDue(live, nowMs)) return this.#startReconcile(live, state.writer);
    if (!this.#pause.isOver(nowMs)) return;
    const txid = uploadedTxidOf(state.txid, live.pending);
    if (!maintenance.isDue(nowMs, txid, live.uploadedBytes)) return;
    const uploaded = { txid, bytes: live.uploadedBytes };
    const target = this.#targetOf(live, state.writer);
    this.#hold(
      this.context.upkeeps
        .runPatiently(
          () => maintenance.run(target, nowMs, uploaded, this.signal),
          UPKEEP_PATIENCE_MS,
          this.context.env,
        )
        .then((made) => {
          this.#pause.reset();
          this.#upkeepTrouble?.recovered();
          for (const { level, minTxid, maxTxid, bytes } of made) {
            this.context.emit({ event: "compacted", database: this.name, level, minTxid, maxTxid, bytes });
          }
        })
        .catch((error) => {
          if (this.signal.aborted) return;
          const nowMs = this.context.env.monotonicMs();
          this.#pause.extend(nowMs);
          // Its circuit breaker has said so.
          if (isSuspension(error)) return;
          // An object that was listed, or acknowledged, is not there.
          if (hasCode(error, "not-found")) this.#reconcileClock.missed(nowMs);
          this.#upkeepTrouble ??= this.#troubleOf("upkeep");
          this.#upkeepTrouble.failed(error);
        }),
    );
  }

  /** Not while a snapshot waits for its upload: with it, the bucket may be another one. */
  #isReconcileDue(live: LiveDatabase, nowMs: number): boolean {
    if (acknowledgedOf(live) === 0 || live.pending.some(isSnapshotFile)) return false;
    if (this.#isAwaited && (this.snapshots.taken?.atMs ?? Number.NEGATIVE_INFINITY) >= this.#askedMs!) {
      this.#isAwaited = false;
      this.#reconcileClock.mended(nowMs);
    }
    return this.#reconcileClock.isDue(nowMs, live.pending.length > 0);
  }

  #startReconcile(live: LiveDatabase, writer: string): void {
    const { upkeeps, env } = this.context;
    const { taken } = this.snapshots;
    this.#hold(
      upkeeps
        .runPatiently(
          () => reconcile(this.#targetOf(live, writer), live, this.signal),
          UPKEEP_PATIENCE_MS,
          env,
        )
        .then(({ problem }) => {
          this.#reconcileTrouble?.recovered();
          this.#reconcileClock.done(env.monotonicMs(), env.random());
          // A snapshot that came meanwhile may mend it: looked at again, when it is uploaded.
          const isMeanwhile = this.snapshots.taken !== taken || live.pending.some(isSnapshotFile);
          if (problem !== null && isMeanwhile) return this.#reconcileClock.mended(env.monotonicMs());
          this.#judge(problem);
        })
        .catch((error) => {
          if (this.signal.aborted) return;
          const isLasting = this.#reconcileClock.failed(env.monotonicMs());
          if (isSuspension(error) || !isLasting) return;
          this.#reconcileTrouble ??= this.#troubleOf("the bucket cannot be looked at");
          this.#reconcileTrouble.failed(error);
        }),
    );
  }

  /** Takes a snapshot when what was acknowledged cannot be restored. */
  #judge(problem: string | null): void {
    const { env, conditions } = this.context;
    if (problem === null) {
      this.#askedMs = null;
      return conditions.clear(NOT_RESTORABLE);
    }
    const nowMs = env.monotonicMs();
    // One that did not help is not taken again and again.
    if (this.#askedMs !== null && nowMs - this.#askedMs < ASKED_AGAIN_MS) return;
    this.#askedMs = nowMs;
    this.#isAwaited = true;
    env.log.warn(`${problem}; a new snapshot follows`, { database: this.name });
    conditions.raise({
      code: NOT_RESTORABLE,
      health: "unhealthy",
      message: `a restore is not possible until a new snapshot is uploaded: ${problem}`,
      hint: "Check whether a lifecycle rule of the bucket or a person deletes objects below this prefix",
    });
    this.snapshots.ask("the bucket lost objects");
  }

  /** Removes uploaded files that were kept for long enough. */
  #pruneSpool(live: LiveDatabase, nowMs: number): void {
    const { config, env } = this.context;
    if (nowMs < this.#pruneDueMs || live.sentBytes === 0) return;
    this.#pruneDueMs = nowMs + PRUNE_INTERVAL_MS;
    const retentionMs = sentRetentionMs(config.cache);
    const folder = live.paths.spoolFolder;
    live.sentBytes = pruneSent(folder, retentionMs, Number.POSITIVE_INFINITY, env.nowMs()).bytes;
  }

  /** Verifies what is stored. */
  #startValidation(nowMs: number): void {
    const { validate, upkeeps, store, env } = this.context;
    this.#validationDueMs = nowMs + this.#validationIntervalMs;
    if (validate === undefined) return;
    const database = this.name;
    this.#hold(
      upkeeps
        .runPatiently(() => validate(database, this.signal, store), UPKEEP_PATIENCE_MS, env)
        .then((validation) => {
          this.#validationTrouble?.recovered();
          this.#sayValidation(validation);
        })
        .catch((error) => {
          if (this.signal.aborted || isSuspension(error)) return;
          this.#validationTrouble ??= this.#troubleOf("what is stored cannot be verified");
          this.#validationTrouble.failed(error);
        }),
    );
  }

  /**
   * Logs each new set of findings that endanger a restore as an error, and raises a condition until a
   * validation passes.
   */
  #sayValidation({ status, messages }: Validation): void {
    const { env, emit, conditions } = this.context;
    const database = this.name;
    emit({ event: "validated", database, status, messages });
    const findings = messages.slice(0, 5).join("; ");
    const { begun, ended } = this.#findings.replace(findings === "" ? [] : [findings]);
    const isNews = begun.length + ended.length > 0;
    const message = `verified what is stored: ${findings === "" ? "nothing is wrong any more" : findings}`;
    if (status === "errors") {
      // An object that is gone may be one that was acknowledged.
      this.#reconcileClock.missed(env.monotonicMs());
      if (isNews && conditions.has(VALIDATION_FAILED)) env.log.error(message, { database });
      return conditions.raise({
        code: VALIDATION_FAILED,
        health: "unhealthy",
        message,
        hint: `A restore is in danger: see \`walrust verify ${database}\``,
      });
    }
    const hadFailed = conditions.has(VALIDATION_FAILED);
    conditions.clear(VALIDATION_FAILED);
    if (!isNews || (hadFailed && status === "ok")) return;
    env.log[status === "warnings" ? "warn" : "info"](message, { database });
  }

  /**
   * Compacts at once, then applies retention. For `walrust compact` beside this watch.
   * @param retention what is asked for; the rest is as the watch has it
   * @param isForced false: only tell what would be done
   * @throws WalrustError with a storage code, or naming an object that cannot be compacted
   */
  async request(
    live: LiveDatabase | null,
    retention: Partial<RetentionConfig> | undefined,
    isForced: boolean,
  ): Promise<UpkeepResult> {
    await this.done();
    if (live === null || live.state === null) {
      throw new WalrustError("database-busy", `${this.name} is not ready yet`, { retryable: true });
    }
    const own = this.context.config;
    const policy = { compaction: own.compaction, retention: { ...own.retention, ...retention } };
    const target = this.#targetOf(live, live.state.writer);
    const result = this.context.upkeeps.run(() => upkeepOnce(target, policy, isForced, this.signal));
    // What was merged here is news to the upkeep on schedule.
    const forget = (): void => this.#maintenance.forgetProgress();
    this.#hold(result.then(forget, forget));
    return result;
  }

  /** Resolves when no job is running. */
  async done(): Promise<void> {
    await this.#run;
  }

  #troubleOf(what: string): Trouble {
    return new Trouble(this.context.env, { database: this.name, what });
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
