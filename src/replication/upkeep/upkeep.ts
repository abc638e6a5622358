/**
 * Runs the upkeep of one watched database beside its captures and uploads: compaction, expiry, retention,
 * reconciliation with the bucket, validation, and pruning of the spool. At most one job runs for a database,
 * and a bounded number over all. A failed job never stops replication: it is logged once, and the job runs
 * again when it is due. `UpkeepSchedule` decides when, and outlives this object.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { isSnapshotFile } from "../../local/spool.ts";
import { pruneSent, sentRetentionMs } from "../../local/spool-cache.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { isSuspension } from "../../storage/contract/circuit.ts";
import { StandingFindings, Trouble } from "../../storage/contract/trouble.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Validation } from "../context/watch-events.ts";
import type { CompactionTarget } from "./compaction.ts";
import { type GivenUpkeep, type UpkeepResult, type Uploaded, upkeepOnce, withGiven } from "./maintenance.ts";
import { reconcile } from "./reconcile.ts";
import type { Snapshots } from "./snapshots.ts";
import { type UpkeepSchedule, uploadedOf } from "./upkeep-schedule.ts";

/** A job that takes longer, as for a store that hangs, makes room for a job of another database. */
const JOB_PATIENCE_MS = 15_000;
/** A snapshot that did not make the history restorable is repeated after this long. */
const REPEATED_SNAPSHOT_MS = 3_600_000;

/** Codes of conditions. */
const NOT_RESTORABLE = "not-restorable";
const VALIDATION_FAILED = "validation-failed";

/** The outcome of a job. */
export interface UpkeepOutcome {
  /** The reason to take a snapshot now, or null. */
  readonly snapshotReason: string | null;
}

const NO_SNAPSHOT: UpkeepOutcome = { snapshotReason: null };

/** The upkeep of one database: `startDue` when its schedule says so. */
export class Upkeep {
  #backoff: Backoff | null = null;
  /** The findings of the last validation; made with the first. */
  #findings: StandingFindings | null = null;
  /** The jobs that fail at present, with their errors; null while none fails. */
  #troubles: Partial<Record<JobName, Trouble>> | null = null;
  #run: Promise<UpkeepOutcome> | null = null;

  constructor(
    readonly name: string,
    readonly context: WatchContext,
    readonly schedule: UpkeepSchedule,
    /** The snapshots of the same database, to be read. */
    readonly snapshots: Pick<Snapshots, "taken">,
  ) {}

