/**
 * Decides when the upkeep of one database is due. The schedule is all that an idle database keeps of its
 * upkeep: `Upkeep` is made when a job is due, and dropped when nothing has to be remembered of the jobs.
 */
import type { DatabaseConfig } from "../../config/config.ts";
import { isSnapshotFile, uploadedTxidOf } from "../../local/spool.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { Maintenance, type Uploaded } from "./maintenance.ts";
import { acknowledgedOf, ReconcileSchedule } from "./reconcile.ts";
import type { TakenSnapshot } from "./snapshots.ts";

const PRUNE_INTERVAL_MS = 600_000;
/** The first pruning follows the start soon, so that a watch that is restarted often prunes too. */
const FIRST_PRUNE_MS = 60_000;

/** The job that is due. */
export type DueUpkeep = "none" | "validate" | "reconcile" | "maintain";

/** A history that is not restorable; times on the monotonic clock, in ms. */
interface Loss {
  /** When a snapshot was requested for the history. */
  readonly requestedMs: number;
  /** Whether the requested snapshot was not looked up in the bucket yet. */
  isAwaited: boolean;
  /** When a check found the history not restorable despite that snapshot. */
  vainMs: number;
}

/** The schedule of one database's upkeep; times on the monotonic clock, in ms. */
export class UpkeepSchedule {
  readonly maintenance: Maintenance;
  readonly reconcile: ReconcileSchedule;
  #validationDueMs: number;
  #pruneDueMs: number;
  /** Null while the history is restorable. */
  #loss: Loss | null = null;
  #soundMs = Number.NEGATIVE_INFINITY;

  constructor({ config, env }: Pick<WatchContext, "config" | "env">) {
    const nowMs = env.monotonicMs();
    this.reconcile = new ReconcileSchedule(nowMs);
    this.maintenance = new Maintenance(config, nowMs, env.random());
    this.#pruneDueMs = nowMs + FIRST_PRUNE_MS;
    this.#validationDueMs = Number.POSITIVE_INFINITY;
    this.validating(nowMs, config.sync.validationIntervalMs);
  }

  /** Takes other settings. @param phase as the constructor of `Maintenance` takes it */
  reconfigure(config: DatabaseConfig, nowMs: number, phase: number): void {
    const { validationIntervalMs } = this.maintenance.config.sync;
    this.maintenance.reconfigure(config, nowMs, phase);
    if (validationIntervalMs !== config.sync.validationIntervalMs)
      this.validating(nowMs, config.sync.validationIntervalMs);
  }

  /** When a snapshot was requested for a history that is not restorable; null while it is restorable. */
  get requestedMs(): number | null {
    return this.#loss?.requestedMs ?? null;
  }

  /** When a listing last showed that the history is restorable; -Infinity before the first. */
  get soundMs(): number {
    return this.#soundMs;
  }

  /** When a check last found the history not restorable despite a new snapshot, or -Infinity. */
  get vainMs(): number {
    return this.#loss?.vainMs ?? Number.NEGATIVE_INFINITY;
  }

  /** The job that is due. @param taken the newest snapshot */
  dueJob(live: LiveDatabase, nowMs: number, taken: TakenSnapshot | null): DueUpkeep {
    if (live.state === null) return "none";
    if (nowMs >= this.#validationDueMs) return "validate";
    if (this.#isReconcileDue(live, nowMs, taken)) return "reconcile";
    const { txid, bytes } = uploadedOf(live);
    return this.maintenance.isDue(nowMs, txid, bytes) ? "maintain" : "none";
  }

  /** A validation begins. @param intervalMs the time to the next; 0: there is none */
  validating(nowMs: number, intervalMs: number): void {
    this.#validationDueMs = nowMs + (intervalMs || Number.POSITIVE_INFINITY);
  }

  /** Whether the spool is to be pruned now: true once for each interval. */
  takePrune(live: LiveDatabase, nowMs: number): boolean {
    if (nowMs < this.#pruneDueMs || live.sentBytes === 0) return false;
    this.#pruneDueMs = nowMs + PRUNE_INTERVAL_MS;
    return true;
  }

  /** A snapshot is requested because the history is not restorable. */
  snapshotRequested(nowMs: number): void {
    this.#loss = { requestedMs: nowMs, isAwaited: true, vainMs: Number.NEGATIVE_INFINITY };
  }

  /** The history is not restorable, and no further snapshot is requested so soon. */
  stillLost(nowMs: number): void {
    if (this.#loss?.isAwaited === false) this.#loss.vainMs = nowMs;
  }

  /** A listing shows that the history is restorable. */
  restorable(nowMs: number): void {
    this.#loss = null;
    this.#soundMs = nowMs;
  }

  /**
   * A sync's listing shows that the history is restorable; a loss that is reported waits for its own check.
   */
  listed(nowMs: number): void {
    this.#soundMs = nowMs;
  }

  /**
   * A sync's listing shows missing objects. Unless a snapshot is on its way, the daily check is due at once,
   * and may request a snapshot even if an earlier one did not help: a person asks.
   */
  objectsMissing(): void {
    if (this.#loss?.isAwaited === true) return;
    this.#loss = null;
    this.reconcile.demand();
  }

  /** Never while a snapshot waits for its upload, which may change the answer. */
  #isReconcileDue(live: LiveDatabase, nowMs: number, taken: TakenSnapshot | null): boolean {
    if (acknowledgedOf(live) === 0 || live.pending.some(isSnapshotFile)) return false;
    const loss = this.#loss;
    if (loss?.isAwaited === true && taken !== null && taken.atMs >= loss.requestedMs) {
      loss.isAwaited = false;
      this.reconcile.snapshotUploaded(nowMs);
    }
    return this.reconcile.isDue(nowMs, live.pending.length > 0);
  }
}

/** How far the bucket has the history of a database. */
export function uploadedOf({ state, pending, uploadedBytes }: LiveDatabase): Uploaded {
  return { txid: state === null ? 0 : uploadedTxidOf(state.txid, pending), bytes: uploadedBytes };
}
