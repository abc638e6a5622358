/**
 * Counts the events of a watch since its start, for metrics and health.
 *
 * Invariants:
 * 1. A database that never uploaded and never failed has no record; see `DatabaseCounts` for the others.
 * 2. The record of a failing database is bounded.
 * 3. Records are dropped when the database is no longer watched. Counts of all databases together are kept.
 */
import type { Env } from "../env.ts";
import { type ErrorCode, EXIT_CODES } from "../errors.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { DatabaseCounts } from "./database-counts.ts";

const HOUR_MS = 3_600_000;
/** The most errors within an hour that are counted. */
const RECENT_ERRORS_MAX = 100;
/** The key of the counts of all databases together. */
const ALL = "";

/** The record of a database that has failed. */
interface Errors {
  /** Monotonic times of the newest errors. */
  readonly recentMs: number[];
  /** Begin of the failure that lasts (monotonic), or null. */
  failingSinceMs: number | null;
  isStorage: boolean;
}

/** Whether a code means that the store failed. Another writer is no failure of the store. */
export function isStorageCode(code: string): boolean {
  if (!Object.hasOwn(EXIT_CODES, code) || code === "foreign-writer") return false;
  return EXIT_CODES[code as ErrorCode] === EXIT_CODES.storage;
}

/** Counters of one process. */
export class Tally {
  readonly startedMs: number;
  /** Uploads of all databases together. */
  readonly uploadCounts = { increment: 0, snapshot: 0 };
  uploadedBytes = 0;
  /** Wall clock of the last upload in ms, or null. */
  lastUploadTimeMs: number | null = null;
  /** Databases that a glob no longer matched. */
  letGoCount = 0;
  #lastUploadMs = Number.NEGATIVE_INFINITY;
  /** A number stands for the counts of a database that uploaded one snapshot of that size, and no more. */
  readonly #counts = new Map<string, DatabaseCounts | number>();
  readonly #errors = new Map<string, Errors>();
  #retryTotal = 0;
  readonly #seenRetries = new Map<string, number>();

  /** @param isPerDatabase whether each database is counted by itself */
  constructor(
    readonly env: Env,
    readonly isPerDatabase = true,
  ) {
    this.startedMs = env.monotonicMs();
  }

  /** Counts an event. */
  observe(event: WatchEvent): void {
    const { database } = event;
    if (database !== null) this.#count(event, database);
    switch (event.event) {
      case "uploaded":
        this.uploadCounts[event.kind]++;
        this.uploadedBytes += event.bytes;
        this.lastUploadTimeMs = this.env.nowMs();
        this.#lastUploadMs = this.env.monotonicMs();
        return;
      case "failed":
      case "stopped":
        return this.#failed(event.database, event.code);
      case "recovered": {
        const errors = this.#errors.get(event.database);
        if (errors !== undefined) errors.failingSinceMs = null;
        return;
      }
      case "let-go":
        this.letGoCount++;
        this.#errors.delete(event.database);
        this.#counts.delete(event.database);
    }
  }

  #count(event: WatchEvent, database: string): void {
    if (!COUNTED.has(event.event)) return;
    const key = this.isPerDatabase ? database : ALL;
    const known = this.#counts.get(key);
    if (known === undefined && event.event === "uploaded" && event.kind === "snapshot") {
      this.#counts.set(key, event.bytes);
      return;
    }
    const counts = known === undefined ? new DatabaseCounts() : countsFrom(known);
    if (counts !== known) this.#counts.set(key, counts);
    counts.observe(event, this.env.nowMs());
  }

  #failed(database: string, code: string): void {
    const nowMs = this.env.monotonicMs();
    const isStorage = isStorageCode(code);
    let errors = this.#errors.get(database);
    if (errors === undefined) {
      errors = { recentMs: [], failingSinceMs: null, isStorage };
      this.#errors.set(database, errors);
    }
    errors.recentMs.push(nowMs);
    if (errors.recentMs.length > RECENT_ERRORS_MAX) errors.recentMs.shift();
    // A failure of another kind begins anew: the store may have worked until now.
    if (errors.failingSinceMs === null || errors.isStorage !== isStorage) errors.failingSinceMs = nowMs;
    errors.isStorage = isStorage;
  }

  /** The counts of a database, or of all databases together if the process counts so. */
  countsOf(database: string): DatabaseCounts {
    const known = this.#counts.get(this.isPerDatabase ? database : ALL);
    return known === undefined ? NOTHING : countsFrom(known);
  }

  /** The retries of all databases since the start; those of databases that left the watch stay in the sum. */
  retryTotal(statuses: readonly Pick<DatabaseStatus, "database" | "retryCount">[]): number {
    for (const { database, retryCount } of statuses) {
      const seen = this.#seenRetries.get(database) ?? 0;
      if (retryCount === seen) continue;
      // A database that left and came back counts from 0.
      this.#retryTotal += retryCount < seen ? retryCount : retryCount - seen;
      this.#seenRetries.set(database, retryCount);
    }
    return this.#retryTotal;
  }

  /** The number of failures of a database within the last hour. */
  errorsLastHour(database: string): number {
    const sinceMs = this.env.monotonicMs() - HOUR_MS;
    return this.#errors.get(database)?.recentMs.filter((ms) => ms > sinceMs).length ?? 0;
  }

  /** How long the present failure of a database has lasted; since the start, if its begin was not seen. */
  failingMs(database: string): number {
    const sinceMs = this.#errors.get(database)?.failingSinceMs ?? this.startedMs;
    return this.env.monotonicMs() - sinceMs;
  }

  /** Time since the last upload; infinite if there was none. */
  sinceUploadMs(): number {
    return this.env.monotonicMs() - this.#lastUploadMs;
  }

  /** Drops the records of databases that are no longer watched. */
  forgetOthers(watched: ReadonlySet<string>): void {
    const counts = this.isPerDatabase ? [this.#counts] : [];
    for (const records of [this.#errors, this.#seenRetries, ...counts]) {
      for (const database of records.keys()) if (!watched.has(database)) records.delete(database);
    }
  }
}

function countsFrom(known: DatabaseCounts | number): DatabaseCounts {
  return typeof known === "number" ? DatabaseCounts.ofSnapshot(known) : known;
}

const NOTHING = new DatabaseCounts();

/** The events that `DatabaseCounts` counts. */
const COUNTED: ReadonlySet<WatchEvent["event"]> = new Set([
  "uploaded",
  "checkpointed",
  "compacted",
  "validated",
  "re-anchored",
  "circuit-open",
  "failed",
  "stopped",
]);
