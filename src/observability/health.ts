/**
 * PURE: judges the health of each database, and of the process.
 *
 * - A database is unhealthy if it is stopped, or if its lag is above 60 s. The lag also grows while nothing
 *   can be captured.
 * - A database is degraded if its lag is above ten times its sync interval, if its circuit breaker is not
 *   closed, or if it is failing, paused or not attached yet. Nor is it healthy while its lag is not known.
 * - A condition makes its database as bad as it states; one of the store or the machine, the whole process.
 * - The process is as bad as its worst database, and unhealthy when the store was out of reach for 60 s.
 * - Every judgement but "healthy" carries its reasons in plain words, without the folders of databases.
 */
import { dirname } from "node:path";
import { type Condition, isOfMachine } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { isStorageCode } from "./tally.ts";

const UNHEALTHY_MS = 60_000;
const DEGRADED_SYNC_INTERVALS = 10;
/** The reason of a database that is not captured, and that has no other one. */
export const UNKNOWN_LAG = "it is not known how far the store is behind";

/** A judgement, best first. */
export type Health = "healthy" | "degraded" | "unhealthy";

/** Facts that the statuses do not contain. Ages in ms. */
export interface HealthFacts {
  readonly version: string;
  readonly uptimeMs: number;
  /** Wall clock of the last upload in ms, or null. */
  readonly lastUploadTimeMs: number | null;
  /** Time since the last upload; infinite if there was none. */
  readonly sinceUploadMs: number;
  /** How long the failure of a failing database has lasted. */
  failingMs(database: string): number;
  errorsLastHour(database: string): number;
  /** Conditions of the store and of the machine, which all databases share. */
  readonly storeConditions: readonly Condition[];
}

/** One database in the answer to /health. */
export interface DatabaseHealthReport {
  readonly status: "starting" | "syncing" | "failing" | "paused" | "stopped";
  readonly health: Health;
  readonly reasons: readonly string[];
  /** Capture time of the newest object that this process has uploaded. */
  readonly last_sync: string | null;
  /** Null while the lag is not known. */
  readonly lag_seconds: number | null;
  readonly errors_last_hour: number;
  readonly txid: number;
  readonly uploaded_txid: number;
  readonly pending_files: number;
  readonly pending_bytes: number;
  readonly circuit: DatabaseStatus["circuit"];
  readonly conditions: readonly Condition[];
}

/** The answer to /health. Keys are only ever added. */
export interface HealthReport {
  readonly status: Health;
  readonly reasons: readonly string[];
  readonly databases: Readonly<Record<string, DatabaseHealthReport>>;
  /** The store, of any kind. */
  readonly s3: {
    readonly connected: boolean;
    readonly last_successful_upload: string | null;
    readonly conditions: readonly Condition[];
  };
  /** This machine, as far as all databases share it. */
  readonly machine: { readonly conditions: readonly Condition[] };
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
      conditions: facts.storeConditions.filter((condition) => !isOfMachine(condition)),
    },
    machine: { conditions: facts.storeConditions.filter(isOfMachine) },
    uptime_seconds: seconds(facts.uptimeMs),
    version: facts.version,
  };
}

/**
 * Whether commits to this database are captured, as far as is known. A failure of the store does not stop
 * captures, and shows in the lag.
 */
export function isCapturing({ state, failure }: DatabaseStatus): boolean {
  return state === "watching" || (state === "failing" && isStorageCode(failure?.code ?? ""));
}

function judge(status: DatabaseStatus, facts: HealthFacts): DatabaseHealthReport {
  const { database, lagMs } = status;
  const unhealthy = unhealthyReasons(status);
  const reasons = [...unhealthy, ...degradedReasons(status)];
  if (reasons.length === 0 && lagMs === null) reasons.push(UNKNOWN_LAG);
  return {
    status: status.state === "watching" ? "syncing" : status.state,
    health: unhealthy.length > 0 ? "unhealthy" : reasons.length > 0 ? "degraded" : "healthy",
    reasons,
    last_sync: timeOrNull(status.uploadedTimeMs),
    lag_seconds: lagMs === null ? null : Math.round(lagMs) / 1000,
    errors_last_hour: facts.errorsLastHour(database),
    txid: status.txid,
    uploaded_txid: status.uploadedTxid,
    pending_files: status.pendingCount,
    pending_bytes: status.pendingBytes,
    circuit: status.circuit,
    conditions: status.conditions.map((one) => shownCondition(one, status)),
  };
}

