/**
 * Reconciles one database with its bucket: soon after the start, once a day, and when something that was
 * acknowledged is missed. One listing tells whether what was acknowledged can still be restored; if it cannot
 * (a lifecycle rule or a person deleted a snapshot, something else answered in the store's place), the caller
 * takes a new snapshot. The same look ends uploads in parts that nobody will end.
 *
 * Invariants:
 * 1. A listing is believed only when a second one says the same: nothing alarming is said of a store that is
 *    slow to list.
 * 2. Nothing is asked while nothing is acknowledged.
 */
import { hasCode } from "../../errors.ts";
import { uploadedTxidOf } from "../../local/spool.ts";
import { type LtxObject, listObjects, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import { Backoff, type BackoffPolicy } from "../../storage/contract/backoff.ts";
import { decodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectHead } from "../../storage/contract/store.ts";
import type { Captured } from "../capture/live-database.ts";
import type { CompactionTarget } from "./compaction.ts";
import { checkHistory, historyProblemOrNull, planAbandoned } from "./reconcile-plan.ts";

/** The time from one reconciliation to the next is random between these, so that databases spread out. */
export const RECONCILE_INTERVAL_MIN_MS = 12 * 3_600_000;
export const RECONCILE_INTERVAL_MAX_MS = 24 * 3_600_000;
/** The least time between two looks for something that is missed. */
const MISSED_INTERVAL_MS = 600_000;

/** Where uploads never rest, a look comes all the same when it is this late. */
const BUSY_PATIENCE_MS = 3_600_000;
/** A look is several requests: one that fails for good is not tried every half minute. */
const RETRY: BackoffPolicy = { firstMs: 1_000, maxMs: 3_600_000 };
/** Failures in a row before one is said: uploads tell of an outage. */
const FAILURES_TO_SAY = 6;

/** When the next look is due. */
export class ReconcileSchedule {
  #dueMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;
  readonly #retry = new Backoff(RETRY);
  #failures = 0;

  constructor(nowMs: number) {
    this.#dueMs = nowMs;
  }

  /**
   * @param isBusy whether files wait for their upload: those come first, above all at the end of an outage
   */
  isDue(nowMs: number, isBusy: boolean): boolean {
    return nowMs >= this.#dueMs + (isBusy ? BUSY_PATIENCE_MS : 0) && this.#retry.isOver(nowMs);
  }

  /** Something that was acknowledged is missed. */
  missed(nowMs: number): void {
    this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, this.#lastMs + MISSED_INTERVAL_MS));
  }

  /** A new snapshot was uploaded: whether that mends it is looked at, at once. */
  mended(nowMs: number): void {
    this.#dueMs = nowMs;
  }

  /** It could not be looked at. @returns whether that has lasted, so that it is worth a word */
  failed(nowMs: number): boolean {
    this.#retry.extend(nowMs);
    return ++this.#failures >= FAILURES_TO_SAY;
  }

  /** @param random 0 to 1: hundreds that began together do not go on together */
  done(nowMs: number, random: number): void {
    this.#failures = 0;
    this.#retry.reset();
    this.#lastMs = nowMs;
    const spreadMs = RECONCILE_INTERVAL_MAX_MS - RECONCILE_INTERVAL_MIN_MS;
    this.#dueMs = nowMs + RECONCILE_INTERVAL_MIN_MS + random * spreadMs;
  }
}

/** What was found. */
export interface Reconciled {
  /** Why what was acknowledged cannot be restored, or null. */
  readonly problem: string | null;
  /** How many unfinished uploads were ended. */
  readonly abortedCount: number;
}

/**
 * Looks at what is stored.
 * @throws WalrustError with a storage code
 */
export async function reconcile(
  target: Pick<CompactionTarget, "store" | "name" | "env" | "writer">,
  live: Captured,
  signal: AbortSignal,
): Promise<Reconciled> {
  let objects: LtxObject[] = [];
  let problem: string | null = null;
  for (let look = 0; look < 2; look++) {
    const acknowledgedTxid = acknowledgedOf(live);
    objects = await listObjects(target.store, target.name, signal);
    problem = historyProblemOrNull(checkHistory(objects, acknowledgedTxid), acknowledgedTxid);
    if (problem === null) break;
  }
  const isOurs = await newestIsOurs(target, live, objects, signal);
  if (isOurs === "replaced")
    problem ??= "the newest object in the bucket is not the one that was acknowledged";
  const abortedCount = await endAbandoned(target, live, objects, isOurs === "ours", signal);
  return { problem, abortedCount };
}

/** The newest TXID that is acknowledged; 0 before the first. */
export function acknowledgedOf({ state, pending }: Captured): number {
  return state === null ? 0 : uploadedTxidOf(state.txid, pending);
}

/** Whether the newest object is the one that we put there; "unknown" when nothing tells. */
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

/** Metadata that verify calls damaged decides nothing here. */
function metadataOrNull(key: string, { metadata }: ObjectHead): WalrustMetadata | null {
  try {
    return decodeMetadata(key, metadata);
  } catch (error) {
    if (hasCode(error, "integrity")) return null;
    throw error;
  }
}

/** Aborts uploads in parts that nobody will end. @returns how many */
async function endAbandoned(
  { store, name, env }: Pick<CompactionTarget, "store" | "name" | "env">,
  live: Captured,
  objects: readonly LtxObject[],
  isOurs: boolean,
  signal: AbortSignal,
): Promise<number> {
  const uploads = (await store.unfinishedUploads?.(`${name}/`, { signal })) ?? [];
  if (uploads.length === 0) return 0;
  const abandoned = planAbandoned(uploads, {
    layout: store.layout,
    name,
    keys: new Set(objects.map(({ key }) => key)),
    acknowledgedTxid: acknowledgedOf(live),
    isOurs,
    nowMs: env.nowMs(),
  });
  if (abandoned.length === 0) return 0;
  await store.abortUploads?.(abandoned, { signal });
  env.log.info(`aborted ${abandoned.length} unfinished uploads of earlier tries`, { database: name });
  return abandoned.length;
}
