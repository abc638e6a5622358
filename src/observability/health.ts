/**
 * PURE: how well it goes, judged from the status of each database.
 *
 * - A database is unhealthy if it is stopped, or if its lag (which also grows while nothing can be captured)
 *   is above 60 s; degraded if its lag is above ten times its sync interval, its circuit breaker is not
 *   closed, or it is failing, paused or not attached yet.
 * - A condition makes its database, or the whole if it is one of the store, as bad as it says.
 * - The whole is as bad as its worst database; unhealthy, too, when the store was out of reach for 60 s.
 * - Every verdict but "healthy" carries its reasons in plain words, without the folders of databases.
 */
import { dirname } from "node:path";
import type { Condition } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { isStorageCode } from "./tally.ts";

const UNHEALTHY_MS = 60_000;
const DEGRADED_SYNC_INTERVALS = 10;

/** A verdict, best first. */
export type Health = "healthy" | "degraded" | "unhealthy";

/** What the status of the databases does not tell. Ages in ms. */
export interface HealthFacts {
  readonly version: string;
  readonly uptimeMs: number;
  /** Wall clock of the last upload in ms, or null. */
  readonly lastUploadTimeMs: number | null;
  /** How long ago that was; infinite if there was none. */
  readonly sinceUploadMs: number;
  /** For how long the failure of a failing database has lasted. */
  failingMs(database: string): number;
  errorsLastHour(database: string): number;
  /** Conditions of the store that all databases share. */
  readonly storeConditions: readonly Condition[];
}

/** One database in the answer of /health. */
export interface DatabaseHealthReport {
  readonly status: "starting" | "syncing" | "failing" | "paused" | "stopped";
  readonly health: Health;
  readonly reasons: readonly string[];
  /** When the newest object that this process has uploaded was captured. */
  readonly last_sync: string | null;
  readonly lag_seconds: number;
  readonly errors_last_hour: number;
  readonly txid: number;
  readonly uploaded_txid: number;
  readonly pending_files: number;
  readonly pending_bytes: number;
  readonly circuit: DatabaseStatus["circuit"];
  readonly conditions: readonly Condition[];
}

/** The answer of /health. It only ever grows. */
export interface HealthReport {
  readonly status: Health;
  readonly reasons: readonly string[];
  readonly databases: Readonly<Record<string, DatabaseHealthReport>>;
  /** The store, whatever its kind. */
  readonly s3: {
    readonly connected: boolean;
    readonly last_successful_upload: string | null;
    readonly conditions: readonly Condition[];
  };
  readonly uptime_seconds: number;
  readonly version: string;
}

/** Judges all databases of a process. */
export function healthReport(statuses: readonly DatabaseStatus[], facts: HealthFacts): HealthReport {
  const databases = statuses.map((status) => [status.database, judge(status, facts)] as const);
  const awayMs = storageAwayMs(statuses, facts);
  const isAway = awayMs > UNHEALTHY_MS;
  const reasons: string[] = [];
  if (isAway) reasons.push(`the store has been out of reach for ${seconds(awayMs)} s`);
  const ofStore = facts.storeConditions.map(({ health }) => health);
  reasons.push(...facts.storeConditions.map(({ message }) => message));
  for (const health of ["unhealthy", "degraded"] as const) {
    const count = databases.filter(([, one]) => one.health === health).length;
    if (count > 0) reasons.push(`${count} of ${databases.length} databases ${health}`);
  }
  return {
    status: isAway ? "unhealthy" : worst([...ofStore, ...databases.map(([, { health }]) => health)]),
    reasons,
    databases: Object.fromEntries(databases),
    s3: {
      connected: isConnected(statuses, facts, awayMs),
      last_successful_upload: timeOrNull(facts.lastUploadTimeMs),
      conditions: facts.storeConditions,
    },
    uptime_seconds: seconds(facts.uptimeMs),
    version: facts.version,
  };
}

/**
 * Whether what is committed to this database is captured, for all that is known: it is neither starting,
 * stopped nor paused, nor failing for another reason than the store (which shows in the lag).
 */
export function isCapturing({ state, failure }: DatabaseStatus): boolean {
  return state === "watching" || (state === "failing" && isStorageCode(failure?.code ?? ""));
}

