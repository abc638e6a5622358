/**
 * Makes the documents of the dashboard from the statuses of a watch, in the words of /health. Loaded and made
 * when the page is first opened: an unopened dashboard costs no memory.
 */
import { hostname } from "node:os";
import type { Env } from "../env.ts";
import type { Condition } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { adviceFor } from "./dashboard/advice.ts";
import {
  DASHBOARD_COLUMNS,
  type DashboardDocument,
  type DashboardRow,
  type Problem,
} from "./dashboard/dashboard-document.ts";
import { HourHistory, type Sums } from "./dashboard/hour-history.ts";
import { walSizeOrNull } from "./database-metrics.ts";
import {
  type DatabaseHealthReport,
  failureText,
  type HealthReport,
  UNKNOWN_LAG,
  withoutFolder,
} from "./health.ts";
import { isStorageCode, type Tally } from "./tally.ts";

/** Longer messages are cut: they quote the answers of servers. */
const MESSAGE_LENGTH_MAX = 600;

/** The facts of one moment. */
export interface DashboardFacts {
  readonly statuses: readonly DatabaseStatus[];
  readonly health: HealthReport;
  readonly tally: Pick<Tally, "uploadCounts" | "uploadedBytes" | "sinceUploadMs">;
}

/** The dashboard of one watch. */
export class DashboardSource {
  readonly #history = new HourHistory();

  constructor(readonly env: Pick<Env, "nowMs" | "monotonicMs">) {}

  /** The document of this moment. Adds its sums to the history. */
  document({ statuses, health, tally }: DashboardFacts): DashboardDocument {
    const nowMs = this.env.nowMs();
    const judged = statuses.map((status) => [status, health.databases[status.database]!] as const);
    const databases = judged.map(([status, one]) => rowOf(status, one, nowMs));
    const totals = totalsOf(databases, tally);
    const sums: Sums = {
      lagSeconds: totals.lag_seconds,
      notHealthy: totals.degraded + totals.unhealthy,
      pendingBytes: totals.pending_bytes,
      uploads: totals.uploads,
      uploadBytes: totals.upload_bytes,
    };
    this.#history.add(sums, this.env.monotonicMs());
    const sinceUploadMs = tally.sinceUploadMs();
    const { status, reasons, s3, uptime_seconds, version } = health;
    return {
      version,
      hostname: hostname(),
      time: new Date(nowMs).toISOString(),
      uptime_seconds,
      status,
      reasons,
      store: {
        connected: s3.connected,
        last_upload_age_seconds: Number.isFinite(sinceUploadMs) ? seconds(sinceUploadMs) : null,
      },
      totals,
      history: this.#history.hour,
      problems: problemsOf(judged, health),
      columns: DASHBOARD_COLUMNS,
      databases,
    };
  }
}

function rowOf(status: DatabaseStatus, judged: DatabaseHealthReport, nowMs: number): DashboardRow {
  return [
    status.database,
    judged.status,
    judged.health,
    judged.lag_seconds,
    status.txid,
    status.uploadedTxid,
    status.pendingCount,
    status.pendingBytes,
    walSizeOrNull(status.path),
    ageSeconds(status.uploadedTimeMs, nowMs),
    ageSeconds(status.snapshotTimeMs, nowMs),
    status.circuit,
    judged.errors_last_hour,
  ];
}

function totalsOf(
  rows: readonly DashboardRow[],
  tally: DashboardFacts["tally"],
): DashboardDocument["totals"] {
  const { increment, snapshot } = tally.uploadCounts;
  const totals = {
    healthy: 0,
    degraded: 0,
    unhealthy: 0,
    lag_seconds: rows.length === 0 ? 0 : (null as number | null),
    pending_files: 0,
    pending_bytes: 0,
    wal_bytes: 0,
    uploads: increment + snapshot,
    upload_bytes: tally.uploadedBytes,
  };
  for (const [, , health, lagSeconds, , , pendingFiles, pendingBytes, walBytes] of rows) {
    totals[health]++;
    if (lagSeconds !== null) totals.lag_seconds = Math.max(totals.lag_seconds ?? 0, lagSeconds);
    totals.pending_files += pendingFiles;
    totals.pending_bytes += pendingBytes;
    totals.wal_bytes += walBytes ?? 0;
  }
  return totals;
}

