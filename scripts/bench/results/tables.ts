/**
 * The tables made from measurements: a row for each value, with both tools and their ratio, and a summary of
 * all loads. PURE: the same results give the same tables. A table shows the median of several rounds of one
 * setting.
 */

import { median } from "../../measure/statistics.ts";
import type { ToolName } from "../processes/tools.ts";
import type { CaseName } from "../spec.ts";
import type { Measurement } from "./measurement.ts";
import { formatValue } from "./values.ts";

/** A row of the table: name of the value and label. The unit follows from the name. */
type Row = readonly [key: string, label: string];

const RESTORES: readonly Row[] = [
  ["restoreWallMs", "restore of one database"],
  ["restorePeakRssBytes", "restore, highest peak RSS"],
  ["restoredCount", "restored and compared"],
  ["wrongCount", "restored wrong"],
];

const REQUESTS = "requests.";

const LAGS: readonly Row[] = [
  ["lagP50Ms", "commit → object, p50"],
  ["lagP95Ms", "commit → object, p95"],
  ["lagP99Ms", "commit → object, p99"],
  ["lagMaxMs", "commit → object, longest"],
];

const ROWS: Readonly<Record<CaseName, readonly Row[]>> = {
  load: [
    ["rssMedianBytes", "VmRSS, median"],
    ["rssMaxBytes", "VmRSS, maximum"],
    ["rssGrowthBytes", "VmRSS, last quarter less the first"],
    ["anonymousMedianBytes", "RssAnon, median"],
    ["anonymousMaxBytes", "RssAnon, maximum"],
    ["pssBytes", "Pss, median"],
    ["peakRssBytes", "VmHWM"],
    ["startPeakRssBytes", "VmHWM after the first snapshots"],
    ["cpuMs", "CPU under load"],
    ["cpuShare", "CPU, share of a core"],
    ["cpuPerIncrementMs", "CPU per increment"],
    ["callsPerIncrement", "system calls per increment"],
    ["callsPerSecond", "system calls per second"],
    ["descriptorCount", "descriptors"],
    ["threadCount", "threads"],
    ["connectionCount", "connections to the storage"],
    ["incrementCount", "increments uploaded"],
    ["requestsPerSecond", "requests per second"],
    ["listsPerDatabaseMonth", "LIST requests a database and month"],
    ...LAGS,
    ["behindP50Ms", "behind, p50"],
    ["behindMaxMs", "behind, longest"],
    ["behindEndMs", "behind at the end, p95 of the databases"],
    ["missingCommitCount", "commits missing after the end"],
    ["missingMs", "age of the oldest of them"],
    ["readyMs", "start to all first snapshots"],
    ["startCpuMs", "CPU of that"],
    ["stopMs", "orderly end"],
    ["gatewayCpuMs", "CPU of the gateway"],
    ["judgedAnswerCount", "answers to observers, judged"],
    ["commitCount", "commits"],
    ["reachedShare", "commits, share of the requested rate"],
    ["latestMs", "latest commit behind its schedule"],
    ["commitP50Ms", "the application's commit, p50"],
    ["commitP99Ms", "the application's commit, p99"],
    ...RESTORES,
  ],
  lag: [
    ...LAGS,
    ["commitCount", "commits"],
    ["incrementsPerCommit", "PUTs of level 0 per commit"],
    ...RESTORES,
  ],
  commit: [
    ["commitP50Ms", "the application's commit, p50"],
    ["commitP99Ms", "the application's commit, p99"],
    ["aloneP50Ms", "without a tool, p50"],
    ["aloneP99Ms", "without a tool, p99"],
    ["commitFactor", "factor of the p50"],
    ["walFrames", "frames in the WAL, median"],
    ...RESTORES,
  ],
  large: [
    ["copyWallMs", "first restorable copy"],
    ["copyPeakRssBytes", "its peak RSS"],
    ["copyCpuMs", "its CPU"],
    ["snapshotWallMs", "with a snapshot object"],
    ["snapshotPeakRssBytes", "its peak RSS"],
    ["snapshotCpuMs", "its CPU"],
    ["restoreWallMs", "restore, by default"],
    ["restorePeakRssBytes", "its peak RSS"],
    ["restoreCpuMs", "its CPU"],
    ["checkedRestoreWallMs", "restore with integrity check"],
    ["checkedRestorePeakRssBytes", "its peak RSS"],
    ["objectBytes", "bytes in the bucket"],
    ["restoredCount", "restored and compared"],
    ["wrongCount", "restored wrong"],
  ],
  history: [
    ["objectCount", "objects, not compacted"],
    ["plainRestoreWallMs", "restore of that"],
    ["plainRestorePeakRssBytes", "its peak RSS"],
    ["compactedObjectCount", "objects, compacted"],
    ["compactedRestoreWallMs", "restore of that"],
    ["compactedRestorePeakRssBytes", "its peak RSS"],
    ["restoredCount", "restored and compared"],
    ["wrongCount", "restored wrong"],
  ],
};

