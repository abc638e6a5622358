/**
 * Prints the checks of `walrust doctor`: subjects with failures first, then those with warnings. For each
 * subject one line has what is well, and each warning and failure has its remedy. Of several databases only
 * the problems are printed, each once for all databases that have it, and sound databases are counted.
 */
import { oneLine } from "../../observability/terminal-text.ts";
import { countOf } from "../shared/output.ts";
import type { Check, CheckArea } from "./check.ts";

/** Up to so many databases are printed one by one. */
const SINGLE_MAX = 3;
/** The most paths of databases with the same problems. */
const PATHS_MAX = 5;

const TITLES: Readonly<Record<CheckArea, string>> = {
  destination: "Destination",
  database: "Database",
  machine: "This machine",
  watch: "Running watches",
};

/** All checks of one subject. */
type Group = readonly Check[];

/** The lines of all checks. @param isWhole whether every database is printed, however many there are */
export function checkLines(checks: readonly Check[], isWhole = false): string[] {
  const groups = [...Map.groupBy(checks, ({ area, subject }) => `${area} ${subject}`).values()];
  const databases = groups.filter(isOfDatabase);
  if (isWhole || databases.length <= SINGLE_MAX)
    return [...groups.sort(byWorst).flatMap(groupLines), summary(checks)];
  const sound = databases.filter((group) => worstOf(group) === "ok");
  const alike = Map.groupBy(
    databases.filter((group) => !sound.includes(group)),
    problemsOf,
  );
  const blocks = [
    ...groups.filter((group) => !isOfDatabase(group)).map((group) => ({ group, lines: groupLines(group) })),
    ...[...alike.values()].map((same) => ({ group: same[0]!, lines: alikeLines(same) })),
  ];
  const count = countOf(sound.length, "database");
  return [
    ...blocks.sort((a, b) => byWorst(a.group, b.group)).flatMap(({ lines }) => lines),
    ...(sound.length === 0 ? [] : [`${count}: nothing to report; --all lists them`]),
    summary(checks),
  ];
}

function isOfDatabase([first]: Group): boolean {
  return first?.area === "database" && first.subject !== null;
}

const ORDER: Readonly<Record<Check["status"], number>> = { failure: 0, warning: 1, ok: 2 };

function worstOf(group: Group): Check["status"] {
  return group.map(({ status }) => status).sort((a, b) => ORDER[a] - ORDER[b])[0]!;
}

function byWorst(a: Group, b: Group): number {
  return ORDER[worstOf(a)] - ORDER[worstOf(b)];
}

/** The problems of a database as a key: equal for databases with the same problems and remedies. */
function problemsOf(group: Group): string {
  const problems = group.filter(({ status }) => status !== "ok");
  return JSON.stringify(
    problems.map(({ check, status, hint, subject }) => [
      check,
      status,
      hint?.replaceAll(subject ?? "", "").replaceAll(/\d+/g, ""),
    ]),
  );
}

/** Databases with the same problems: their paths, and the problems of the first. */
function alikeLines(same: readonly Group[]): string[] {
  const [first] = same as [Group];
  if (same.length === 1) return groupLines(first);
  const paths = same.slice(0, PATHS_MAX).map(([check]) => oneLine(check!.subject ?? ""));
  const more = same.length - paths.length;
  const rest = more > 0 ? ` and ${more} more` : "";
  return [`${countOf(same.length, "database")}: ${paths.join(", ")}${rest}`, ...problemLines(first)];
}

function groupLines(group: Group): string[] {
  const { area, subject } = group[0]!;
  const title = subject === null ? TITLES[area] : `${TITLES[area]} ${oneLine(subject)}`;
  const good = group.filter(({ status }) => status === "ok").map(({ message }) => oneLine(message));
  return [title, ...(good.length === 0 ? [] : [`  ok       ${good.join("; ")}`]), ...problemLines(group)];
}

function problemLines(group: Group): string[] {
  const bad = group.filter(({ status }) => status !== "ok").sort((a, b) => ORDER[a.status] - ORDER[b.status]);
  return bad.flatMap(({ status, message, hint }) => [
    `  ${status.padEnd(7)}  ${oneLine(message)}`,
    ...(hint === null ? [] : [`           → ${oneLine(hint)}`]),
  ]);
}

function summary(checks: readonly Check[]): string {
  const count = (wanted: Check["status"]): number => checks.filter(({ status }) => status === wanted).length;
  const [failures, warnings] = [count("failure"), count("warning")];
  if (failures + warnings === 0) return `All ${checks.length} checks passed.`;
  const found = `${countOf(failures, "failure")}, ${countOf(warnings, "warning")}`;
  return `${countOf(checks.length, "check")}: ${found}.`;
}