function judge(status: DatabaseStatus, facts: HealthFacts): DatabaseHealthReport {
  const { database, lagMs } = status;
  const unhealthy = unhealthyReasons(status);
  const reasons = [...unhealthy, ...degradedReasons(status)];
  return {
    status: status.state === "watching" ? "syncing" : status.state,
    health: unhealthy.length > 0 ? "unhealthy" : reasons.length > 0 ? "degraded" : "healthy",
    reasons,
    last_sync: timeOrNull(status.uploadedTimeMs),
    lag_seconds: Math.round(lagMs) / 1000,
    errors_last_hour: facts.errorsLastHour(database),
    txid: status.txid,
    uploaded_txid: status.uploadedTxid,
    pending_files: status.pendingCount,
    pending_bytes: status.pendingBytes,
    circuit: status.circuit,
    conditions: status.conditions.map((one) => withoutFolder(one, status)),
  };
}

function unhealthyReasons(status: DatabaseStatus): string[] {
  const reasons: string[] = [];
  if (status.state === "stopped") reasons.push(`stopped: ${failureText(status)}`);
  if (status.lagMs > UNHEALTHY_MS) {
    reasons.push(`the store is up to ${seconds(status.lagMs)} s behind, more than 60 s`);
  }
  return [...reasons, ...conditionReasons(status, "unhealthy")];
}

function conditionReasons(status: DatabaseStatus, health: Condition["health"]): string[] {
  const matching = status.conditions.filter((condition) => condition.health === health);
  return matching.map((condition) => withoutFolder(condition, status).message);
}

/** A condition without the folder the database is in. */
function withoutFolder(condition: Condition, { path }: DatabaseStatus): Condition {
  const folder = `${dirname(path)}/`;
  const { message, hint } = condition;
  const shown = { ...condition, message: message.replaceAll(folder, "") };
  return hint === undefined ? shown : { ...shown, hint: hint.replaceAll(folder, "") };
}

function degradedReasons(status: DatabaseStatus): string[] {
  const { state, lagMs, circuit } = status;
  const lagMaxMs = DEGRADED_SYNC_INTERVALS * status.walSyncIntervalMs;
  const reasons: string[] = [];
  if (lagMs > lagMaxMs && lagMs <= UNHEALTHY_MS) {
    const limit = `${DEGRADED_SYNC_INTERVALS} sync intervals (${seconds(lagMaxMs)} s)`;
    reasons.push(`the store is up to ${seconds(lagMs)} s behind, more than ${limit}`);
  }
  if (circuit === "open") reasons.push("its circuit breaker is open: requests to the store are suspended");
  if (circuit === "half-open") reasons.push("its circuit breaker is half-open: one request is being tried");
  if (state === "failing") reasons.push(`failing: ${failureText(status)}`);
  if (state === "paused")
    reasons.push("capture stopped: the captured files have reached their limit on disk");
  if (state === "starting") reasons.push("not attached yet");
  return [...reasons, ...conditionReasons(status, "degraded")];
}

/** For how long the store has been out of reach for all that have tried it; 0 when nobody is waiting. */
function storageAwayMs(statuses: readonly DatabaseStatus[], facts: HealthFacts): number {
  const longestMs = Math.max(0, ...failingAtStore(statuses).map(({ database }) => facts.failingMs(database)));
  return Math.min(longestMs, facts.sinceUploadMs);
}

function failingAtStore(statuses: readonly DatabaseStatus[]): DatabaseStatus[] {
  return statuses.filter(({ state, failure }) => state === "failing" && isStorageCode(failure?.code ?? ""));
}

/** Nobody fails at the store, or others got through lately, after the first of those had begun to fail. */
function isConnected(statuses: readonly DatabaseStatus[], facts: HealthFacts, awayMs: number): boolean {
  const failing = failingAtStore(statuses);
  if (failing.length === 0) return true;
  const longestMs = Math.max(...failing.map(({ database }) => facts.failingMs(database)));
  return facts.sinceUploadMs < longestMs && awayMs <= UNHEALTHY_MS;
}

/** Why it fails or stopped, without the folder the database is in: who asks need not know this machine. */
function failureText({ failure, path }: DatabaseStatus): string {
  if (failure === null) return "no reason is known";
  return failure.message.replaceAll(`${dirname(path)}/`, "");
}

function worst(all: readonly Health[]): Health {
  return all.includes("unhealthy") ? "unhealthy" : all.includes("degraded") ? "degraded" : "healthy";
}

function seconds(durationMs: number): number {
  return Math.round(durationMs / 100) / 10;
}

function timeOrNull(timeMs: number | null): string | null {
  return timeMs === null ? null : new Date(timeMs).toISOString();
}
