/**
 * Counts the events of a watch since its start, for metrics and health.
 *
 * Invariant: nothing is kept for a database that never failed. The record of a failing database is bounded,
 * and dropped when the database is no longer watched.
 */
import type { Env } from "../env.ts";
import { type ErrorCode, EXIT_CODES } from "../errors.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";

const HOUR_MS = 3_600_000;
/** The most errors within an hour that are counted. */
const RECENT_ERRORS_MAX = 100;

/** The record of a database that has failed. */
interface Errors {
  readonly countByCode: Map<string, number>;
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
  readonly uploadCounts = { increment: 0, snapshot: 0 };
  readonly validations = { success: 0, failure: 0 };
  uploadedBytes = 0;
  /** Wall clock of the last upload in ms, or null. */
  lastUploadTimeMs: number | null = null;
  /** Wall clock of the last validation in ms, or null. */
  lastValidationTimeMs: number | null = null;
  #lastUploadMs = Number.NEGATIVE_INFINITY;
  readonly #eventCounts = new Map<WatchEvent["event"], number>();
  readonly #errors = new Map<string, Errors>();

  constructor(readonly env: Env) {
    this.startedMs = env.monotonicMs();
  }

  /** Counts an event. */
  observe(event: WatchEvent): void {
    const { env } = this;
    this.#eventCounts.set(event.event, this.countOf(event.event) + 1);
    switch (event.event) {
      case "uploaded":
        this.uploadCounts[event.kind]++;
        this.uploadedBytes += event.bytes;
        this.lastUploadTimeMs = env.nowMs();
        this.#lastUploadMs = env.monotonicMs();
        return;
      case "validated":
        this.validations[event.status === "errors" ? "failure" : "success"]++;
        this.lastValidationTimeMs = env.nowMs();
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
        this.#errors.delete(event.database);
    }
  }

  #failed(database: string, code: string): void {
    const nowMs = this.env.monotonicMs();
    const isStorage = isStorageCode(code);
    let errors = this.#errors.get(database);
    if (errors === undefined) {
      errors = { countByCode: new Map(), recentMs: [], failingSinceMs: null, isStorage };
      this.#errors.set(database, errors);
    }
    errors.countByCode.set(code, (errors.countByCode.get(code) ?? 0) + 1);
    errors.recentMs.push(nowMs);
    if (errors.recentMs.length > RECENT_ERRORS_MAX) errors.recentMs.shift();
    // A failure of another kind begins anew: the store may have worked until now.
    if (errors.failingSinceMs === null || errors.isStorage !== isStorage) errors.failingSinceMs = nowMs;
    errors.isStorage = isStorage;
  }

  /** The number of events of this kind. */
  countOf(event: WatchEvent["event"]): number {
    return this.#eventCounts.get(event) ?? 0;
  }

  /** The number of failures, by database and code. */
  *errorCounts(): Generator<readonly [database: string, code: string, count: number]> {
    for (const [database, { countByCode }] of this.#errors) {
      for (const [code, count] of countByCode) yield [database, code, count];
    }
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
    for (const database of this.#errors.keys()) {
      if (!watched.has(database)) this.#errors.delete(database);
    }
  }
}
