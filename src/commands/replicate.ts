/**
 * `walrust replicate`: keeps a local read replica of a database in a bucket up to date.
 */
import { resolveOptions } from "../config/resolve.ts";
import { PROGRESS_OPTIONS, REPLICATE_OPTIONS } from "../config/settings/options.ts";
import { STORE_OPTIONS } from "../config/settings/settings.ts";
import type { Log } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { replicate } from "../recovery/replica/replica.ts";
import type { ReplicaEvent } from "../recovery/replica/replica-file.ts";
import {
  parseReplicaSource,
  type ReplicaSource,
  replicaSourceOf,
} from "../recovery/replica/replica-source.ts";
import { keyProblemOrNull } from "../storage/contract/object-rules.ts";
import { ReachabilityMonitor } from "../storage/network/reachability-monitor.ts";
import type { ReplicaDocument } from "./shared/documents.ts";
import { integrityChecker } from "./shared/integrity.ts";
import { openDestination, warningSink } from "./shared/open-destination.ts";
import { countOf, formatBytes, printEvent } from "./shared/output.ts";
import { RepeatedProgress } from "./shared/progress.ts";
import { progressOf } from "./shared/progress-of.ts";
import { type Invocation, settingsOf, USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The verb `replicate`. */
export const replicateVerb: Verb = {
  name: "replicate",
  summary: "Keep a local read replica of a database up to date",
  usage: "SOURCE --local PATH [-b URL]",
  options: [REPLICATE_OPTIONS, STORE_OPTIONS, PROGRESS_OPTIONS],
  positionals: {
    name: "SOURCE",
    min: 1,
    max: 1,
    meaning: "URL of a database in the bucket, or its name in the destination of -b or walrust.toml",
  },
  examples: [
    ["walrust replicate s3://my-bucket/vm1/app --local replica.db", "follow the database until stopped"],
    ["walrust replicate app --local replica.db -b s3://my-bucket/vm1", "the same, by name"],
    ["walrust replicate s3://my-bucket/vm1/user%40example.com --local r.db", "a name with @ in a URL"],
    ["walrust replicate file:///backup/app --local replica.db --interval 500ms", "poll twice a second"],
    [
      "walrust replicate s3://my-bucket/vm1/app --local replica.db --once",
      "bring the replica up to date and exit",
    ],
  ],
  exitCodes: [
    [0, "stopped by SIGINT, SIGTERM or SIGHUP; with --once: the replica is up to date"],
    USAGE_EXIT,
    [3, "PATH is no replica of SOURCE or has another writer, or the disk is too small"],
    [4, "storage, at the start or with --once; replicate retries after a later failure"],
    [5, "integrity, at the start or with --once: an object is missing or damaged; the replica is unchanged"],
    [6, "SOURCE has no backup yet"],
  ],
  savesMemory: true,
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { words, env, signal, isJson } = invocation;
  const { local, intervalMs, once } = settingsOf(invocation, REPLICATE_OPTIONS);
  if (local === undefined) {
    throw new WalrustError("usage", "No replica file is given", { hint: "Name the file with --local PATH" });
  }
  const [text] = words.positionals as [string];
  const { destination, name, url } = sourceOf(invocation, text);
  const reachability = new ReachabilityMonitor(env, warningSink(env.log), true);
  const store = openDestination(invocation, { reachability }, destination);
  const work = { verb: "replicate", database: name, label: `restoring ${name}`, unit: "read" } as const;
  const progress = new RepeatedProgress(progressOf(invocation), work);
  const emit = (event: ReplicaEvent): void => {
    progress.end();
    if (isJson) printEvent(replicaDocument(event, env.nowMs()), env.log);
    else logEvent(event, local, env.log);
  };
  try {
    const request = { name, source: url, localPath: local, intervalMs, isOnce: once };
    const onProgress = (doneBytes: number, totalBytes: number): void =>
      progress.update({ doneBytes, totalBytes });
    const context = { store, env, signal, emit, onProgress, checker: integrityChecker() };
    await replicate(request, context);
    return 0;
  } finally {
    progress.end();
    await store.close();
  }
}

/**
 * Parses SOURCE. With --bucket, SOURCE is a name. Otherwise it is a URL, or a name in the destination from
 * the environment or walrust.toml.
 * @throws WalrustError code "usage" when it is neither
 */
function sourceOf({ sources }: Invocation, source: string): ReplicaSource {
  const { bucket } = resolveOptions(sources, STORE_OPTIONS);
  const isUrl = source.includes("://");
  const isName = bucket.origin.kind === "flag";
  if (isUrl && isName && keyProblemOrNull(source) !== null) {
    throw new WalrustError("usage", `${source} and --bucket are both given`, {
      hint: "Give the URL of the database alone, or its name and --bucket",
    });
  }
  if (isUrl && !isName) return parseReplicaSource(source);
  if (bucket.value !== undefined) return replicaSourceOf(bucket.value, source);
  throw new WalrustError("usage", `${JSON.stringify(source)} is no URL, and no destination is given`, {
    hint: "Write s3://bucket/prefix/NAME or file:///folder/NAME, or give the destination with -b",
  });
}

/** An event as its JSON document. @param nowMs the wall clock */
export function replicaDocument(event: ReplicaEvent, nowMs: number): ReplicaDocument {
  const { event: name, txid, ...rest } = event;
  const facts: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rest)) {
    if (key === "timeMs") facts["time"] = new Date(value as number).toISOString();
    else facts[key === "fromTxid" ? "from_txid" : key] = value;
  }
  return { event: name, txid, ...facts, at: new Date(nowMs).toISOString() } as unknown as ReplicaDocument;
}

function logEvent(event: ReplicaEvent, path: string, log: Log): void {
  switch (event.event) {
    case "following":
      return log.info(`${path} is at TXID ${event.txid} of ${new Date(event.timeMs).toISOString()}`);
    case "bootstrapped":
      return log.info(
        `restored TXID ${event.txid} from ${countOf(event.objects, "object")} (${formatBytes(event.bytes)})`,
      );
    case "applied":
      return log.info(`applied TXID ${event.txid} of ${new Date(event.timeMs).toISOString()}`);
    case "current":
      return log.info(`nothing is newer than TXID ${event.txid}`);
    default:
      // recovery/replica logs failures and waits, with their reasons.
      return;
  }
}