function unhealthyReasons(status: DatabaseStatus): string[] {
  const reasons: string[] = [];
  if (status.state === "stopped") reasons.push(`stopped: ${failureText(status)}`);
  const lagMs = status.lagMs ?? 0;
  if (lagMs > UNHEALTHY_MS) reasons.push(`the store is up to ${seconds(lagMs)} s behind, more than 60 s`);
  return [...reasons, ...conditionReasons(status, "unhealthy")];
}

function conditionReasons(status: DatabaseStatus, health: Condition["health"]): string[] {
  const matching = status.conditions.filter((condition) => condition.health === health);
  return matching.map(({ message }) => withoutFolder(message, status));
}

/** A text without the folder of the database, which readers of /health need not know. */
export function withoutFolder(text: string, { path }: Pick<DatabaseStatus, "path">): string {
  return text.replaceAll(`${dirname(path)}/`, "");
}

function shownCondition(condition: Condition, status: DatabaseStatus): Condition {
  const { message, hint } = condition;
  const shown = { ...condition, message: withoutFolder(message, status) };
  return hint === undefined ? shown : { ...shown, hint: withoutFolder(hint, status) };
}

function degradedReasons(status: DatabaseStatus): string[] {
  const { state, circuit } = status;
  const lagMs = status.lagMs ?? 0;
  const lagMaxMs = DEGRADED_SYNC_INTERVALS * status.walSyncIntervalMs;
  const reasons: string[] = [];
  if (lagMs > lagMaxMs && lagMs <= UNHEALTHY_MS) {
    const limit = `${DEGRADED_SYNC_INTERVALS} sync intervals (${seconds(lagMaxMs)} s)`;
    reasons.push(`the store is up to ${seconds(lagMs)} s behind, more than ${limit}`);
  }
  if (circuit === "open") reasons.push("its circuit breaker is open: requests to the store are suspended");
  if (circuit === "half-open") reasons.push("its circuit breaker is half-open: one request tries the store");
  if (state === "failing") reasons.push(`failing: ${failureText(status)}`);
  if (state === "paused")
    reasons.push("capture is paused: the captured files have reached their limit on disk");
  if (state === "starting") reasons.push("not attached yet");
  return [...reasons, ...conditionReasons(status, "degraded")];
}

/** How long the store has been out of reach of every database that tried; 0 while none fails there. */
function storageAwayMs(statuses: readonly DatabaseStatus[], facts: HealthFacts): number {
  const longestMs = Math.max(0, ...failingAtStore(statuses).map(({ database }) => facts.failingMs(database)));
  return Math.min(longestMs, facts.sinceUploadMs);
}

function failingAtStore(statuses: readonly DatabaseStatus[]): DatabaseStatus[] {
  return statuses.filter(({ state, failure }) => state === "failing" && isStorageCode(failure?.code ?? ""));
}

/** Whether no database fails at the store, or some upload succeeded after the first had begun to fail. */
function isConnected(statuses: readonly DatabaseStatus[], facts: HealthFacts, awayMs: number): boolean {
  const failing = failingAtStore(statuses);
  if (failing.length === 0) return true;
  const longestMs = Math.max(...failing.map(({ database }) => facts.failingMs(database)));
  return facts.sinceUploadMs < longestMs && awayMs <= UNHEALTHY_MS;
}

/** The failure of a database, without its folder. */
export function failureText(status: Pick<DatabaseStatus, "failure" | "path">): string {
  return status.failure === null ? "for an unknown reason" : withoutFolder(status.failure.message, status);
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
