/**
 * Prints the checks of `walrust doctor`: for each subject one line of what is well, then each warning and
 * failure with its remedy. Of many sound databases only their number is printed.
 */
import { oneLine } from "../../observability/terminal-text.ts";
import { countOf } from "../shared/output.ts";
import type { Check, CheckArea } from "./check.ts";

/** More sound databases than these are counted. */
const SOUND_MAX = 10;

const TITLES: Readonly<Record<CheckArea, string>> = {
  destination: "Destination",
  database: "Database",
  machine: "This machine",
  watch: "Running watches",
};

/** The lines of all checks. */
export function checkLines(checks: readonly Check[]): string[] {
  const groups = [...Map.groupBy(checks, ({ area, subject }) => `${area} ${subject}`).values()];
  const isSound = (group: readonly Check[]): boolean =>
    group[0]!.area === "database" && group.every(({ status }) => status === "ok");
  const soundCount = groups.filter(isSound).length;
  const shown = soundCount > SOUND_MAX ? groups.filter((group) => !isSound(group)) : groups;
  const hidden = groups.length - shown.length;
  return [
    ...shown.flatMap(groupLines),
    ...(hidden === 0 ? [] : [`${countOf(hidden, "database")}: nothing to report`]),
    summary(checks),
  ];
}

function groupLines(group: readonly Check[]): string[] {
  const { area, subject } = group[0]!;
  const title = subject === null ? TITLES[area] : `${TITLES[area]} ${oneLine(subject)}`;
  const good = group.filter(({ status }) => status === "ok").map(({ message }) => oneLine(message));
  const bad = group.filter(({ status }) => status !== "ok").sort(byStatus);
  return [
    title,
    ...(good.length === 0 ? [] : [`  ok       ${good.join("; ")}`]),
    ...bad.flatMap(({ status, message, hint }) => [
      `  ${status.padEnd(7)}  ${oneLine(message)}`,
      ...(hint === null ? [] : [`           → ${oneLine(hint)}`]),
    ]),
  ];
}

function byStatus(a: Check, b: Check): number {
  return a.status.localeCompare(b.status);
}

function summary(checks: readonly Check[]): string {
  const count = (wanted: Check["status"]): number => checks.filter(({ status }) => status === wanted).length;
  const [failures, warnings] = [count("failure"), count("warning")];
  if (failures + warnings === 0) return `All ${checks.length} checks passed.`;
  const found = `${countOf(failures, "failure")}, ${countOf(warnings, "warning")}`;
  return `${countOf(checks.length, "check")}: ${found}.`;
}
