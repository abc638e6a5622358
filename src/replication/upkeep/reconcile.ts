/**
 * Reconciles one database with its bucket: soon after the start, once a day, and when an acknowledged object
 * is missing. One listing shows whether the newest acknowledged TXID can be restored. If not (a lifecycle
 * rule or a person deleted a snapshot, or a portal answered in the store's place), the caller takes a new
 * snapshot. The same job aborts multipart uploads that no process will complete. A sync makes the same check
 * of the bucket when everything is uploaded (`requests/bucket-proof.ts`).
 *
 * Invariants:
 * 1. A problem is reported only if a second listing shows it too, because a store may be slow to list.
 * 2. The store is not asked while nothing is acknowledged.
 */
import { errorMessage, hasCode } from "../../errors.ts";
import { uploadedTxidOf } from "../../local/spool.ts";
import { type LtxObject, listObjects, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import { Backoff, type BackoffPolicy } from "../../storage/contract/backoff.ts";
import { decodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectHead } from "../../storage/contract/store.ts";
import type { Captured } from "../capture/live-database.ts";
import { type FoundRecord, uploadRecords } from "../upload/upload-record.ts";
import type { CompactionTarget } from "./compaction.ts";
import { checkHistory, historyProblemOrNull, planAbandoned } from "./reconcile-plan.ts";

/** The time from one reconciliation to the next is random between these, so that databases spread out. */
export const RECONCILE_INTERVAL_MIN_MS = 12 * 3_600_000;
export const RECONCILE_INTERVAL_MAX_MS = 24 * 3_600_000;
/** The least time between two checks for missing objects. */
const MISSED_INTERVAL_MS = 600_000;

/** While uploads are always pending, a check starts when it is this late. */
const BUSY_PATIENCE_MS = 3_600_000;
/** A check is several requests, so a check that keeps failing is not repeated every half minute. */
const RETRY: BackoffPolicy = { firstMs: 1_000, maxMs: 3_600_000 };
/** Failures in a row before one is logged, because uploads report an outage. */
const FAILURES_LOGGED_FROM = 6;

/** Decides when the next check is due. */
export class ReconcileSchedule {
  #dueMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** Made with the first failure: hundreds of databases have none. */
  #retry: Backoff | null = null;
  #failures = 0;

  constructor(nowMs: number) {
    this.#dueMs = nowMs;
  }

  /**
   * @param isBusy whether files wait for their upload: those go first, above all at the end of an outage
   */
  isDue(nowMs: number, isBusy: boolean): boolean {
    return nowMs >= this.#dueMs + (isBusy ? BUSY_PATIENCE_MS : 0) && this.#retry?.isOver(nowMs) !== false;
  }

  /** An acknowledged object is missing: the check does not wait for uploads. */
  missed(nowMs: number): void {
    const soonestMs = this.#lastMs + MISSED_INTERVAL_MS;
    this.#dueMs = nowMs >= soonestMs ? Number.NEGATIVE_INFINITY : Math.min(this.#dueMs, soonestMs);
  }

  /** A new snapshot was uploaded, so the bucket is checked at once. */
  snapshotUploaded(nowMs: number): void {
    this.#dueMs = nowMs;
  }

  /** A listing just showed that objects are missing: the check waits neither for uploads nor for a retry. */
  demand(): void {
    this.#dueMs = Number.NEGATIVE_INFINITY;
    this.#retry = null;
  }

  /** A check failed. @returns whether checks have failed for so long that the failure is to be logged */
  failed(nowMs: number): boolean {
    this.#retry ??= new Backoff(RETRY);
    this.#retry.extend(nowMs);
    return ++this.#failures >= FAILURES_LOGGED_FROM;
  }

  /** A check succeeded. @param random 0 to 1: spreads databases that were checked together */
  done(nowMs: number, random: number): void {
    this.#failures = 0;
    this.#retry = null;
    this.#lastMs = nowMs;
    const spreadMs = RECONCILE_INTERVAL_MAX_MS - RECONCILE_INTERVAL_MIN_MS;
    this.#dueMs = nowMs + RECONCILE_INTERVAL_MIN_MS + random * spreadMs;
  }
}

/** The result of a check. */
export interface Reconciled {
  /** Why the acknowledged TXID cannot be restored, or null. */
  readonly problem: string | null;
  /** The number of multipart uploads that were aborted. */
  readonly abortedCount: number;
}

/**
 * Checks the stored objects.
 * @throws WalrustError with a storage code
 */
export async function reconcile(
  target: Pick<CompactionTarget, "store" | "name" | "env" | "writer">,
  live: Captured,
  signal: AbortSignal,
): Promise<Reconciled> {
  const { problem, objects, isOurs } = await checkBucket(target, live, signal);
  // The check after the new snapshot aborts them: a failure must not hide the problem.
  const abortedCount = problem === null ? await endAbandoned(target, live, objects, isOurs, signal) : 0;
  return { problem, abortedCount };
}

/** The objects of a listing, and whether they lead to the acknowledged TXID. */
export interface BucketCheck {
  /** Why the acknowledged TXID cannot be restored, or null. */
  readonly problem: string | null;
  readonly objects: readonly LtxObject[];
  /** Whether this writer put the newest object. */
  readonly isOurs: boolean;
}

/**
 * Lists the objects, and checks that they lead to the newest acknowledged TXID.
 * @throws WalrustError with a storage code
 */
export async function checkBucket(
  target: Pick<CompactionTarget, "store" | "name" | "writer">,
  live: Captured,
  signal: AbortSignal,
): Promise<BucketCheck> {
  let objects: LtxObject[] = [];
  let problem: string | null = null;
  for (let attempt = 0; attempt < 2; attempt++) {
    const acknowledgedTxid = acknowledgedOf(live);
    objects = await listObjects(target.store, target.name, signal);
    problem = historyProblemOrNull(checkHistory(objects, acknowledgedTxid), acknowledgedTxid);
    if (problem === null) break;
  }
  const owner = await newestIsOurs(target, live, objects, signal);
  if (owner === "replaced")
    problem ??= "the newest object in the bucket is not the one that was acknowledged";
  return { problem, objects, isOurs: owner === "ours" };
}

/** The newest TXID that is acknowledged; 0 before the first. */
export function acknowledgedOf({ state, pending }: Captured): number {
  return state === null ? 0 : uploadedTxidOf(state.txid, pending);
}

/** Whether the newest object is the one that we put; "unknown" when its metadata does not show it. */
async function newestIsOurs(
  { store, writer }: Pick<CompactionTarget, "store" | "writer">,
  live: Captured,
  objects: readonly LtxObject[],
  signal: AbortSignal,
): Promise<"ours" | "replaced" | "unknown"> {
  const { acknowledged } = live;
  const newest = newestObjectOrNull(objects);
  if (newest === null) return "unknown";
  const metadata = metadataOrNull(newest.key, await store.head(newest.key, { signal }));
  if (metadata === null) return "unknown";
  const isKnown = acknowledged !== null && acknowledged.txid === newest.maxTxid && metadata.chain !== null;
  if (isKnown && metadata.chain !== acknowledged.chain) return "replaced";
  return metadata.writer === writer ? "ours" : "unknown";
}

/** Damaged metadata, which verify reports, counts as none. */
function metadataOrNull(key: string, { metadata }: ObjectHead): WalrustMetadata | null {
  try {
    return decodeMetadata(key, metadata);
  } catch (error) {
    if (hasCode(error, "integrity")) return null;
    throw error;
  }
}

/**
 * Aborts multipart uploads that no process will complete: the remembered ones whose file is gone, and the
 * abandoned ones of the listing. @returns their number
 */
async function endAbandoned(
  { store, name, env }: Pick<CompactionTarget, "store" | "name" | "env">,
  live: Captured,
  objects: readonly LtxObject[],
  isOurs: boolean,
  signal: AbortSignal,
): Promise<number> {
  const records = uploadRecords(live.paths.spoolFolder);
  const givenUpCount = await endGivenUp({ store, name, env }, records, signal);
  const remembered = new Set(records.map(({ upload }) => upload?.uploadId));
  const listed = (await store.unfinishedUploads?.(`${name}/`, { signal })) ?? [];
  // The next attempt of this or another process continues a remembered upload, however old it is.
  const uploads = listed.filter(({ uploadId }) => !remembered.has(uploadId));
  const abandoned = planAbandoned(uploads, {
    layout: store.layout,
    name,
    keys: new Set(objects.map(({ key }) => key)),
    acknowledgedTxid: acknowledgedOf(live),
    isOurs,
    nowMs: env.nowMs(),
  });
  if (abandoned.length > 0) await store.abortUploads?.(abandoned, { signal });
  const count = givenUpCount + abandoned.length;
  if (count > 0) env.log.info(`aborted ${count} unfinished uploads of earlier attempts`, { database: name });
  return count;
}

/**
 * Aborts the uploads whose spool file was given up or lost, as far as the store lets these keys abort.
 * @returns their number
 */
export async function endGivenUp(
  { store, name, env }: Pick<CompactionTarget, "store" | "name" | "env">,
  records: readonly FoundRecord[],
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  for (const { upload, hasFile, remove } of records) {
    if (hasFile) continue;
    // An upload in another bucket is out of reach.
    if (upload !== null && upload.location === store.location) {
      try {
        await store.abortUploads?.([{ ...upload, initiatedMs: 0 }], { signal });
        count++;
      } catch (error) {
        if (!hasCode(error, "auth")) throw error;
        const message = `the parts of an unfinished upload of ${upload.key} stay: ${errorMessage(error)}`;
        env.log.warn(message, { database: name });
      }
    }
    remove();
  }
  return count;
}