/** Columns of the summary of loads: name of the value and heading. */
const SUMMARY: readonly Row[] = [
  ["rssMedianBytes", "VmRSS, median"],
  ["anonymousMedianBytes", "RssAnon"],
  ["cpuShare", "CPU"],
  ["cpuPerIncrementMs", "CPU / increment"],
  ["callsPerIncrement", "calls / increment"],
  ["lagP50Ms", "lag p50"],
  ["lagP95Ms", "p95"],
  ["lagP99Ms", "p99"],
  ["behindEndMs", "behind at the end"],
  ["missingMs", "missing after the end"],
  ["reachedShare", "rate reached"],
  ["wrongCount", "restored wrong"],
];

/** Rows that describe the work or may be negative; their ratio means nothing. */
const UNRATED = new Set(["commitCount", "restoredCount", "wrongCount", "reachedShare", "rssGrowthBytes"]);
/** Rows that need a permission or a program, shown as "not measured" without it. */
const ALWAYS_SHOWN = new Set(["pssBytes", "callsPerSecond"]);
const MIN_LOADS_IN_SUMMARY = 3;

/** The Markdown tables of all settings, in the order of their measurements. */
export function formatTables(measurements: readonly Measurement[]): string {
  return settingsOf(measurements).map(formatTable).join("\n\n");
}

/** One table of all loads, with a row for each load and tool; empty for few loads. */
export function formatSummary(measurements: readonly Measurement[]): string {
  const loads = settingsOf(measurements.filter((one) => one.case === "load"));
  if (loads.length < MIN_LOADS_IN_SUMMARY) return "";
  const rows = loads.flatMap((ones) =>
    toolsOf(ones).map((tool) => {
      const values = valuesOf(ones, tool);
      const cells = SUMMARY.map(([key]) => (key in values ? formatValue(key, values[key]) : "–"));
      return `| ${[ones[0]!.setting, tool, ...cells].join(" | ")} |`;
    }),
  );
  const head = `| load | tool | ${SUMMARY.map(([, label]) => label).join(" | ")} |`;
  return [head, `| --- | --- |${" ---: |".repeat(SUMMARY.length)}`, ...rows].join("\n");
}

/** The failures, one a line; empty without any. */
export function formatFailures(measurements: readonly Measurement[]): string {
  return measurements
    .filter(({ failure }) => failure !== null)
    .map(
      ({ tool, case: name, setting, failure }) =>
        `- ${tool}, ${name}: ${setting}: ${failure?.replaceAll("\n", "\n  ")}`,
    )
    .join("\n");
}

/** The measurements of each setting. */
function settingsOf(measurements: readonly Measurement[]): Measurement[][] {
  return [...Map.groupBy(measurements, (one) => `${one.case}\n${one.setting}`).values()];
}

function toolsOf(measurements: readonly Measurement[]): ToolName[] {
  return [...new Set(measurements.map(({ tool }) => tool))];
}

function formatTable(measurements: readonly Measurement[]): string {
  const [first] = measurements;
  if (first === undefined) return "";
  const walrust = valuesOf(measurements, "walrust");
  const litestream = valuesOf(measurements, "litestream");
  const both = { ...walrust, ...litestream };
  const requests = Object.keys(both)
    .filter((key) => key.startsWith(REQUESTS))
    .sort()
    .map((key): Row => [key, `requests: ${key.slice(REQUESTS.length)}`]);
  const rows = ROWS[first.case].filter(([key]) => key in both || ALWAYS_SHOWN.has(key));
  const lines = [...rows, ...requests].map(([key, label]) => {
    const [left, right] = [walrust[key], litestream[key]];
    const cells = [label, formatCell(key, left), formatCell(key, right), ratio(key, left, right)];
    return `| ${cells.join(" | ")} |`;
  });
  const rounds = measurements.filter(({ tool }) => tool === first.tool).length;
  const suffix = rounds === 1 ? "" : `, median of ${rounds} rounds`;
  const title = `| ${first.case}: ${first.setting}${suffix} | walrust | Litestream | ratio |`;
  return [title, "| --- | ---: | ---: | ---: |", ...lines].join("\n");
}

/** The median of each value over a tool's rounds. */
export function valuesOf(measurements: readonly Measurement[], tool: ToolName): Record<string, number> {
  const rounds = measurements.filter((one) => one.tool === tool).map(({ values }) => values);
  const keys = new Set(rounds.flatMap((values) => Object.keys(values)));
  return Object.fromEntries(
    [...keys].map((key) => [
      key,
      median(rounds.map((values) => values[key]).filter((value) => value !== undefined)),
    ]),
  );
}

function formatCell(key: string, value: number | undefined): string {
  return value === undefined && key.startsWith(REQUESTS) ? "0" : formatValue(key, value);
}

function ratio(key: string, left: number | undefined, right: number | undefined): string {
  const isRated = !UNRATED.has(key) && left !== undefined && right !== undefined && right > 0;
  return isRated ? String(Number((left / right).toPrecision(2))) : "";
}
