/**
 * PURE: judges the answers of all watches of this user: the health of each watch and of each database, with
 * its reasons and what to do. The judgement is that of /health.
 */
import type { Condition, ErrorCode, WalrustError } from "../../errors.ts";
import { type DatabaseHealthReport, type Health, healthReport } from "../../observability/health.ts";
import type { WatchAnswer } from "../../replication/control/control-client.ts";
import type { ReportedDatabase, WatchStatus } from "../../replication/watch/watch-report.ts";
import { defaultHint } from "../shared/default-hints.ts";

/** One database of a watch. */
export interface JudgedDatabase {
  readonly reported: ReportedDatabase;
  readonly report: DatabaseHealthReport;
  /** Remedies, as sentences to the user; empty for a healthy database. */
  readonly remedies: readonly string[];
}

/** One watch. */
export interface JudgedWatch {
  readonly pid: number;
  readonly health: Health;
  readonly reasons: readonly string[];
  readonly remedies: readonly string[];
  /** Null when the watch did not answer. */
  readonly status: WatchStatus | null;
  readonly problem: WalrustError | null;
  /** The worst first, then by name. */
  readonly databases: readonly JudgedDatabase[];
}

/** All watches of this user. */
export interface JudgedWatches {
  readonly health: Health;
  readonly watches: readonly JudgedWatch[];
  /** Names that were asked for and that no watch has. */
  readonly absent: readonly string[];
  /** Watches that run, whether they were asked for or not. */
  readonly runningCount: number;
  /** Destinations of the watches that were not asked for. */
  readonly elsewhere: readonly string[];
}

/** The watches to judge. */
export interface WatchChoice {
  /** Only these databases; empty: all. */
  readonly names: readonly string[];
  /** Only watches that replicate there; null: all. */
  readonly location: string | null;
}

const ORDER: Readonly<Record<Health, number>> = { unhealthy: 0, degraded: 1, healthy: 2 };

/** Exit code by health. */
export const HEALTH_EXITS: Readonly<Record<Health, number>> = { healthy: 0, degraded: 1, unhealthy: 3 };

/** Judges the answers. Without a watch, or without one of the names, the whole is unhealthy. */
export function judgeWatches(
  answers: readonly WatchAnswer[],
  { names, location }: WatchChoice,
): JudgedWatches {
  const all = answers.map((answer) => ({ ...answer, status: answer.result as WatchStatus | null }));
  const isAskedFor = (status: WatchStatus): boolean => location === null || status.location === location;
  const asked = all.filter(({ status }) => status === null || isAskedFor(status));
  const watches = asked.map((answer) => judgeWatch(answer, names));
  const known = new Set(
    watches.flatMap(({ databases }) => databases.map(({ reported }) => reported.database)),
  );
  const absent = names.filter((name) => !known.has(name));
  const isFound = absent.length === 0 && watches.some(({ problem }) => problem === null);
  // A silent watch counts unless all that was asked for is found elsewhere.
  const isSilenceFine = isFound && (names.length > 0 || location !== null);
  const shown = watches.filter(({ problem, databases }) => {
    return problem === null ? names.length === 0 || databases.length > 0 : !isSilenceFine;
  });
  const isThere = shown.some(({ problem }) => problem === null) || (location === null && shown.length > 0);
  const isMissing = !isThere || absent.length > 0;
  return {
    health: isMissing ? "unhealthy" : worstOf(shown.map(({ health }) => health)),
    watches: shown,
    absent,
    runningCount: answers.length,
    elsewhere: all.flatMap(({ status }) =>
      status === null || isAskedFor(status) ? [] : [status.destination],
    ),
  };
}

function judgeWatch(
  { pid, status, error, isOlder }: Omit<WatchAnswer, "result"> & { readonly status: WatchStatus | null },
  names: readonly string[],
): JudgedWatch {
  if (status === null) {
    const remedies = error?.hint === undefined ? [] : [error.hint];
    const reasons = [error?.message ?? "it did not answer"];
    const health = isOlder ? "degraded" : "unhealthy";
    return { pid, health, reasons, remedies, status, problem: error, databases: [] };
  }
  const chosen = status.databases.filter(({ database }) => names.length === 0 || names.includes(database));
  const report = healthReport(chosen, factsOf(status));
  const databases = chosen.map((reported): JudgedDatabase => {
    const own = report.databases[reported.database]!;
    return { reported, report: own, remedies: own.health === "healthy" ? [] : remediesOf(reported, own) };
  });
  return {
    pid,
    health: report.status,
    reasons: report.reasons,
    remedies: hintsOf(status.storeConditions),
    status,
    problem: null,
    databases: databases.sort(byUrgency),
  };
}

function factsOf(status: WatchStatus): Parameters<typeof healthReport>[1] {
  const { version, uptimeMs, lastUploadTimeMs, sinceUploadMs, storeConditions, databases } = status;
  const failingMs = new Map(databases.map((one) => [one.database, one.failingMs]));
  return {
    version,
    uptimeMs,
    lastUploadTimeMs,
    sinceUploadMs: sinceUploadMs ?? Number.POSITIVE_INFINITY,
    // The begin of a failure without an event is not known: it may be the start.
    failingMs: (database) => failingMs.get(database) ?? uptimeMs,
    errorsLastHour: () => 0,
    storeConditions,
  };
}

function byUrgency(a: JudgedDatabase, b: JudgedDatabase): number {
  const order = ORDER[a.report.health] - ORDER[b.report.health];
  return order || (a.reported.database < b.reported.database ? -1 : 1);
}

function worstOf(all: readonly Health[]): Health {
  return all.reduce((worst, health) => (ORDER[health] < ORDER[worst] ? health : worst), "healthy");
}

/** The remedies for a database that is not healthy. */
function remediesOf(reported: ReportedDatabase, { health }: DatabaseHealthReport): string[] {
  const { state, failure, conditions, circuit, pendingCount } = reported;
  const remedies = hintsOf(conditions);
  if (failure !== null) {
    const hint = failure.hint ?? defaultHint(failure.code as ErrorCode);
    if (hint !== undefined) remedies.push(hint);
  }
  if (state === "paused")
    remedies.push("Free the way to the store, or raise cache.max_size: captures continue by themselves");
  const isUnexplained = remedies.length === 0 && health !== "healthy" && state === "watching";
  if (isUnexplained && (pendingCount > 0 || circuit !== "closed"))
    remedies.push("Check the network and the store; `walrust doctor` tries both");
  return [...new Set(remedies)];
}

function hintsOf(conditions: readonly Condition[]): string[] {
  return conditions.flatMap(({ hint }) => (hint === undefined ? [] : [hint]));
}
