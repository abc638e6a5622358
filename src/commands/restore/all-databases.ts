/**
 * `walrust restore --all`: every database of the destination below one folder, with one display of progress
 * and one summary.
 */
import { WalrustError } from "../../errors.ts";
import {
  exitCodeOf,
  isInTheWay,
  type RestoreAllRequest,
  type RestoreAllRow,
  restoreAll,
} from "../../recovery/restore-all/restore-all.ts";
import { isNothingStoredYet } from "../../storage/bucket/backup-absent.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { RestoreAllDatabase, RestoreAllDocument } from "../shared/documents.ts";
import { integrityChecker } from "../shared/integrity.ts";
import { localPlaces } from "../shared/local-places.ts";
import { withPatience } from "../shared/open-destination.ts";
import { countOf, formatBytes, printJson, printLine } from "../shared/output.ts";
import { progressOf } from "../shared/progress-of.ts";
import { ManyProgress } from "../shared/progress-of-many.ts";
import type { Invocation } from "../shared/verb.ts";
import { noticeLines, restoreJson } from "./restore-report.ts";

/** How each database is restored. */
export type EachRestore = RestoreAllRequest["how"];

/**
 * Restores all databases and prints the outcome.
 * @param isReplicaOptional whether an empty destination is no failure
 * @returns the exit code
 */
export function restoreAllDatabases(
  invocation: Invocation,
  request: RestoreAllRequest,
  isReplicaOptional: boolean,
): Promise<number> {
  return withPatience(invocation, async (store) => {
    const { env, isJson } = invocation;
    const startedMs = env.monotonicMs();
    const rows = await rowsOrNone(invocation, store, request, isReplicaOptional);
    if (rows.length === 0 && !isReplicaOptional) throw nothingStored(store, request.prefix);
    const durationMs = Math.round(env.monotonicMs() - startedMs);
    if (isJson) printJson(documentOf(rows, request, durationMs));
    else printLine(summaryOf(rows, durationMs));
    return exitCodeOf(rows);
  });
}

async function rowsOrNone(
  invocation: Invocation,
  store: ObjectStore,
  request: RestoreAllRequest,
  isReplicaOptional: boolean,
): Promise<RestoreAllRow[]> {
  const { env, signal, isJson } = invocation;
  const work = { verb: "restore", label: "restoring", unit: "read" } as const;
  const progress = new ManyProgress(progressOf(invocation), work);
  try {
    const places = localPlaces(invocation);
    const context = { store, env, signal, places, checker: integrityChecker() };
    return await restoreAll(request, context, {
      onStart: (databaseCount) => progress.start(databaseCount),
      onRead: (name, done, total) => progress.update(name, done, total),
      onRow: (row) => {
        progress.complete(row.name);
        if (!isJson) for (const line of rowLines(row)) printLine(line);
      },
    });
  } catch (error) {
    if (isReplicaOptional && isNothingStoredYet(error)) return [];
    throw error;
  } finally {
    progress.end();
  }
}

function nothingStored({ url }: ObjectStore, prefix: string | null): WalrustError {
  const where = prefix === null ? url : `${url} at or below ${JSON.stringify(prefix)}`;
  return new WalrustError("restore", `No database is stored in ${where}`, {
    hint: "`walrust list` shows all databases",
  });
}

function rowLines(row: RestoreAllRow): string[] {
  const { name } = row;
  switch (row.kind) {
    case "failed": {
      const { message, hint } = row.error;
      const word = isInTheWay(row) ? "NOT REPLACED" : "FAILED";
      return [`${name}: ${word}: ${message}`, ...(hint === undefined ? [] : [`  ${hint}`])];
    }
    case "unchanged":
      return [`${name}: TXID ${row.txid} is at ${row.path} already (${formatBytes(row.bytes)})`];
    case "planned": {
      const { txid, objects, downloadedBytes, outputPath } = row.result;
      const from = `${countOf(objects, "object")} (${formatBytes(downloadedBytes)})`;
      return [`${name}: would restore TXID ${txid} from ${from} to ${outputPath}`];
    }
    case "restored": {
      const { txid, bytes, outputPath, durationMs } = row.result;
      const done = `restored TXID ${txid} (${formatBytes(bytes)}) to ${outputPath} in ${durationMs} ms`;
      return [`${name}: ${done}`, ...noticeLines({ ...row.result, access: null })];
    }
  }
}

function documentOf(
  rows: readonly RestoreAllRow[],
  request: RestoreAllRequest,
  durationMs: number,
): RestoreAllDocument {
  const { into, prefix, how } = request;
  const countOfKind = (kind: RestoreAllRow["kind"]): number => rows.filter((row) => row.kind === kind).length;
  return {
    into,
    prefix,
    dry_run: how.dryRun,
    databases: rows.map(rowJson),
    restored: countOfKind("restored"),
    planned: countOfKind("planned"),
    unchanged: countOfKind("unchanged"),
    failed: countOfKind("failed"),
    duration_ms: durationMs,
  };
}

function rowJson(row: RestoreAllRow): RestoreAllDatabase {
  const { name } = row;
  switch (row.kind) {
    case "failed": {
      const { code, exitCode: exit, message, hint = null, context } = row.error;
      const error = { code, exit, message, hint, context };
      return { name, status: row.kind, restored: false, output: row.path, error };
    }
    case "unchanged": {
      const time = new Date(row.timeMs).toISOString();
      const { path: output, txid, bytes } = row;
      return { name, status: row.kind, restored: false, output, txid, time, bytes, error: null };
    }
    default:
      return { ...restoreJson(row.result, row.kind === "planned"), status: row.kind, error: null };
  }
}

function summaryOf(rows: readonly RestoreAllRow[], durationMs: number): string {
  const counted = (count: number, word: string): string[] => (count === 0 ? [] : [`${count} ${word}`]);
  const part = (kind: RestoreAllRow["kind"], word: string): string[] =>
    counted(rows.filter((row) => row.kind === kind).length, word);
  const [kept, failed] = [true, false].map((isKept) =>
    rows.filter((row) => row.kind === "failed" && isInTheWay(row) === isKept),
  ) as [RestoreAllRow[], RestoreAllRow[]];
  const parts = [
    ...part("restored", "restored"),
    ...part("planned", "to be restored"),
    ...part("unchanged", "already there"),
    ...counted(kept.length, "not replaced (another file is there; see --force)"),
    ...counted(failed.length, "FAILED"),
  ];
  const bytes = rows.reduce((sum, row) => sum + (row.kind === "restored" ? row.result.bytes : 0), 0);
  const size = bytes === 0 ? "" : `; ${formatBytes(bytes)} written`;
  return `${countOf(rows.length, "database")}: ${parts.join(", ")}${size}, in ${durationMs} ms`;
}
