/**
 * `walrust sync`: returns when everything that was committed when it was called is in the bucket, and a
 * listing of the bucket shows it. The running watch does the work: a database has one writer.
 */
import { SYNC_VERB_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { WalrustError } from "../errors.ts";
import type { WatchAnswer } from "../replication/control/control-client.ts";
import type { SyncedDatabase } from "../replication/requests/sync-request.ts";
import type { SyncAnswer } from "../replication/watch/watch-control.ts";
import type { SyncDocument } from "./shared/documents.ts";
import { countOf, formatBytes, printJson, printText } from "./shared/output.ts";
import { askOwnWatches, chosenLocationOrNull } from "./shared/own-watches.ts";
import { type Invocation, settingsOf, USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** A watch that has not answered this long after the time limit hangs. */
const ANSWER_MARGIN_MS = 3_000;

/** The verb `sync`. */
export const syncVerb: Verb = {
  name: "sync",
  summary: "Wait until everything committed so far is in the bucket",
  usage: "NAME | --all [-b URL]",
  options: [SYNC_VERB_OPTIONS, STORE_OPTIONS, STATE_OPTIONS],
  positionals: {
    name: "NAME",
    min: 0,
    max: 1,
    meaning: "Name of a database that a watch of this user replicates, as `walrust status` prints it",
  },
  examples: [
    ["walrust sync app", "before a deploy"],
    [
      "walrust sync --all --timeout 2m",
      "before a reboot or a move: all databases that a watch replicates to the bucket",
    ],
  ],
  exitCodes: [
    [0, "everything that was committed at the call is in the bucket, as a listing shows"],
    USAGE_EXIT,
    [3, "no watch runs or answers, or a database is stopped or cannot be watched"],
    [4, "not in time: the store is slow, unreachable or lacks objects; the watch goes on"],
  ],
  run,
};

/** A database with the destination that it was synced to. */
interface Synced extends SyncedDatabase {
  readonly destination: string;
}

async function run(invocation: Invocation): Promise<number> {
  const { all, timeoutMs } = settingsOf(invocation, SYNC_VERB_OPTIONS);
  const [name] = invocation.words.positionals;
  if ((name === undefined) === !all) {
    throw new WalrustError("usage", "Give the NAME of a database, or --all", {
      hint: "`walrust status` shows the names",
    });
  }
  const location = await chosenLocationOrNull(invocation);
  const request = {
    verb: "sync",
    timeoutMs,
    ...(name === undefined ? {} : { names: [name] }),
    ...(location === null ? {} : { destination: location }),
  } as const;
  const answers = await askOwnWatches(invocation, request, timeoutMs + ANSWER_MARGIN_MS);
  const databases = answers.flatMap(syncedOf);
  const unanswered = answers.flatMap(({ pid, error }) => (error === null ? [] : [{ pid, error }]));
  if (databases.length === 0) throw unanswered[0]?.error ?? nobodyError(name, answers.length);
  // A silent watch counts unless all that was asked for is found elsewhere.
  const silent = name === undefined && location === null ? unanswered : [];
  if (invocation.isJson) printJson(jsonOf(databases, silent));
  else printText([...databases.map(lineOf), ...silent.map(({ error }) => textOf(error))].join("\n"));
  const isStopped = silent.length > 0 || databases.some(({ outcome }) => outcome === "stopped");
  return isStopped ? 3 : databases.some(({ outcome }) => outcome === "behind") ? 4 : 0;
}

function syncedOf({ result }: WatchAnswer): Synced[] {
  if (result === null) return [];
  const { destination, databases } = result as SyncAnswer;
  return databases.map((database) => ({ ...database, destination }));
}

function nobodyError(name: string | undefined, watchCount: number): WalrustError {
  if (watchCount === 0) {
    return new WalrustError("database", "No watch of this user runs on this machine", {
      hint: "Start `walrust watch`, or run `walrust sync` as the user of the watch",
    });
  }
  const what = name === undefined ? "any database there" : JSON.stringify(name);
  return new WalrustError("database", `No watch of this user replicates ${what}`, {
    hint: "`walrust status` shows the databases of all watches",
  });
}

function jsonOf(
  databases: readonly Synced[],
  silent: readonly { pid: number; error: WalrustError }[],
): SyncDocument {
  return {
    synced: silent.length === 0 && databases.every(({ outcome }) => outcome === "synced"),
    databases: databases.map((one) => ({
      name: one.name,
      path: one.path,
      destination: one.destination,
      outcome: one.outcome,
      uploaded_txid: one.uploadedTxid,
      pending_files: one.pendingCount,
      pending_bytes: one.pendingBytes,
      duration_ms: one.durationMs,
      missing: one.missing ?? null,
      problem: one.problem,
    })),
    silent_watches: silent.map(({ pid, error: { code, message, hint } }) => ({
      pid,
      problem: { code, message, hint: hint ?? null },
    })),
  };
}

function lineOf(database: Synced): string {
  const { name, outcome, uploadedTxid, destination, durationMs, problem, missing } = database;
  if (outcome === "synced") {
    const repaired = missing ? `\n  ${missing}; a new snapshot is there` : "";
    return `${name}: TXID ${uploadedTxid} is in ${destination} after ${durationMs} ms${repaired}`;
  }
  const left = waitingText(database);
  const hint = problem?.hint ? `\n  ${problem.hint}` : "";
  const message = problem?.message ?? "for an unknown reason";
  if (outcome === "stopped") return `${name}: not replicated: ${message}${left}${hint}`;
  const has =
    uploadedTxid === 0 ? "nothing is known to be in the bucket" : `the bucket has TXID ${uploadedTxid}`;
  return `${name}: not in time, ${has}: ${message}${left}${hint}`;
}

function waitingText({ pendingCount, pendingBytes }: Synced): string {
  if (pendingCount === 0) return "";
  return `; ${countOf(pendingCount, "captured file")} (${formatBytes(pendingBytes)}) still to upload`;
}

function textOf({ message, hint }: WalrustError): string {
  return hint === undefined ? message : `${message}\n  ${hint}`;
}
