/**
 * The report of a running watch for `walrust status`: the status of each database, and the facts that only
 * events show: the last upload, the last validations, and since when a database fails.
 *
 * Invariant: nothing is kept for a database that has neither failed nor been validated.
 */
import { statSync } from "node:fs";
import type { Condition } from "../../errors.ts";
import type { SharedContext } from "../context/watch-context.ts";
import type { Validation, WatchEvent } from "../context/watch-events.ts";
import type { DatabaseStatus } from "./watch-status.ts";

/** One database in the report. */
export interface ReportedDatabase extends DatabaseStatus {
  /** How long the failure has lasted; null without one, or when no event told of its begin. */
  readonly failingMs: number | null;
  /** Bytes of the WAL, or null without one. */
  readonly walBytes: number | null;
  /** The newest snapshot of the history; null while there is none, or while the database is not attached. */
  readonly snapshot: { readonly txid: number; readonly timeMs: number } | null;
  /** The last validation of this process (ms since the epoch), or null. */
  readonly validation: { readonly status: Validation["status"]; readonly timeMs: number } | null;
}

/** The report of one watch. Fields are only ever added: another version may read it. */
export interface WatchStatus {
  readonly version: string;
  readonly uptimeMs: number;
  /** The destination as a person writes it. */
  readonly destination: string;
  /** The destination with its endpoint, for comparisons. */
  readonly location: string;
  /** The end of the last upload (ms since the epoch), or null. */
  readonly lastUploadTimeMs: number | null;
  /** Time since that, or null. */
  readonly sinceUploadMs: number | null;
  readonly storeConditions: readonly Condition[];
  readonly databases: readonly ReportedDatabase[];
}

/** The databases of a watch. */
interface ReportedFleet {
  statuses(): readonly DatabaseStatus[];
  readonly watchers: readonly {
    readonly name: string;
    readonly live: { readonly state: { readonly snapshot: ReportedDatabase["snapshot"] } | null } | null;
  }[];
}

/** Gathers the report: `observe` takes each event. */
export class WatchReport {
  readonly #startedMs: number;
  #upload: { readonly timeMs: number; readonly atMs: number } | null = null;
  /** Since when a database fails, on the monotonic clock. */
  readonly #failingSinceMs = new Map<string, number>();
  readonly #validations = new Map<string, NonNullable<ReportedDatabase["validation"]>>();

  constructor(
    readonly fleet: ReportedFleet,
    readonly context: Pick<SharedContext, "env" | "version" | "store" | "storeConditions">,
  ) {
    this.#startedMs = context.env.monotonicMs();
  }

  observe(event: WatchEvent): void {
    const { env } = this.context;
    if (event.event === "uploaded") this.#upload = { timeMs: env.nowMs(), atMs: env.monotonicMs() };
    if (event.event === "failed" || event.event === "stopped") {
      if (!this.#failingSinceMs.has(event.database))
        this.#failingSinceMs.set(event.database, env.monotonicMs());
    }
    if (event.event === "recovered") this.#failingSinceMs.delete(event.database);
    if (event.event === "validated")
      this.#validations.set(event.database, { status: event.status, timeMs: env.nowMs() });
    if (event.event === "let-go") {
      this.#failingSinceMs.delete(event.database);
      this.#validations.delete(event.database);
    }
  }

  /** The report of this moment. */
  status(): WatchStatus {
    const { env, version, store, storeConditions } = this.context;
    const nowMs = env.monotonicMs();
    const snapshots = new Map(
      this.fleet.watchers.map(({ name, live }) => [name, live?.state?.snapshot ?? null]),
    );
    return {
      version,
      uptimeMs: Math.round(nowMs - this.#startedMs),
      destination: store.url,
      location: store.location,
      lastUploadTimeMs: this.#upload?.timeMs ?? null,
      sinceUploadMs: this.#upload === null ? null : Math.round(nowMs - this.#upload.atMs),
      storeConditions: storeConditions.current,
      databases: this.fleet.statuses().map((status) => ({
        ...status,
        failingMs: this.#failingMs(status, nowMs),
        walBytes: sizeOrNull(`${status.path}-wal`),
        snapshot: snapshots.get(status.database) ?? null,
        validation: this.#validations.get(status.database) ?? null,
      })),
    };
  }

  #failingMs({ database, failure }: DatabaseStatus, nowMs: number): number | null {
    const sinceMs = failure === null ? undefined : this.#failingSinceMs.get(database);
    return sinceMs === undefined ? null : Math.round(nowMs - sinceMs);
  }
}

function sizeOrNull(path: string): number | null {
  try {
    return statSync(path, { throwIfNoEntry: false })?.size ?? null;
  } catch {
    // A folder on the way may not be entered any more: the status of the database names the failure.
    return null;
  }
}
