/**
 * Prints an explanation as text.
 */
import type { DatabaseConfig } from "../../config/config.ts";
import { durationText } from "../../config/settings/option-text.ts";
import { DISCOVERY_INTERVAL_MS } from "../../discovery/repeated-discovery.ts";
import { restorablePoints } from "../../forecast/restorable-points.ts";
import { MONTH_HOURS } from "../../forecast/steady-stock.ts";
import { oneLine } from "../../observability/terminal-text.ts";
import { formatBytes, tableLines } from "../shared/output.ts";
import { guaranteeText } from "../shared/probed-destination.ts";
import type { ExplainedDatabase } from "./explained-database.ts";
import type { Explanation } from "./explanation.ts";
import type { ShownSetting } from "./shown-settings.ts";

/** The whole text. */
export function explainText(explanation: Explanation): string {
  const { configFile, databases, problems } = explanation;
  const parts = [
    [
      configFile === null
        ? "No configuration file; flags, environment and defaults apply"
        : `Configuration: ${configFile}`,
    ],
    destinationLines(explanation),
    databaseLines(explanation),
    ...policies(databases).map(policyLines),
    estimateLines(explanation),
    settingLines(explanation.settings),
    problems.length === 0 ? ["A watch would start."] : problemLines(explanation),
  ];
  return parts.map((lines) => lines.join("\n")).join("\n\n");
}

function destinationLines({ storage }: Explanation): string[] {
  if (storage === null) return ["Destination", "  none"];
  const { url, isReachable } = storage;
  return [
    "Destination",
    `  ${url}${isReachable ? "" : " (cannot be reached)"}`,
    `  create-only writes are ${guaranteeText(storage)}`,
  ];
}

function databaseLines({ databases, storage, hasGlobs }: Explanation): string[] {
  const lines = databases.flatMap(({ path, name, bytes, walBytes, problem, overrides }) => {
    const size = `${formatBytes(bytes)}, WAL ${formatBytes(walBytes)}`;
    const target = storage === null ? name : `${storage.url}/${name}`;
    const trouble = problem === null ? "" : `: ${problem.message}`;
    return [
      `  ${oneLine(`${path} → ${target} (${size})${trouble}`)}`,
      ...overrides.map(({ section, key, text, from }) => `    ${section}.${key} = ${text} (${from})`),
    ];
  });
  if (lines.length === 0) lines.push("  none");
  if (hasGlobs) {
    const often = `every ${DISCOVERY_INTERVAL_MS / 1000} s`;
    lines.push(
      `  Globs are matched again ${often}: new databases are added, deleted ones no longer replicated.`,
    );
  }
  return [`Databases (${databases.length})`, ...lines];
}

/** Databases with the same settings. */
interface Policy {
  readonly config: DatabaseConfig;
  readonly names: readonly string[];
}

function policies(databases: readonly ExplainedDatabase[]): Policy[] {
  const byText = new Map<string, { config: DatabaseConfig; names: string[] }>();
  for (const { name, config } of databases) {
    const text = JSON.stringify(config);
    const policy = byText.get(text);
    if (policy === undefined) byText.set(text, { config, names: [name] });
    else policy.names.push(name);
  }
  return [...byText.values()];
}

function policyLines({ config, names }: Policy, _: number, all: readonly Policy[]): string[] {
  const shown =
    names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
  const whose = all.length === 1 ? "" : ` of ${shown}`;
  const { walSyncIntervalMs, checkpointIntervalMs, minCheckpointPageCount, validationIntervalMs } =
    config.sync;
  const longest = durationText(checkpointIntervalMs);
  return [
    `Schedule${whose}`,
    `  uploads: the first at once, then at most one every ${durationText(walSyncIntervalMs)} per database`,
    `  checkpoints: at ${minCheckpointPageCount} pages of WAL, and every ${longest}`,
    ...upkeepLines(config),
    validationIntervalMs
      ? `  validation of stored objects: every ${durationText(validationIntervalMs)}`
      : "  validation of stored objects: off",
    "",
    `Restorable points${whose}`,
    ...restorablePoints(config).sentences.map((sentence) => `  ${sentence}`),
  ];
}

