/**
 * The document that `status --json` prints. Keys are only ever added.
 */
import { type HostLockHolder, silentHolderError } from "../../database/files/host-lock-holder.ts";
import { isCapturing } from "../../observability/health.ts";
import type { ReportedDatabase } from "../../replication/watch/watch-report.ts";
import type { JudgedDatabase, JudgedWatch, JudgedWatches } from "./judged-watches.ts";
import type { StatusDatabase, StatusDocument, StatusWatch } from "./status-document.ts";

/**
 * The judged watches as a JSON document.
 * @param silent databases that a walrust has while no watch answers for them
 */
export function statusJson(
  { health, watches, absent }: JudgedWatches,
  silent: readonly HostLockHolder[] = [],
): StatusDocument {
  return {
    status: health,
    watches: watches.map(watchJson),
    not_watched: absent,
    silent: silent.map(silentJson),
  };
}

function silentJson(holder: HostLockHolder): StatusDocument["silent"][number] {
  const { message, hint = null } = silentHolderError(holder);
  return { path: holder.path, pid: holder.pid, message, hint };
}

function watchJson({ pid, health, reasons, remedies, status, problem, databases }: JudgedWatch): StatusWatch {
  return {
    pid,
    status: health,
    reasons,
    remedies,
    version: status?.version ?? null,
    destination: status?.destination ?? null,
    uptime_seconds: status === null ? null : seconds(status.uptimeMs),
    last_upload: timeOrNull(status?.lastUploadTimeMs ?? null),
    conditions: status?.storeConditions ?? [],
    problem: problem && { code: problem.code, message: problem.message, hint: problem.hint ?? null },
    databases: databases.map(databaseJson),
  };
}

function databaseJson({ reported, report, remedies }: JudgedDatabase): StatusDatabase {
  const { snapshot, validation, failure, failingMs } = reported;
  return {
    name: reported.database,
    path: reported.path,
    status: report.status,
    health: report.health,
    reasons: report.reasons,
    remedies,
    txid: reported.txid || null,
    uploaded_txid: reported.uploadedTxid || null,
    lag_seconds: lagOf(reported),
    pending_files: reported.pendingCount,
    pending_bytes: reported.pendingBytes,
    wal_frames: reported.walFrames,
    wal_bytes: reported.walBytes,
    last_sync: report.last_sync,
    snapshot: snapshot && { txid: snapshot.txid, time: timeOrNull(snapshot.timeMs) },
    bucket_listed: timeOrNull(reported.listedTimeMs ?? null),
    validation: validation && { status: validation.status, time: timeOrNull(validation.timeMs) },
    circuit: reported.circuit,
    failure: failure && { ...failure, seconds: failingMs === null ? null : seconds(failingMs) },
    conditions: report.conditions,
    replicas: reported.replicas ?? [],
  };
}

/** A watch of an earlier version reports 0 for a lag that it does not know. */
function lagOf(reported: ReportedDatabase): number | null {
  const { lagMs } = reported;
  return lagMs === null || (lagMs === 0 && !isCapturing(reported)) ? null : seconds(lagMs);
}

function seconds(durationMs: number): number {
  return Math.round(durationMs) / 1000;
}

function timeOrNull(timeMs: number | null): string | null {
  return timeMs === null ? null : new Date(timeMs).toISOString();
}
