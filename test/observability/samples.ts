/** Statuses and events of databases, as a running watch gives them. */
import type { Condition } from "../../src/errors.ts";
import type { WatchEvent } from "../../src/replication/context/watch-events.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";

/** A healthy database, with `overrides`. */
export function statusOf(overrides: Partial<DatabaseStatus> = {}): DatabaseStatus {
  return {
    database: "app",
    path: "/srv/tenants/app.db",
    state: "watching",
    txid: 12,
    uploadedTxid: 12,
    uploadedTimeMs: Date.UTC(2026, 0, 15, 10, 29, 58),
    snapshotTimeMs: Date.UTC(2026, 0, 15, 10),
    pendingCount: 0,
    pendingBytes: 0,
    cacheBytes: 0,
    retryCount: 0,
    nextSnapshotTimeMs: null,
    listedTimeMs: null,
    lagMs: 0,
    walFrames: 40,
    writer: "a".repeat(32),
    circuit: "closed",
    failure: null,
    conditions: [],
    walSyncIntervalMs: 1_000,
    ...overrides,
  };
}

/** A database that fails with this code. */
export function failingWith(code: string, overrides: Partial<DatabaseStatus> = {}): DatabaseStatus {
  return statusOf({
    state: "failing",
    failure: { code, message: `${code} is the matter`, hint: null },
    ...overrides,
  });
}

/** A failure of a database. */
export function failed(code: string, database = "app"): WatchEvent {
  return { event: "failed", database, code, message: `${code} is the matter` };
}

/** A database that replication stopped for. */
export function stopped(code: string, database = "app"): WatchEvent {
  return { event: "stopped", database, code, message: `${code} was the end` };
}

/** A database that recovered. */
export function recovered(database = "app"): WatchEvent {
  return { event: "recovered", database };
}

/** A database that was attached. */
export function watching(database = "app"): WatchEvent {
  return { event: "watching", database, path: `/srv/tenants/${database}.db`, txid: 12 };
}

/** An uploaded object. */
export function uploaded(kind: "snapshot" | "increment" = "increment", database = "app"): WatchEvent {
  const time = "2026-01-15T10:29:58.000Z";
  return { event: "uploaded", database, kind, txid: 12, time, bytes: 1_000, key: "app/k", lag_ms: 40 };
}

/** A checkpoint of 40 frames in 12.5 ms. */
export function checkpointed(type: "passive" | "truncate" = "passive", database = "app"): WatchEvent {
  return { event: "checkpointed", database, frames: 40, type, held_ms: 1.5, duration_ms: 12.5 };
}

/** Five increments that were merged in 250 ms. */
export function compacted(database = "app"): WatchEvent {
  const facts = { level: 1, minTxid: 2, maxTxid: 6, bytes: 900, sources: 5, duration_ms: 250 };
  return { event: "compacted", database, ...facts };
}

/** A circuit breaker that opened after ten failures. */
export function circuitOpen(database = "app"): WatchEvent {
  const until = "2026-01-15T10:31:00.000Z";
  return { event: "circuit-open", database, failures: 10, until, message: "the store is not there" };
}

/** A database that is no longer watched. */
export function letGo(database = "app"): WatchEvent {
  return { event: "let-go", database, reason: "its file is gone" };
}

/** A validation with this result. */
export function validated(status: "ok" | "warnings" | "errors", messages: string[] = []): WatchEvent {
  return { event: "validated", database: "app", status, messages };
}

/** A condition of a database that begins. */
export function condition(code: string, health: Condition["health"] = "unhealthy"): WatchEvent {
  return { event: "condition", state: "raised", database: "app", code, health, message: `${code} holds` };
}

/** An unhealthy condition of a database that ends. */
export function cleared(code: string): WatchEvent {
  const message = `${code} holds`;
  return { event: "condition", state: "cleared", database: "app", code, health: "unhealthy", message };
}