function upkeepLines({ sync, compaction, retention }: DatabaseConfig): string[] {
  const { snapshotIntervalMs, maxChanges, maxIntervalMs, onIdleMs, onStartup } = sync;
  const { compactIntervalMs, compactAfterSnapshot } = sync;
  const triggers = [
    snapshotIntervalMs > 0 ? `every ${durationText(snapshotIntervalMs)}` : "",
    maxChanges > 0 ? `after ${maxChanges} frames` : "",
    maxIntervalMs > 0 ? `${durationText(maxIntervalMs)} after the first change` : "",
    onIdleMs > 0 ? `after ${durationText(onIdleMs)} without a change` : "",
    onStartup && snapshotIntervalMs > 0 ? "at start if the newest is older" : "",
  ].filter((text) => text !== "");
  const taken = `${triggers.join(", ")}; none without a change`;
  const levels = compaction.enabled ? compaction.levelsMs.map(durationText) : [];
  const { hourly, daily, weekly, monthly } = retention;
  const kept = `${hourly} hourly, ${daily} daily, ${weekly} weekly, ${monthly} monthly snapshots`;
  const when = [
    compactAfterSnapshot ? "after each snapshot" : "",
    compactIntervalMs > 0 ? `every ${durationText(compactIntervalMs)}` : "",
  ].filter((text) => text !== "");
  return [
    `  snapshots: ${triggers.length === 0 ? "only the first" : taken}`,
    `  merging: ${levels.length === 0 ? "never" : `every ${levels.join(", ")}`}`,
    when.length === 0
      ? "  retention: off (set compact_after_snapshot, or run walrust compact --force)"
      : `  retention: ${when.join(" and ")}, keeps ${kept}`,
  ];
}

function estimateLines({ estimate, rate, databases }: Explanation): string[] {
  if (databases.length === 0) return ["Estimate", "  none, without databases"];
  const { requests, uploadedBytes, storedBytes, growthBytesPerMonth, providers } = estimate;
  const number = (value: number): string => Math.round(value).toLocaleString("en-US");
  const steady =
    growthBytesPerMonth > 0
      ? `${formatBytes(storedBytes)} after a month, ${formatBytes(growthBytesPerMonth)} more each month`
      : `${formatBytes(storedBytes)} in the steady state`;
  const rows = providers.map(({ provider, cost }) => [
    provider.label,
    dollars(cost.storage),
    dollars(cost.requests),
    dollars(cost.total),
  ]);
  return [
    `Estimate for a month (${MONTH_HOURS} h)`,
    `  if each database has ${rate.commitsPerSecond} commits/s of ${rate.pagesPerCommit} pages` +
      " (--commits-per-second, --pages-per-commit)",
    `  requests: ${number(requests.put)} PUT, ${number(requests.list)} LIST,` +
      ` ${number(requests.get)} GET, ${number(requests.delete)} DELETE`,
    `  uploaded: ${formatBytes(uploadedBytes)}; stored: ${steady}`,
    ...tableLines(["", "storage", "requests", "total"], rows).map((line) => `  ${line}`),
  ];
}

function settingLines(settings: readonly ShownSetting[]): string[] {
  const rows = settings.map(({ section, key, text, from }) => [
    `${section}.${key}`,
    text ?? "(not set)",
    from,
  ]);
  return ["Settings", ...tableLines(["key", "value", "from"], rows).map((line) => `  ${line}`)];
}

function problemLines({ problems }: Explanation): string[] {
  const lines = problems.flatMap(({ message, hint }) => [
    `  ${oneLine(message)}`,
    ...(hint === undefined ? [] : [`    ${hint}`]),
  ]);
  return ["Problems", ...lines];
}

function dollars(amount: number): string {
  return amount > 0 && amount < 0.01 ? "< $0.01" : `$${amount.toFixed(2)}`;
}
