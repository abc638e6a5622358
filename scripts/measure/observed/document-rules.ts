/**
 * PURE: the rules that one document of a running watch has to keep by itself: the document of the dashboard,
 * the answer to /health, and the document of `walrust status`. A generator yields one sentence for each
 * broken rule.
 */
import {
  DASHBOARD_COLUMNS,
  type DashboardDocument,
  type DashboardRow,
} from "../../../src/observability/dashboard/dashboard-document.ts";
import type { HealthReport } from "../../../src/observability/health.ts";
import { HEALTHS, type HealthName, type StatusDatabase, type StatusDocument } from "./status-document.ts";

const STATES = ["starting", "syncing", "failing", "paused", "stopped"];
const CIRCUITS = ["closed", "half-open", "open"];
const EXIT_CODES: Readonly<Record<HealthName, number>> = { healthy: 0, degraded: 1, unhealthy: 3 };
/** An hour of steps of 30 s. */
const STEPS_MAX = 120;

/** Whether a value is a finite number from 0. */
export function isAmount(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && Number.isFinite(value);
}

/** Whether a value is a whole number from 0. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The broken rules of a document of the dashboard. */
export function* dashboardFaults(document: DashboardDocument): Generator<string> {
  const { columns, databases, time, status } = document;
  if (!Bun.deepEquals(columns, DASHBOARD_COLUMNS)) yield `the columns are ${columns.join(", ")}`;
  if (Number.isNaN(Date.parse(time))) yield `the time is ${time}`;
  for (const row of databases) yield* rowFaults(row);
  yield* worstFaults(
    status,
    document.reasons,
    databases.map(([, , health]) => health),
  );
  yield* totalFaults(document);
  yield* problemFaults(document);
  yield* historyFaults(document);
}

function* rowFaults(row: DashboardRow): Generator<string> {
  const [
    name,
    status,
    health,
    lag,
    txid,
    uploaded,
    files,
    bytes,
    wal,
    syncAge,
    snapshotAge,
    circuit,
    errors,
  ] = row;
  if (row.length !== DASHBOARD_COLUMNS.length) yield `${name} has ${row.length} columns`;
  if (!STATES.includes(status)) yield `${name} is ${status}`;
  if (!HEALTHS.includes(health)) yield `the health of ${name} is ${health}`;
  if (!CIRCUITS.includes(circuit)) yield `the circuit of ${name} is ${circuit}`;
  for (const value of [txid, uploaded, files, bytes, errors]) {
    if (!isCount(value)) yield `${name} has ${value} where a count is`;
  }
  if (lag === null && health === "healthy") yield `${name} is healthy without a lag`;
  for (const value of [lag ?? 0, wal ?? 0, syncAge ?? 0, snapshotAge ?? 0]) {
    if (!isAmount(value)) yield `${name} has ${value} where an amount is`;
  }
}

function* totalFaults({ databases, totals }: DashboardDocument): Generator<string> {
  const sumOf = (column: number): number =>
    databases.reduce((sum, row) => sum + ((row[column] as number | null) ?? 0), 0);
  const wanted: Record<string, number> = {
    ...Object.fromEntries(
      HEALTHS.map((health) => [health, databases.filter((row) => row[2] === health).length]),
    ),
    ...{ pending_files: sumOf(6), pending_bytes: sumOf(7), wal_bytes: sumOf(8) },
  };
  const lags = databases.map((row) => row[3]).filter((lag) => lag !== null);
  const longest = lags.length === 0 && databases.length > 0 ? null : Math.max(0, ...lags);
  if (totals.lag_seconds !== longest)
    yield `totals.lag_seconds is ${totals.lag_seconds}, and the rows have ${longest}`;
  for (const [name, value] of Object.entries(wanted)) {
    const shown = (totals as Readonly<Record<string, number>>)[name];
    if (shown !== value) yield `totals.${name} is ${shown}, and the rows have ${value}`;
  }
}

