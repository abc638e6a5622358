/**
 * The result of a restore, as JSON and as text.
 */
import type { RestoreResult } from "../../recovery/restore/restore-database.ts";
import type { FileAccess } from "../../recovery/restore/target-access.ts";
import type { RestoreDocument } from "../shared/documents.ts";
import { jsonStatus, verdictJson, verdictText } from "../shared/integrity.ts";
import { countOf, formatBytes } from "../shared/output.ts";

/** The result as `--json` prints it. */
export function restoreJson(result: RestoreResult, isDryRun: boolean): RestoreDocument {
  return {
    name: result.name,
    restored: !isDryRun,
    output: result.outputPath,
    txid: result.txid,
    time: result.timeMs === null ? null : new Date(result.timeMs).toISOString(),
    bytes: result.bytes,
    objects: result.objects,
    downloaded_bytes: result.downloadedBytes,
    duration_ms: result.durationMs,
    notice: result.notice,
    damaged: result.damaged,
    previous: result.previousPath,
    checks: {
      sha256_objects: result.checks.sha256Objects,
      unchained_objects: result.checks.unchainedObjects,
      database_checksum: result.checks.databaseChecksum,
      integrity_check: jsonStatus(result.checks.integrityCheck),
    },
    integrity_check: verdictJson(result.integrity),
    owner: ownerJson(result.access),
  };
}

/** The result as lines of text. */
export function restoreLines(result: RestoreResult, isDryRun: boolean): string[] {
  const { name, txid, objects, outputPath } = result;
  const time = result.timeMs === null ? null : new Date(result.timeMs).toISOString();
  const count = countOf(objects, "object");
  const done = isDryRun
    ? [`${name}: would restore TXID ${txid} from ${count} (${formatBytes(result.downloadedBytes)})`]
    : [
        `${name}: restored TXID ${txid} of ${time} to ${outputPath}`,
        `  ${formatBytes(result.bytes)} from ${count} in ${result.durationMs} ms; ${checksText(result)}`,
      ];
  return [...done, ...noticeLines(result)];
}

/** The facts of a restore that a person has to know beside its success. */
export function noticeLines({ access, notice, damaged, previousPath }: RestoreResult): string[] {
  return [
    ...(access === null ? [] : [`  ${ownerText(access)}`]),
    ...(notice === null ? [] : [`  ${notice}`]),
    ...damaged.map((key) => `  restored without ${key}, which is damaged`),
    ...(previousPath === null ? [] : [`  the replaced file is now ${previousPath}`]),
  ];
}

function ownerText({ uid, gid, mode, from }: FileAccess): string {
  const owner = `owner ${uid}, group ${gid}`;
  return from === "folder"
    ? `${owner}, from its folder; mode ${modeText(mode)}`
    : `${owner}, mode ${modeText(mode)}, from the replaced file`;
}

function ownerJson(access: FileAccess | null): RestoreDocument["owner"] {
  if (access === null) return null;
  const { uid, gid, mode, from } = access;
  return { uid, gid, mode: modeText(mode), from: from === "folder" ? from : "replaced_file" };
}

function modeText(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function checksText(result: RestoreResult): string {
  const { sha256Objects, unchainedObjects, databaseChecksum } = result.checks;
  const parts = [verdictText(result.integrity)];
  if (sha256Objects > 0) parts.push(`SHA-256 chain of ${countOf(sha256Objects, "object")} ok`);
  if (unchainedObjects > 0)
    parts.push(
      `no chain on ${countOf(unchainedObjects, "object")} (not written by walrust, or metadata lost)`,
    );
  if (databaseChecksum !== null) parts.push(`database checksum ${databaseChecksum}`);
  return parts.join(", ");
}