  /** Breaks off the job that is under way. */
  get #signal(): AbortSignal {
    return this.context.closing.signal;
  }

  /** Whether no job is under way. */
  get isAtRest(): boolean {
    return this.#run === null;
  }

  /** Whether no job is under way and no failure has to be remembered, so that this object can be dropped. */
  get isCalm(): boolean {
    const isFailing = Object.values(this.#troubles ?? {}).some((trouble) => trouble.hasFailed);
    return this.isAtRest && this.#backoff === null && this.#findings?.isEmpty !== false && !isFailing;
  }

  /** Starts a job if one is due and none is running. @returns its outcome, or null if none was started */
  startDue(live: LiveDatabase, nowMs: number): Promise<UpkeepOutcome> | null {
    const { state } = live;
    if (this.#run !== null || state === null) return null;
    const due = this.schedule.dueJob(live, nowMs, this.snapshots.taken);
    if (due === "validate") return this.#start(this.#validate(nowMs));
    if (due === "none") return null;
    const target = this.#targetOf(live, state.writer);
    if (due === "reconcile") return this.#start(this.#reconcile(live, target));
    if (this.#backoff?.isOver(nowMs) === false) return null;
    return this.#start(this.#maintain(target, nowMs, uploadedOf(live)));
  }

  #start(job: Promise<UpkeepOutcome>): Promise<UpkeepOutcome> {
    this.#run = job.finally(() => {
      this.#run = null;
    });
    return this.#run;
  }

  /** Runs work in one of the places that all databases share. */
  #inPlace<T>(work: () => Promise<T>): Promise<T> {
    return this.context.upkeeps.runPatiently(work, JOB_PATIENCE_MS, this.context.env);
  }

  async #maintain(target: CompactionTarget, nowMs: number, uploaded: Uploaded): Promise<UpkeepOutcome> {
    const { env, emit } = this.context;
    try {
      const made = await this.#inPlace(() =>
        this.schedule.maintenance.run(target, nowMs, uploaded, this.#signal),
      );
      this.#backoff = null;
      this.#troubles?.upkeep?.recovered();
      for (const { level, minTxid, maxTxid, bytes, sources, durationMs: duration_ms } of made) {
        const facts = { level, minTxid, maxTxid, bytes, sources, duration_ms };
        emit({ event: "compacted", database: this.name, ...facts });
      }
    } catch (error) {
      if (this.context.closing.isClosed) return NO_SNAPSHOT;
      this.#backoff ??= new Backoff();
      this.#backoff.extend(env.monotonicMs());
      // An object that was listed, or acknowledged, is missing.
      if (hasCode(error, "not-found")) this.schedule.reconcile.missed(env.monotonicMs());
      this.#failed("upkeep", error);
    }
    return NO_SNAPSHOT;
  }

  async #reconcile(live: LiveDatabase, target: CompactionTarget): Promise<UpkeepOutcome> {
    const { env } = this.context;
    const { taken } = this.snapshots;
    try {
      const { problem } = await this.#inPlace(() => reconcile(target, live, this.#signal));
      this.#troubles?.reconcile?.recovered();
      this.schedule.reconcile.done(env.monotonicMs(), env.random());
      // A snapshot that came meanwhile may end the problem, so the bucket is checked again after its upload.
      const isMeanwhile = this.snapshots.taken !== taken || live.pending.some(isSnapshotFile);
      if (problem !== null && isMeanwhile) {
        this.schedule.reconcile.snapshotUploaded(env.monotonicMs());
        return NO_SNAPSHOT;
      }
      return { snapshotReason: this.#judge(problem) };
    } catch (error) {
      if (this.context.closing.isClosed) return NO_SNAPSHOT;
      if (this.schedule.reconcile.failed(env.monotonicMs())) this.#failed("reconcile", error);
      return NO_SNAPSHOT;
    }
  }

  /**
   * Reports TXIDs that are acknowledged and cannot be restored. @returns the reason for a snapshot, or null
   */
  #judge(problem: string | null): string | null {
    const { env, conditions } = this.context;
    const nowMs = env.monotonicMs();
    if (problem === null) {
      this.schedule.restorable(nowMs);
      conditions.clear(NOT_RESTORABLE);
      return null;
    }
    // A snapshot that did not help is not repeated at once.
    const { requestedMs } = this.schedule;
    if (requestedMs !== null && nowMs - requestedMs < REPEATED_SNAPSHOT_MS) {
      this.schedule.stillLost(nowMs);
      return null;
    }
    this.schedule.snapshotRequested(nowMs);
    env.log.warn(`${problem}; a new snapshot follows`, { database: this.name });
    conditions.raise({
      code: NOT_RESTORABLE,
      health: "unhealthy",
      message: `a restore is not possible until a new snapshot is uploaded: ${problem}`,
      hint: "Check whether a lifecycle rule of the bucket or a person deletes objects below this prefix",
    });
    return "the bucket lost objects";
  }

  /** Verifies the stored objects. */
  async #validate(nowMs: number): Promise<UpkeepOutcome> {
    const { validate, store, config, env } = this.context;
    this.schedule.validating(nowMs, config.sync.validationIntervalMs);
    try {
      const validation = await this.#inPlace(() => validate(this.name, this.#signal, store));
      this.#troubles?.validation?.recovered();
      this.#report(validation);
    } catch (error) {
      // The bucket holds nothing under this name.
      if (hasCode(error, "restore")) this.schedule.reconcile.missed(env.monotonicMs());
      if (!this.context.closing.isClosed) this.#failed("validation", error);
    }
    return NO_SNAPSHOT;
  }

  /**
   * Logs each new set of findings that endanger a restore as an error, and raises a condition until a
   * validation passes.
   */
  #report({ status, messages }: Validation): void {
    const { env, emit, conditions } = this.context;
    const database = this.name;
    emit({ event: "validated", database, status, messages });
    const findings = messages.slice(0, 5).join("; ");
    this.#findings ??= new StandingFindings();
    const { begun, ended } = this.#findings.replace(findings === "" ? [] : [findings]);
    const isNews = begun.length + ended.length > 0;
    const message = `verified what is stored: ${findings === "" ? "nothing is wrong any more" : findings}`;
    if (status === "errors") {
      // A missing object may be one that was acknowledged.
      this.schedule.reconcile.missed(env.monotonicMs());
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

  /** Logs a failed job, unless the circuit breaker refused its calls, which is logged already. */
  #failed(job: JobName, error: unknown): void {
    if (isSuspension(error)) return;
    this.#troubles ??= {};
    this.#troubles[job] ??= new Trouble(this.context.env, { database: this.name, what: FAILURES[job] });
    this.#troubles[job].failed(error);
  }

  /**
   * Compacts at once, then applies retention: for `walrust compact` beside this watch.
   * @param given the settings that the request gives; the watch's own hold for the rest
   * @param isForced false: only report what would be done
   * @throws WalrustError with a storage code, or naming an object that cannot be compacted
   */
  async request(live: LiveDatabase | null, given: GivenUpkeep, isForced: boolean): Promise<UpkeepResult> {
    await this.done();
    if (live === null || live.state === null) {
      throw new WalrustError("database-busy", `${this.name} is not ready yet`, { retryable: true });
    }
    const config = withGiven(this.context.config, given);
    const target = this.#targetOf(live, live.state.writer);
    const result = this.context.upkeeps.run(() => upkeepOnce(target, config, isForced, this.#signal));
    // The scheduled upkeep does not know of these merges.
    const forget = (): UpkeepOutcome => {
      this.schedule.maintenance.forgetProgress();
      return NO_SNAPSHOT;
    };
    void this.#start(result.then(forget, forget));
    return result;
  }

  /** Resolves when no job is running. */
  async done(): Promise<void> {
    await this.#run;
  }

  #targetOf(live: LiveDatabase, writer: string): CompactionTarget {
    const { store, version, env } = this.context;
    return { store, name: this.name, spoolFolder: live.paths.spoolFolder, writer, version, env };
  }
}

/** Removes uploaded files from the spool after their retention. */
export function pruneSpool(live: LiveDatabase, { config, env }: Pick<WatchContext, "config" | "env">): void {
  const retentionMs = sentRetentionMs(config.cache);
  const folder = live.paths.spoolFolder;
  live.sentBytes = pruneSent(folder, retentionMs, Number.POSITIVE_INFINITY, env.nowMs()).bytes;
}

/** The jobs whose failures are logged, with the words that begin the line. */
const FAILURES = {
  upkeep: "merging and expiring stored objects",
  reconcile: "the bucket cannot be checked",
  validation: "what is stored cannot be verified",
} as const;

type JobName = keyof typeof FAILURES;
