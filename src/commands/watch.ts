/**
 * `walrust watch`: replicates databases until it is stopped.
 */
import { type OptionValues, STORE_OPTIONS, WATCH_OPTIONS } from "../config/options.ts";
import { optionValues } from "../config/parse-options.ts";
import type { Log } from "../env.ts";
import { verifyDatabase } from "../recovery/verify.ts";
import { DEFAULT_COMPACTION } from "../replication/compaction-plan.ts";
import { watch } from "../replication/watch.ts";
import type { Validation, WatchEvent, WatchOptions } from "../replication/watch-types.ts";
import { nameDatabases } from "./database-names.ts";
import { withDestination } from "./destination.ts";
import { printJson } from "./output.ts";
import type { Invocation, Verb } from "./verb.ts";
import { UploadSummary } from "./watch-summary.ts";

const SHUTDOWN_TIMEOUT_MS = 5_000;

/** The verb `watch`. */
export const watchVerb: Verb = {
  name: "watch",
  summary: "Replicate databases continuously until stopped",
  usage: "DATABASE… -b URL",
  options: [STORE_OPTIONS, WATCH_OPTIONS],
  positionals: { name: "DATABASE", min: 1, max: Number.POSITIVE_INFINITY },
  examples: [
    ["walrust watch app.db -b file:///backup", "to a folder, without credentials"],
    ["walrust watch /var/lib/*/app.db -b s3://my-bucket/vm1", "many databases to S3"],
    [
      "walrust watch app.db -b s3://my-bucket --endpoint https://fly.storage.tigris.dev",
      "to another provider; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment",
    ],
  ],
  exitCodes: [
    [0, "stopped by SIGINT or SIGTERM after a last capture"],
    [2, "usage: an unknown option, a bad value, two databases with one name"],
    [3, "a database cannot be watched: missing, not SQLite, not in WAL mode, locked by another walrust"],
    [4, "storage: the bucket is missing, credentials are refused, another writer owns the prefix"],
    [130, "stopped by a second SIGINT before the drain was done (143: SIGTERM)"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const values = optionValues(invocation.words, WATCH_OPTIONS);
  return withDestination(invocation, async (store) => {
    const { env, isJson, version, signal } = invocation;
    const targets = nameDatabases(invocation.words.positionals, store.url, values.cacheDir);
    const summary = new UploadSummary(env, targets.length);
    const emit = (event: WatchEvent): void => {
      if (isJson) printJson({ ...event, at: new Date(env.nowMs()).toISOString() });
      else logEvent(event, summary, env.log);
    };
    const options = watchOptions(values);
    const what = targets.length === 1 ? targets[0]!.path : `${targets.length} databases`;
    env.log.info(`replicating ${what} to ${store.url}`);
    const validate = async (name: string, until: AbortSignal): Promise<Validation> => {
      const { status, findings } = await verifyDatabase(store, name, { signal: until }, env);
      const worstFirst = [...findings].sort((a, b) => a.severity.localeCompare(b.severity));
      return { status, messages: worstFirst.map(({ message }) => message) };
    };
    const result = await watch(targets, { store, options, env, version, emit, validate }, signal);
    summary.flush();
    for (const name of result.undrained) {
      env.log.warn("not everything was uploaded; it waits beside the database for the next watch", {
        database: name,
      });
    }
    const allStopped = result.stopped.length === targets.length;
    if (allStopped) throw result.stopped[0]!.error;
    const foreign = result.stopped.find(({ error }) => error.code === "foreign-writer");
    env.log.info("stopped");
    return foreign === undefined ? 0 : foreign.error.exitCode;
  });
}

/** From flags to what replication takes. */
function watchOptions(values: OptionValues<typeof WATCH_OPTIONS>): WatchOptions {
  return {
    walSyncIntervalMs: values.walSyncInterval,
    checkpointIntervalMs: values.checkpointInterval,
    minCheckpointPages: values.minCheckpointPages,
    walTruncateThresholdPages: values.walTruncateThreshold,
    uploaderConcurrency: values.uploaderConcurrency,
    shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
    isDirect: values.noCache,
    validationIntervalMs: values.validationInterval,
    spoolBytesMax: values.cacheMaxSize,
    maintenance: {
      snapshots: {
        intervalMs: values.snapshotInterval,
        maxChanges: values.maxChanges,
        maxIntervalMs: values.maxInterval,
        onIdleMs: values.onIdle,
        onStartup: values.onStartup,
      },
      compaction: {
        ...DEFAULT_COMPACTION,
        threshold: values.compactThreshold,
        sizeBytes: values.compactSize,
        maxIncrementalAgeMs: values.compactAge,
      },
      retention: {
        hourly: values.retainHourly,
        daily: values.retainDaily,
        weekly: values.retainWeekly,
        monthly: values.retainMonthly,
      },
      retentionIntervalMs: values.compactInterval,
      retainAfterSnapshot: values.compactAfterSnapshot,
      cacheRetentionMs: values.noCache ? 0 : values.cacheRetention,
    },
  };
}

function logEvent(event: WatchEvent, summary: UploadSummary, log: Log): void {
  const { database } = event;
  switch (event.event) {
    case "watching":
      return log.info(event.txid === 0 ? "watching" : `watching from TXID ${event.txid}`, { database });
    case "uploaded":
      return summary.add(event);
    case "compacted":
      return log.debug(`compacted TXID ${event.minTxid} to ${event.maxTxid} into level ${event.level}`, {
        database,
      });
    case "checkpointed":
      return log.debug(`checkpointed ${event.frames} frames`, { database });
    default:
      // Failures, re-anchors and stops are logged where they happen, with their reasons.
      return;
  }
}
