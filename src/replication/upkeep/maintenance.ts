/**
 * Maintains the objects of one database: compacts them into levels 1 to 3, and deletes objects that are
 * superseded or past their retention. A database whose history does not move causes no request.
 */

import type { CompactionConfig, DatabaseConfig, RetentionConfig } from "../../config/config.ts";
import { hasCode } from "../../errors.ts";
import { keyOf, listObjects, rememberedObjects } from "../../storage/bucket/catalog.ts";
import { rebuildManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import {
  type CompactedObject,
  CompactionProgress,
  type CompactionTarget,
  compactInto,
} from "./compaction.ts";
import {
  coveredTxid,
  HIGHEST_LEVEL,
  isCompactionUrgent,
  isLevelMade,
  type Merge,
  planExpiry,
  planMergeOrNull,
  planReplaced,
} from "./compaction-plan.ts";
import { expire } from "./expiry.ts";
import { applyRetention, type RetentionResult } from "./retention.ts";

/** The least time between two checks for superseded objects that have expired. */
export const EXPIRY_INTERVAL_MS = 600_000;
/** The time to the next check when the store refused a delete: an object lock does not end in minutes. */
const REFUSED_INTERVAL_MS = 24 * 3_600_000;

/** The newest uploaded TXID, and the bytes of all increments uploaded since the attach. */
export interface Uploaded {
  readonly txid: number;
  readonly bytes: number;
}

/** The schedule of one database's maintenance, and the jobs themselves. */
export class Maintenance {
  #config: DatabaseConfig;
  /** Made with the first job. */
  #compaction: CompactionProgress | null = null;
  #dueMs: number[];
  /** Nothing can expire before there is a history. */
  #expiryDueMs = Number.POSITIVE_INFINITY;
  #hasHistory = false;
  #retentionDueMs: number;
  #seenTxid = 0;
  #countedTxid: number | null = null;
  #seenBytes = 0;
  #waitingSinceMs: number | null = null;
  /** The last job found an object that is not as remembered, or not sound. */
  #isInDoubt = false;

  constructor(
    config: DatabaseConfig,
    nowMs: number,
    /**
     * 0 to 1: the moment in each interval at which this database is due, so that hundreds are not at once.
     */
    phase = 1,
  ) {
    this.#config = config;
    const { compaction, sync } = config;
    this.#dueMs = [0, 1, 2, 3].map((level) => nowMs + firstDelayMs(compaction, level, phase));
    this.#retentionDueMs = nowMs + (sync.compactIntervalMs || Number.POSITIVE_INFINITY);
  }

  get config(): DatabaseConfig {
    return this.#config;
  }

  /** Takes other settings. Each interval that changed begins anew; the progress stays. */
  reconfigure(config: DatabaseConfig, nowMs: number, phase = 1): void {
    const { compaction, sync } = this.#config;
    this.#config = config;
    if (!Bun.deepEquals(compaction, config.compaction))
      this.#dueMs = this.#dueMs.map((_, level) => nowMs + firstDelayMs(config.compaction, level, phase));
    if (sync.compactIntervalMs !== config.sync.compactIntervalMs)
      this.#retentionDueMs = nowMs + (config.sync.compactIntervalMs || Number.POSITIVE_INFINITY);
  }

  /** Another run compacted: the next job lists how far each level goes. */
  forgetProgress(): void {
    this.#compaction?.covered.fill(null);
  }

  get #progress(): CompactionProgress {
    this.#compaction ??= new CompactionProgress();
    return this.#compaction;
  }

  /** Has the next job apply retention. */
  requestRetention(): void {
    this.#retentionDueMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * Whether a job is due. An idle database has none.
   * @param txid the newest uploaded TXID
   * @param uploadedBytes bytes of all increments uploaded since the attach
   */
  isDue(nowMs: number, txid: number, uploadedBytes: number): boolean {
    if (txid > 0 && !this.#hasHistory) {
      this.#hasHistory = true;
      this.#expiryDueMs = nowMs + EXPIRY_INTERVAL_MS;
    }
    if (nowMs >= this.#retentionDueMs || nowMs >= this.#expiryDueMs) return true;
    const { compaction } = this.config;
    if (txid === this.#seenTxid || !compaction.enabled) return false;
    this.#waitingSinceMs ??= nowMs;
    this.#countedTxid ??= txid;
    const count = txid - this.#countedTxid;
    const waiting = {
      count,
      bytes: uploadedBytes - this.#seenBytes,
      oldestAgeMs: nowMs - this.#waitingSinceMs,
    };
    const isMade = isLevelMade(compaction, 1);
    if (isMade && isCompactionUrgent(waiting, compaction)) this.#dueMs[1] = nowMs;
    return this.#dueMs.some((dueMs, level) => level > 0 && nowMs >= dueMs);
  }

  /**
   * Runs the due job.
   * @throws WalrustError with a storage code, or "corrupt"/"integrity" naming an object that cannot be
   * compacted
   */
  async run(
    target: CompactionTarget,
    nowMs: number,
    uploaded: Uploaded,
    signal: AbortSignal,
  ): Promise<CompactedObject[]> {
    try {
      // A listing corrects the remembered objects: the object may have been replaced or repaired.
      if (this.#isInDoubt) await listObjects(target.store, target.name, signal);
      this.#isInDoubt = false;
      return await this.#runDue(target, nowMs, uploaded, signal);
    } catch (error) {
      this.#isInDoubt ||= hasCode(error, "integrity") || hasCode(error, "corrupt");
      throw error;
    }
  }

  async #runDue(
    target: CompactionTarget,
    nowMs: number,
    uploaded: Uploaded,
    signal: AbortSignal,
  ): Promise<CompactedObject[]> {
    const made: CompactedObject[] = [];
    const { compaction } = this.config;
    const isMoved = uploaded.txid !== this.#seenTxid;
    // Increments wait for level 1: a run for another level or for deletions leaves them waiting.
    const isLevel1Run = nowMs >= this.#dueMs[1]! || !isLevelMade(compaction, 1);
    if (compaction.enabled) {
      for (let level = 1; level <= HIGHEST_LEVEL; level++) {
        if (nowMs < this.#dueMs[level]!) continue;
        this.#dueMs[level] = nowMs + compaction.levelsMs[level - 1]!;
        if (isMoved || level > 1) made.push(...(await compactInto(target, level, this.#progress, signal)));
      }
    }
    if (isLevel1Run) {
      this.#seenTxid = uploaded.txid;
      this.#countedTxid = uploaded.txid;
      this.#seenBytes = uploaded.bytes;
      this.#waitingSinceMs = null;
    }
    // The manifest is an index: merges into level 1 alone are not worth a request each.
    if (made.some(({ level }) => level > 1)) await rebuildManifest(target.store, target.name, signal);
    if (made.length > 0) this.#expiryDueMs = Math.min(this.#expiryDueMs, nowMs + EXPIRY_INTERVAL_MS);
    const isRetentionDue = nowMs >= this.#retentionDueMs;
    if (isRetentionDue || nowMs >= this.#expiryDueMs)
      await this.#deleteOld(target, nowMs, isRetentionDue, signal);
    return made;
  }

  async #deleteOld(
    target: CompactionTarget,
    nowMs: number,
    isRetentionDue: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const { compaction, retention, sync } = this.config;
    // The next check, should this one fail.
    this.#expiryDueMs = nowMs + EXPIRY_INTERVAL_MS;
    if (compaction.enabled) {
      const objects = await rememberedObjects(target.store, target.name, signal);
      const { deleted, refused } = await expire(target, objects, compaction, this.#progress, signal);
      const settled = new Set([...deleted, ...refused]);
      const left = objects.filter(({ key }) => !settled.has(key));
      const next = planReplaced(left, compaction, () => true).map(({ expiresMs }) => expiresMs);
      const waitMs = Math.min(...next) - target.env.nowMs();
      const isRefused = refused.length > 0;
      const intervalMs = isRefused ? REFUSED_INTERVAL_MS : Math.max(EXPIRY_INTERVAL_MS, waitMs);
      this.#expiryDueMs = nowMs + intervalMs;
    }
    if (!isRetentionDue) return;
    this.#retentionDueMs = nowMs + (sync.compactIntervalMs || Number.POSITIVE_INFINITY);
    const result = await applyRetention(target, retention, true, this.#progress, signal);
    if (result.deleted.length === 0) return;
    target.env.log.info(`retention deleted ${result.deleted.length} objects`, { database: target.name });
  }
}

/** The settings of a single upkeep, which compacts even where `compaction.enabled` is false. */
export type UpkeepConfig = Pick<DatabaseConfig, "compaction" | "retention">;

/** The settings that the caller of a single upkeep gives, by flag or in its configuration file. */
export interface GivenUpkeep {
  readonly compaction: Partial<CompactionConfig>;
  readonly retention: Partial<RetentionConfig>;
}

/** The settings of an upkeep that a watch answers: those that are given, and its own for the rest. */
export function withGiven(own: UpkeepConfig, given: GivenUpkeep): UpkeepConfig {
  return {
    compaction: { ...own.compaction, ...given.compaction },
    retention: { ...own.retention, ...given.retention },
  };
}

/** The result of one upkeep, or of its plan. */
export interface UpkeepResult {
  readonly name: string;
  readonly compacted: readonly CompactedObject[];
  /** Keys of superseded objects that have expired. */
  readonly expired: readonly string[];
  /** Keys that the store refused to delete; absent when there are none. */
  readonly refused?: readonly string[];
  readonly retention: RetentionResult;
}

/**
 * Compacts all levels now, deletes expired objects, and applies retention.
 * @param isForced false: plans only, and writes and deletes nothing
 * @throws WalrustError with a storage code, or "corrupt"/"integrity" naming an object that cannot be
 * compacted
 */
export async function upkeepOnce(
  given: CompactionTarget,
  config: UpkeepConfig,
  isForced: boolean,
  signal?: AbortSignal,
): Promise<UpkeepResult> {
  const target = { ...given, isListedAnew: true };
  const { store, name, env } = target;
  const { compaction } = config;
  const progress = new CompactionProgress();
  const compacted: CompactedObject[] = [];
  let expired: readonly string[] = [];
  let refused: readonly string[] = [];
  if (isForced) {
    for (let level = 1; level <= HIGHEST_LEVEL; level++) {
      if (!isLevelMade(compaction, level)) continue;
      compacted.push(...(await compactInto(target, level, progress, signal)));
    }
    const objects = await listObjects(store, name, signal);
    ({ deleted: expired, refused } = await expire(target, objects, compaction, progress, signal));
  } else {
    const objects = await listObjects(store, name, signal);
    for (let level = 1; level <= HIGHEST_LEVEL; level++) {
      if (!isLevelMade(compaction, level)) continue;
      const merge = planMergeOrNull(objects, coveredTxid(objects, level), level);
      if (merge !== null) compacted.push(plannedObject(store, name, merge));
    }
    expired = planExpiry(objects, compaction, () => true, env.nowMs()).map(({ source }) => source.key);
  }
  const retention = await applyRetention(target, config.retention, isForced, progress, signal);
  if (isForced && retention.deleted.length === 0) await rebuildManifest(store, name, signal);
  const result = { name, compacted, expired, retention };
  return refused.length === 0 ? result : { ...result, refused };
}

/** The moment in its first interval at which a level is due; never if the level is not made. */
function firstDelayMs(compaction: CompactionConfig, level: number, phase: number): number {
  const isMade = compaction.enabled && isLevelMade(compaction, level);
  return isMade ? compaction.levelsMs[level - 1]! * phase : Number.POSITIVE_INFINITY;
}

/** The object that a merge would make; its size is not known. */
function plannedObject(store: ObjectStore, name: string, merge: Merge): CompactedObject {
  const { level, minTxid, maxTxid, sources } = merge;
  const sourceBytes = sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const key = keyOf(store, name, merge);
  return { level, minTxid, maxTxid, key, bytes: 0, sources: sources.length, sourceBytes, durationMs: 0 };
}
