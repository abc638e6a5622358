/**
 * Prints the judged watches for a terminal: the problems with their remedies first, then one table a watch.
 */
import { type HostLockHolder, silentHolderError } from "../../database/files/host-lock-holder.ts";
import { isCapturing } from "../../observability/health.ts";
import { oneLine } from "../../observability/terminal-text.ts";
import type { ReportedDatabase } from "../../replication/watch/watch-report.ts";
import { countOf, formatBytes, tableLines } from "../shared/output.ts";
import type { JudgedDatabase, JudgedWatch, JudgedWatches } from "./judged-watches.ts";

/** More healthy databases than these are counted, and not listed. */
const HEALTHY_ROWS_MAX = 20;
/** The most rows of databases with problems. */
const BAD_ROWS_MAX = 20;
/** The most names of databases with the same problem. */
const NAMES_MAX = 5;

const HEAD = [
  ...["DATABASE", "STATE", "LAG", "PENDING", "TXID", "UPLOADED", "WAL"],
  ...["SNAPSHOT", "LISTED", "VALIDATED"],
];

/** The facts that the text depends on beside the watches. */
export interface TextOptions {
  /** Wall clock in ms, for ages. */
  readonly nowMs: number;
  /** Whether every database is listed, however many. */
  readonly isWhole: boolean;
  /** Databases that a walrust has while no watch answers for them. */
  readonly silent?: readonly HostLockHolder[];
}

/** The lines of all watches. */
export function statusLines(judged: JudgedWatches, options: TextOptions): string[] {
  const { watches, absent, runningCount, elsewhere } = judged;
  const parts = watches.map((watch) => watchLines(watch, options));
  if (watches.length === 0 && runningCount > 0 && elsewhere.length > 0) {
    parts.push([
      "No watch of this user replicates to the destination of -b or walrust.toml.",
      `  Watches of this user replicate to: ${elsewhere.map(oneLine).join(", ")}`,
    ]);
  } else if (runningCount === 0) {
    parts.push([
      "No watch of this user runs on this machine.",
      "  Start `walrust watch`, or run `walrust status` as the user of the watch",
    ]);
  }
  if (absent.length > 0) {
    parts.push([
      ...absent.map((name) => `No watch of this user replicates ${oneLine(name)}.`),
      "  `walrust status` without a name lists the databases of all watches",
    ]);
  }
  if (options.silent?.length) parts.push(silentLines(options.silent));
  return parts.flatMap((lines, index) => (index === 0 ? lines : ["", ...lines]));
}

/** One entry for each process, with its first database. */
function silentLines(silent: readonly HostLockHolder[]): string[] {
  return [...Map.groupBy(silent, ({ pid }) => pid).values()].flatMap((same) => {
    const { message, hint } = silentHolderError(same[0]!);
    const more = same.length > 1 ? ` (and ${same.length - 1} more)` : "";
    return [`${oneLine(message)}${more}.`, `  ${oneLine(hint ?? "")}`];
  });
}

function watchLines(watch: JudgedWatch, options: TextOptions): string[] {
  const { pid, health, reasons, remedies, status, databases } = watch;
  if (status === null)
    return [`pid ${pid}: ${health.toUpperCase()}`, ...adviceLines("  ", reasons, remedies)];
  const { destination, version, uptimeMs } = status;
  const facts = `pid ${pid}, ${version}, up ${ageText(uptimeMs)}`;
  return [
    `${oneLine(destination)} (${facts}): ${healthText(watch)}`,
    ...adviceLines(
      "  ",
      reasons.filter((reason) => !/^\d+ of \d+ databases /.test(reason)),
      remedies,
    ),
    ...problemLines(databases),
    ...rowLines(databases, options),
    ...replicaLines(databases),
  ];
}

function healthText({ health, databases }: JudgedWatch): string {
  const count = (wanted: string): number => databases.filter(({ report }) => report.health === wanted).length;
  const bad = (["unhealthy", "degraded"] as const).filter((wanted) => count(wanted) > 0);
  const counts = bad.map((wanted) => `${count(wanted)} ${wanted}`);
  const all = countOf(databases.length, "database");
  const word = health === "healthy" ? "healthy" : health.toUpperCase();
  return `${word}, ${[all, ...counts].join(", ")}`;
}

/** The problems with their remedies. Databases with the same problem are one entry. */
function problemLines(databases: readonly JudgedDatabase[]): string[] {
  const groups = Map.groupBy(
    databases.filter(({ report }) => report.health !== "healthy"),
    ({ reported, report, remedies }) =>
      JSON.stringify([report.health, report.status, reported.failure?.code, remedies]),
  );
  const lines = [...groups.values()].flatMap((group) => {
    const { report, remedies } = group[0]!;
    const word = report.health === "unhealthy" ? "UNHEALTHY" : "degraded";
    return [`  ${word}: ${namesText(group)}`, ...adviceLines("    ", report.reasons, remedies)];
  });
  return lines.length === 0 ? [] : ["", ...lines];
}