type Judged = readonly [DatabaseStatus, DatabaseHealthReport];

/** The problems of the machine, of the store and of all databases, worst first. */
function problemsOf(judged: readonly Judged[], { status, s3, machine }: HealthReport): Problem[] {
  const shared = [...machine.conditions, ...s3.conditions];
  const problems = shared.map((condition) => conditionProblem(condition, null));
  if (!s3.connected) problems.push(storeProblem(judged, status === "unhealthy" ? status : "degraded"));
  for (const [own, one] of judged) if (one.health !== "healthy") problems.push(...ofDatabase(own, one));
  return problems.sort((a, b) => Number(b.health === "unhealthy") - Number(a.health === "unhealthy"));
}

/** The store takes no uploads: the failure that most databases have there, with its own remedy. */
function storeProblem(judged: readonly Judged[], health: Problem["health"]): Problem {
  const failing = judged
    .map(([status]) => status)
    .filter(({ state, failure }) => state === "failing" && isStorageCode(failure?.code ?? ""));
  const groups = Map.groupBy(failing, ({ failure }) => JSON.stringify([failure?.code, failure?.hint]));
  const [one] = [...groups.values()].sort((a, b) => b.length - a.length)[0] ?? [];
  const reason = one === undefined ? "it is out of reach." : failureText(one);
  const hint = one?.failure?.hint ?? adviceFor(one?.failure?.code ?? "store");
  return {
    code: "store",
    health,
    database: null,
    message: shortened(`Nothing reaches the store: ${reason}`),
    hint: shortened(one === undefined ? hint : withoutFolder(hint, one)),
  };
}

/** The problems of one database that is not healthy: at least one is as serious as its health. */
function ofDatabase(status: DatabaseStatus, judged: DatabaseHealthReport): Problem[] {
  const { database, state, failure } = status;
  const health = judged.health === "unhealthy" ? "unhealthy" : "degraded";
  const problem = (code: string, message: string, hint = adviceFor(code)): Problem => ({
    code,
    health,
    database,
    message: shortened(message),
    hint: shortened(hint),
  });
  const problems = judged.conditions.map((condition) => conditionProblem(condition, database));
  const isConditioned = problems.some(({ code }) => code === failure?.code);
  if (failure !== null && !isConditioned && (state === "failing" || state === "stopped")) {
    const hint = failure.hint === null ? undefined : withoutFolder(failure.hint, status);
    problems.push(problem(failure.code, failureText(status), hint));
  }
  if (!problems.some((one) => one.health === health)) problems.push(problem(...ofState(status)));
  return problems;
}

/** The code and the message of a state that no failure and no condition explains. */
function ofState({ state, circuit, lagMs }: DatabaseStatus): [code: string, message: string] {
  if (state === "paused") return ["paused", "Capture is paused: too many files wait for their upload."];
  if (state === "starting") return ["starting", "The database is not opened yet."];
  if (circuit !== "closed") {
    return ["circuit-open", "Requests to the store are suspended, because many failed in a row."];
  }
  if (lagMs === null) return ["lag", `${capitalized(UNKNOWN_LAG)}.`];
  return ["lag", `The commits of the last ${Math.round(lagMs / 1000)} s may not be in the store yet.`];
}

function conditionProblem({ code, health, message, hint }: Condition, database: string | null): Problem {
  const shown = shortened(hint ?? adviceFor(code));
  return { code, health, database, message: shortened(message), hint: shown };
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function shortened(text: string): string {
  return text.length <= MESSAGE_LENGTH_MAX ? text : `${text.slice(0, MESSAGE_LENGTH_MAX)}…`;
}

/** Seconds since a time, at least 0: a clock may have been set back. */
function ageSeconds(timeMs: number | null, nowMs: number): number | null {
  return timeMs === null ? null : seconds(Math.max(0, nowMs - timeMs));
}

function seconds(durationMs: number): number {
  return Math.round(durationMs / 100) / 10;
}
