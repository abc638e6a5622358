/**
 * Measurements and the tables made from them: a row for each measure, with both tools and their ratio. PURE:
 * the same results give the same table. The table shows the median of several rounds of one setting.
 */
import { median } from "./statistics.ts";
import type { ToolName } from "./tools.ts";

/** One run of one tool. The name of each value ends in its unit. */
export interface Measurement {
  readonly case: "memory" | "lag" | "large" | "history" | "far";
  readonly tool: ToolName;
  readonly setting: string;
  readonly values: Readonly<Record<string, number>>;
}

/** A row of the table: name of the value and label. The unit follows from the name. */
type Row = readonly [key: string, label: string];

const ROWS: Readonly<Record<Measurement["case"], readonly Row[]>> = {
  memory: [
    ["rssBytes", "RSS at the end"],
    ["anonymousBytes", "of it anonymous"],
    ["peakRssBytes", "peak RSS"],
    ["cpuMs", "CPU under load"],
    ["cpuShare", "CPU, share of a core"],
    ["incrementCount", "increments uploaded"],
    ["cpuPerIncrementMs", "CPU per increment"],
    ["descriptorCount", "descriptors"],
    ["threadCount", "threads"],
    ["gatewayCpuMs", "CPU of the gateway"],
    ["readyMs", "start to all first snapshots"],
    ["startCpuMs", "CPU of that"],
    ["commitCount", "commits"],
    ["commitP50Ms", "the application's commit, p50"],
    ["commitP99Ms", "the application's commit, p99"],
    ["verified", "restored and equal byte for byte"],
  ],
  lag: [
    ["lagP50Ms", "commit → object, p50"],
    ["lagP95Ms", "commit → object, p95"],
    ["lagMaxMs", "commit → object, longest"],
    ["commitCount", "commits"],
    ["verified", "restored and equal byte for byte"],
  ],
  far: [
    ["behindP50Ms", "behind, p50"],
    ["behindP95Ms", "behind, p95"],
    ["behindMaxMs", "behind, longest"],
    ["behindEndMs", "behind at the end, the last of them"],
    ["putsPerSecond", "PUT/s"],
    ["rssBytes", "RSS at the end"],
    ["anonymousBytes", "of it anonymous"],
    ["peakRssBytes", "peak RSS"],
    ["cpuShare", "CPU, share of a core"],
    ["descriptorCount", "descriptors"],
    ["readyMs", "start to all first snapshots"],
    ["stopMs", "orderly end"],
    ["commitCount", "commits"],
    ["verified", "restored and equal byte for byte"],
  ],
  large: [
    ["copyWallMs", "first restorable copy"],
    ["copyPeakRssBytes", "its peak RSS"],
    ["copyCpuMs", "its CPU"],
    ["snapshotWallMs", "with a snapshot object"],
    ["snapshotPeakRssBytes", "its peak RSS"],
    ["restoreWallMs", "restore, by default"],
    ["restorePeakRssBytes", "its peak RSS"],
    ["restoreCpuMs", "its CPU"],
    ["checkedRestoreWallMs", "restore with integrity check"],
    ["checkedRestorePeakRssBytes", "its peak RSS"],
    ["objectBytes", "bytes in the bucket"],
    ["verified", "restored and equal byte for byte"],
  ],
  history: [
    ["objectCount", "objects, not compacted"],
    ["plainRestoreWallMs", "restore of that"],
    ["plainRestorePeakRssBytes", "its peak RSS"],
    ["compactedObjectCount", "objects, compacted"],
    ["compactedRestoreWallMs", "restore of that"],
    ["compactedRestorePeakRssBytes", "its peak RSS"],
    ["verified", "restored and equal byte for byte"],
  ],
};
const REQUESTS = "requests.";
/** Rows that describe the work; their ratio means nothing. */
const UNRATED = new Set(["commitCount", "verified"]);

/** The Markdown tables of all settings, in the order of their measurements. */
export function formatTables(measurements: readonly Measurement[]): string {
  const settings = [...new Set(measurements.map((one) => `${one.case}\n${one.setting}`))];
  return settings
    .map((key) => formatTable(measurements.filter((one) => `${one.case}\n${one.setting}` === key)))
    .join("\n\n");
}

function formatTable(measurements: readonly Measurement[]): string {
  const [first] = measurements;
  if (first === undefined) return "";
  const walrust = valuesOf(measurements, "walrust");
  const litestream = valuesOf(measurements, "litestream");
  const requests = Object.keys({ ...walrust, ...litestream })
    .filter((key) => key.startsWith(REQUESTS))
    .sort()
    .map((key): Row => [key, `requests: ${key.slice(REQUESTS.length)}`]);
  const lines = [...ROWS[first.case], ...requests].map(([key, label]) => {
    const [left, right] = [walrust[key], litestream[key]];
    const cells = [label, formatValue(key, left), formatValue(key, right), ratio(key, left, right)];
    return `| ${cells.join(" | ")} |`;
  });
  const rounds = measurements.filter(({ tool }) => tool === first.tool).length;
  const suffix = rounds === 1 ? "" : `, median of ${rounds} rounds`;
  const title = `| ${first.case}: ${first.setting}${suffix} | walrust | Litestream | ratio |`;
  return [title, "| --- | ---: | ---: | ---: |", ...lines].join("\n");
}

/** The median of each value over a tool's rounds. */
function valuesOf(measurements: readonly Measurement[], tool: ToolName): Record<string, number> {
  const rounds = measurements.filter((one) => one.tool === tool).map(({ values }) => values);
  const keys = new Set(rounds.flatMap((values) => Object.keys(values)));
  return Object.fromEntries(
    [...keys].map((key) => [
      key,
      median(rounds.map((values) => values[key]).filter((value) => value !== undefined)),
    ]),
  );
}

function ratio(key: string, left: number | undefined, right: number | undefined): string {
  const isRated = !UNRATED.has(key) && left !== undefined && right !== undefined && right > 0;
  return isRated ? String(Number((left / right).toPrecision(2))) : "";
}

/** A value with the unit from the end of its name. */
export function formatValue(key: string, value: number | undefined): string {
  if (value === undefined) return key.startsWith(REQUESTS) ? "0" : "–";
  if (key.endsWith("Bytes")) return `${(value / 1e6).toFixed(1)} MB`;
  if (key.endsWith("Share")) return `${(value * 100).toFixed(1)} %`;
  if (!key.endsWith("Ms")) return String(value);
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}
