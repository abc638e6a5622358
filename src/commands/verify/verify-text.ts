/**
 * Prints the reports of `verify` for a person: the findings of each kind with their remedy, and one line for
 * all sound databases of `--all`.
 */
import type { Repair } from "../../recovery/verify/verify-fix.ts";
import { describeOutlook } from "../../recovery/verify/verify-outlook.ts";
import type { Finding, VerifyReport } from "../../recovery/verify/verify-report.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { verdictText } from "../shared/integrity.ts";
import { countOf, formatBytes } from "../shared/output.ts";
import { remediesOf } from "./finding-remedies.ts";

/** Warnings that no repair of the bucket can end. */
const NOTHING_TO_TIDY: ReadonlySet<string> = new Set(["metadata-lost", "source-damaged", "not-checked"]);
/** The most names of sound databases. */
const NAMES_MAX = 10;

/** The lines of one report. @param path the file of the database, if it is known on this machine */
export function reportLines(
  report: VerifyReport,
  repairs: readonly Repair[],
  { url }: Pick<ObjectStore, "url">,
  path: string | null,
): string[] {
  const { name, checked } = report;
  const lines = [`${name} in ${url}`, ...checkedLines(report).map((line) => `  ${line}`)];
  for (const { object, message } of repairs) lines.push(`  fixed: ${object} ${message}`);
  lines.push(...findingLines(report, path).map((line) => `  ${line}`));
  if (checked.omittedFindings > 0) lines.push(`  and ${countOf(checked.omittedFindings, "more finding")}`);
  const outlook = report.outlook === null ? [] : describeOutlook(name, report.outlook);
  return [...lines, ...outlook.map((sentence) => `  ${sentence}`), `${name}: ${verdictOf(report)}`];
}

/** The line of all sound databases, or null without any. */
export function soundLineOrNull(reports: readonly VerifyReport[]): string | null {
  const sound = reports.filter(({ status }) => status === "ok");
  if (sound.length === 0) return null;
  const sum = (of: (report: VerifyReport) => number): number =>
    sound.reduce((total, report) => total + of(report), 0);
  const names = sound.slice(0, NAMES_MAX).map(({ name }) => name);
  const more = sound.length - names.length;
  const restored = sum(({ checked }) => (checked.restoredTxid === null ? 0 : 1));
  const facts = [
    `${countOf(
      sum(({ checked }) => checked.objects),
      "object",
    )}, ${formatBytes(sum(({ checked }) => checked.bytes))}`,
    `${sum(({ checked }) => checked.readObjects)} read in full`,
    ...(restored === 0 ? [] : [`${countOf(restored, "database")} restored on trial`]),
  ];
  return `${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}: ok (${facts.join("; ")})`;
}

function checkedLines({ checked, findings }: VerifyReport): string[] {
  const objects = countOf(checked.objects, "object");
  const range = checked.maxTxid === null ? "" : `, TXID ${checked.minTxid ?? "none"} to ${checked.maxTxid}`;
  const lines = [
    `${objects} (${formatBytes(checked.bytes)}), ${countOf(checked.snapshots, "snapshot")}${range}`,
    `headers, sizes, continuity and checksums of ${objects} checked`,
  ];
  if (checked.chainedObjects > 0) lines.push(`SHA-256 chain of ${countOf(checked.chainedObjects, "object")}`);
  const foreign = checked.unchainedObjects - checked.lostMetadataObjects;
  if (foreign > 0) lines.push(`${countOf(foreign, "object")} without a chain (not written by walrust)`);
  lines.push(`read in full: ${countOf(checked.readObjects, "object")} (${formatBytes(checked.readBytes)})`);
  if (checked.restoredTxid === null) return lines;
  const verdict = checked.integrity === null ? "" : `: ${verdictText(checked.integrity)}`;
  lines.push(`restored TXID ${checked.restoredTxid} into a temporary file${verdict}`);
  const isOther = findings.some(({ code }) => code === "differs-from-live");
  if (!checked.comparedWithLive)
    lines.push("(not compared with the live database: no watch on this machine replicates it)");
  else if (!isOther) lines.push("the live database has the same content at that TXID");
  return lines;
}

/** The findings; those with one remedy stand together, and their remedy once below them. */
function findingLines({ name, findings }: VerifyReport, path: string | null): string[] {
  return remediesOf(name, findings, path).flatMap(({ codes, remedy }) => [
    ...findings.filter(({ code }) => codes.includes(code)).map(findingText),
    `→ ${remedy}`,
  ]);
}

function findingText({ severity, code, object, message }: Finding): string {
  const isNamed = object === null || message.includes(object);
  return `${severity.toUpperCase()} ${code}: ${isNamed ? "" : `${object} `}${message}`;
}

function verdictOf({ status, findings }: VerifyReport): string {
  if (status === "ok") return "ok";
  const errors = findings.filter(({ severity }) => severity === "error").length;
  const warnings = findings.length - errors;
  const parts = [
    ...(errors > 0 ? [countOf(errors, "error")] : []),
    ...(warnings > 0 ? [countOf(warnings, "warning")] : []),
  ];
  const isTidy = findings.every(({ code }) => NOTHING_TO_TIDY.has(code));
  const restorable = isTidy ? "restorable" : "restorable; verify --fix tidies up";
  const verdict = status === "errors" ? "A RESTORE IS IN DANGER" : restorable;
  return `${verdict} (${parts.join(", ")})`;
}