function* problemFaults({ databases, problems, store }: DashboardDocument): Generator<string> {
  const named = new Set(problems.map(({ database }) => database));
  for (const [name, , health] of databases) {
    if (health !== "healthy" && !named.has(name)) yield `${name} is ${health} without a problem`;
    named.delete(name);
  }
  if (!store.connected && !named.has(null)) yield "the store is out of reach without a problem";
  named.delete(null);
  if (named.size > 0) yield `problems of no database: ${[...named].join(", ")}`;
  for (const { code, message, hint } of problems) {
    if (message === "" || hint === "") yield `the problem ${code} has no message or no remedy`;
  }
}

function* historyFaults({ history }: DashboardDocument): Generator<string> {
  const { step_seconds: stepSeconds, ...lists } = history;
  if (stepSeconds !== 30) yield `a step of the history has ${stepSeconds} s`;
  const lengths = new Set(Object.values(lists).map((list) => list.length));
  const [length = 0] = lengths;
  if (lengths.size !== 1 || length < 1 || length > STEPS_MAX) yield `the history has ${[...lengths]} steps`;
  for (const [name, list] of Object.entries(lists)) {
    for (const value of list) if (value !== null && !isAmount(value)) yield `history.${name} has ${value}`;
  }
}

/** A whole is as bad as its worst part, or worse for a reason of its own. */
function* worstFaults(
  status: HealthName,
  reasons: readonly string[],
  parts: readonly HealthName[],
): Generator<string> {
  const rankOf = (health: HealthName): number => HEALTHS.indexOf(health);
  const worst = Math.max(0, ...parts.map(rankOf));
  if (rankOf(status) < worst) yield `the whole is ${status}, and a database ${HEALTHS[worst]}`;
  if ((status === "healthy") !== (reasons.length === 0)) yield `${status} with ${reasons.length} reasons`;
}

/** The broken rules of an answer to /health. */
export function* healthFaults(httpStatus: number, report: HealthReport): Generator<string> {
  const { status, reasons, databases } = report;
  const wanted = status === "unhealthy" ? 503 : 200;
  if (httpStatus !== wanted) yield `${status} with the status ${httpStatus}`;
  const all = Object.entries(databases);
  yield* worstFaults(
    status,
    reasons,
    all.map(([, { health }]) => health),
  );
  for (const [name, one] of all) {
    if (!STATES.includes(one.status)) yield `${name} is ${one.status}`;
    if (!CIRCUITS.includes(one.circuit)) yield `the circuit of ${name} is ${one.circuit}`;
    if ((one.health === "healthy") !== (one.reasons.length === 0))
      yield `${name} is ${one.health} with ${one.reasons.length} reasons`;
    for (const value of [one.txid, one.uploaded_txid, one.pending_files, one.pending_bytes]) {
      if (!isCount(value)) yield `${name} has ${value} where a count is`;
    }
    yield* lagFaults(name, one);
    const { last_sync: time } = one;
    if (time !== null && Number.isNaN(Date.parse(time))) yield `the last sync of ${name} is ${time}`;
  }
}

/** The broken rules of a document of `walrust status --json`. */
export function* statusFaults(exitCode: number, document: StatusDocument): Generator<string> {
  const { status, watches } = document;
  if (exitCode !== EXIT_CODES[status]) yield `${status} with the exit code ${exitCode}`;
  for (const watch of watches) {
    yield* worstFaults(
      watch.status,
      watch.reasons,
      watch.databases.map(({ health }) => health),
    );
    for (const one of watch.databases) yield* databaseFaults(one);
  }
}

function* databaseFaults(one: StatusDatabase): Generator<string> {
  const { name, path, status, health, reasons } = one;
  if (!path.startsWith("/")) yield `the path of ${name} is ${path}`;
  if (!STATES.includes(status)) yield `${name} is ${status}`;
  if ((health === "healthy") !== (reasons.length === 0))
    yield `${name} is ${health} with ${reasons.length} reasons`;
  for (const value of [one.txid ?? 0, one.uploaded_txid ?? 0, one.pending_files, one.pending_bytes]) {
    if (!isCount(value)) yield `${name} has ${value} where a count is`;
  }
  yield* lagFaults(name, one);
}

/** The lag of a healthy database is known. */
function* lagFaults(
  name: string,
  { health, lag_seconds: lag }: Pick<StatusDatabase, "health" | "lag_seconds">,
): Generator<string> {
  if (lag === null ? health === "healthy" : !isAmount(lag)) yield `the lag of ${name} is ${lag}`;
}