function namesText(group: readonly JudgedDatabase[]): string {
  const names = group.slice(0, NAMES_MAX).map(({ reported }) => oneLine(reported.database));
  const more = group.length - names.length;
  return `${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function adviceLines(indent: string, reasons: readonly string[], remedies: readonly string[]): string[] {
  return [
    ...reasons.map((reason) => `${indent}${oneLine(reason)}`),
    ...remedies.map((remedy) => `${indent}→ ${oneLine(remedy)}`),
  ];
}

/** The table: databases with problems first, each kind as far as it is listed. */
function rowLines(databases: readonly JudgedDatabase[], { nowMs, isWhole }: TextOptions): string[] {
  if (databases.length === 0) return [];
  const [healthy, bad] = [true, false].map((isHealthy) =>
    databases.filter(({ report }) => (report.health === "healthy") === isHealthy),
  ) as [JudgedDatabase[], JudgedDatabase[]];
  const listed = isWhole
    ? databases
    : [...bad.slice(0, BAD_ROWS_MAX), ...(healthy.length > HEALTHY_ROWS_MAX ? [] : healthy)];
  const table = tableLines(
    HEAD,
    listed.map((database) => rowOf(database, nowMs)),
  );
  const left = databases.length - listed.length;
  const rest = `${countOf(left, "database")} not listed: give names, or --all`;
  return ["", ...(listed.length === 0 ? [] : table), ...(left === 0 ? [] : [rest])].map((line) =>
    line === "" ? line : `  ${line}`,
  );
}

function rowOf({ reported, report }: JudgedDatabase, nowMs: number): string[] {
  const { snapshot, validation, pendingCount, pendingBytes, walBytes, listedTimeMs } = reported;
  const age = (timeMs: number): string => ageText(Math.max(0, nowMs - timeMs));
  return [
    oneLine(reported.database),
    report.status,
    lagText(reported),
    pendingCount === 0 ? "0" : `${pendingCount} (${formatBytes(pendingBytes)})`,
    reported.txid === 0 ? "-" : String(reported.txid),
    reported.uploadedTxid === 0 ? "-" : String(reported.uploadedTxid),
    walBytes === null ? "-" : formatBytes(walBytes),
    snapshot === null ? "-" : `${age(snapshot.timeMs)} ago`,
    // A watch of an earlier version does not report it.
    (listedTimeMs ?? null) === null ? "-" : `${age(listedTimeMs!)} ago`,
    validation === null ? "-" : `${validation.status}, ${age(validation.timeMs)} ago`,
  ];
}

/** One line for each push replica: how many databases it has, and the first that it does not have. */
function replicaLines(databases: readonly JudgedDatabase[]): string[] {
  const all = databases.flatMap(({ reported }) =>
    (reported.replicas ?? []).map((status) => ({ ...status, database: reported.database })),
  );
  const lines = [...Map.groupBy(all, ({ replica }) => replica)].map(([replica, statuses]) => {
    const current = statuses.filter(({ state }) => state === "current").length;
    const bad =
      statuses.find(({ state }) => state === "failing") ?? statuses.find(({ state }) => state === "behind");
    const at = bad === undefined ? "" : `; ${bad.database} at TXID ${bad.txid ?? "?"}`;
    const reason = bad?.message == null ? "" : `: ${bad.message}`;
    const count = `${current} of ${countOf(statuses.length, "database")} current`;
    return `  replica ${oneLine(replica)}: ${count}${oneLine(at + reason)}`;
  });
  return lines.length === 0 ? [] : ["", ...lines];
}

/** A database that cannot be watched may have a lag that nobody knows. */
function lagText(reported: ReportedDatabase): string {
  const { lagMs } = reported;
  if (lagMs === null) return "-";
  // A watch of an earlier version reports 0 for a lag that it does not know.
  return lagMs > 0 ? ageText(lagMs) : isCapturing(reported) ? "0" : "-";
}

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
] as const;

/** A duration in its largest unit, rounded down: `12 s`, `3 h`. */
export function ageText(durationMs: number): string {
  const totalSeconds = durationMs / 1000;
  for (const [unit, unitSeconds] of UNITS) {
    if (totalSeconds >= unitSeconds) return `${Math.floor(totalSeconds / unitSeconds)} ${unit}`;
  }
  return totalSeconds >= 10 ? `${Math.floor(totalSeconds)} s` : `${Math.round(totalSeconds * 10) / 10} s`;
}
