/**
 * `walrust watch`: replicates databases until it is stopped.
 */

import { type Config, resolveConfig, resolveRetry } from "../config/config.ts";
import type { Sources } from "../config/resolve.ts";
import {
  COURSE_OPTIONS,
  PATIENCE_OPTIONS,
  PROGRESS_OPTIONS,
  PUSH_OPTIONS,
  WATCH_GROUPS,
} from "../config/settings/options.ts";
import { defaultValue } from "../config/settings/parse-value.ts";
import { WalEvents } from "../database/wal/wal-events.ts";
import { Discovery, type FirstDiscovery } from "../discovery/discovery.ts";
import type { MissingDatabase } from "../discovery/finder.ts";
import type { Log } from "../env.ts";
import { EXIT_CODES } from "../errors.ts";
import { sweepStateHome } from "../local/folders/state-home.ts";
import { type LocalPlaces, stateHomeOf } from "../local/places.ts";
import type { RestoreResult } from "../recovery/restore/restore-database.ts";
import { verifyDatabase } from "../recovery/verify/verify-database.ts";
import { Conditions } from "../replication/context/conditions.ts";
import type { Validation, WatchEvent } from "../replication/context/watch-events.ts";
import type { PushPeerOptions } from "../replication/push/push-peer.ts";
import { type WatchInput, type WatchResult, watch } from "../replication/watch/watch-loop.ts";
import { patienceOf } from "../storage/contract/retry.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { AdaptiveLimit } from "../storage/guard/adaptive-limit.ts";
import { meteredStore } from "../storage/guard/metered-store.ts";
import { PutLimiter } from "../storage/guard/put-limiter.ts";
import { ReachabilityMonitor } from "../storage/network/reachability-monitor.ts";
import { pushPeersOf, pushReplicasOrNull, withPushBucket } from "./push/push-options.ts";
import type { PrintedWatchEvent, WatchDocument } from "./shared/documents.ts";
import { NewDatabaseCheck } from "./shared/integrity.ts";
import { localPlaces, runtimeFolders } from "./shared/local-places.ts";
import { type MoreStoreOptions, StoreKeys, withDestination } from "./shared/open-destination.ts";
import { countOf, printEvent } from "./shared/output.ts";
import { progressOf } from "./shared/progress-of.ts";
import type { Invocation, Verb } from "./shared/verb.ts";
import { ConfigReload } from "./watch/config-reload.ts";
import { courseOptionsOf } from "./watch/course-options.ts";
import { FirstCopies } from "./watch/first-copies.ts";
import { OpenFilesWatch } from "./watch/open-files.ts";
import { restoreMissing } from "./watch/restore-missing.ts";
import { WatchCourse } from "./watch/watch-course.ts";
import { WatchObservers } from "./watch/watch-observer.ts";
import { UploadSummary } from "./watch/watch-summary.ts";
import { WatchTargets } from "./watch/watch-targets.ts";

/** The most databases that the last line of the log names. */
const NAMES_MAX = 4;

/** The verb `watch`. */
export const watchVerb: Verb = {
  name: "watch",
  summary: "Replicate databases continuously until stopped",
  usage: "[DATABASE…] [-b URL]",
  options: [...WATCH_GROUPS, COURSE_OPTIONS, PUSH_OPTIONS, PROGRESS_OPTIONS],
  positionals: {
    name: "DATABASE",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: "Path of a database file, or a glob in quotes; default: the databases of walrust.toml",
  },
  examples: [
    ["walrust watch", "the databases of ./walrust.toml"],
    ["walrust watch app.db -b file:///backup", "to a folder, without credentials"],
    ["walrust watch '/var/lib/*/app.db' -b s3://my-bucket/vm1", "many databases to S3"],
    [
      "walrust watch app.db -b s3://my-bucket --endpoint https://fly.storage.tigris.dev",
      "to another provider; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment",
    ],
    [
      "walrust watch app.db -b s3://my-bucket/vm1 --push-to http://10.0.0.2:8080 --push-token-file token",
      "also to a replica, as soon as a commit is captured",
    ],
    ["walrust watch app.db -b s3://my-bucket/vm1 --once", "upload everything, then exit: from cron"],
    [
      "walrust watch app.db -b s3://my-bucket/vm1 --restore-if-missing --exec './app --port 8080'",
      "in a container: restore, start the application, replicate until it ends",
    ],
  ],
  exitCodes: [
    [
      0,
      "stopped by SIGINT, SIGTERM or SIGHUP, after a last capture of each watched database; files that are " +
        "not uploaded in time wait on disk; with --once: everything is uploaded",
    ],
    [2, "usage or configuration: an unknown option or key, a bad value, two databases with one name"],
    [
      3,
      "no database can be watched: missing, not SQLite, not in WAL mode, or locked by another walrust; or, " +
        "at the end, commits of a watched database could not be captured",
    ],
    [
      4,
      "storage, before any database could be watched, and only with named databases: the bucket is " +
        "missing or the store refuses the credentials; or another writer has every prefix. Not for a store " +
        "that does not answer, that fails later, or with a glob: watch keeps trying (`walrust status`)",
    ],
    [5, "--restore-if-missing: the backup is damaged; nothing is started"],
    [6, "--restore-if-missing: another program wrote the backup; nothing is started"],
    [130, "stopped by a second SIGINT before the last uploads were done (143: SIGTERM, 129: SIGHUP)"],
  ],
  savesMemory: true,
  run,
};

async function run(given: Invocation): Promise<number> {
  const invocation = withPushBucket(given);
  const peers = pushPeersOf(invocation);
  const { sources, words, env } = invocation;
  const config = resolveConfig(sources);
  const options = courseOptionsOf(invocation);
  const places = localPlaces(invocation);
  const putLimit = new PutLimiter(new AdaptiveLimit(config.cache.uploaderConcurrency), env);
  const forgotten = sweepStateHome(stateHomeOf(places.choice), env.nowMs());
  if (forgotten.length > 0)
    env.log.info(`removed the state of ${countOf(forgotten.length, "deleted database")}`);
  const events = new Reporter(invocation);
  const conditions = new Conditions(null, env, (event) => events.emit(event));
  const course = new WatchCourse(options, config.sync.shutdownTimeoutMs, invocation);
  const reachability = new ReachabilityMonitor(env, conditions, true);
  const keys = StoreKeys.ofOrNull(invocation) ?? undefined;
  const parts = { config, places, putLimit, conditions, reachability, events, course, peers, keys };
  const more = { putLimit, conditions, reachability, keys, ...(options.isOnce ? oncePatience(sources) : {}) };
  const work = (store: ObjectStore): Promise<number> => watchStore(store, parts, invocation);
  try {
    return await withDestination(invocation, work, more, words.positionals);
  } finally {
    await course.close();
  }
}

/** Without a person who waits, `--once` gives up as the verbs do by default. */
function oncePatience(sources: Sources): MoreStoreOptions {
  const patience = patienceOf(defaultValue(PATIENCE_OPTIONS.timeoutMs) as number);
  return { retry: { ...resolveRetry(sources), patience }, stallMs: patience.stallMs };
}

/** The parts of one watch. */
interface Parts {
  readonly config: Config;
  readonly places: LocalPlaces;
  readonly putLimit: PutLimiter;
  readonly conditions: Conditions;
  readonly reachability: ReachabilityMonitor;
  readonly events: Reporter;
  readonly course: WatchCourse;
  readonly peers: readonly PushPeerOptions[];
  readonly keys: StoreKeys | undefined;
}

async function watchStore(store: ObjectStore, parts: Parts, invocation: Invocation): Promise<number> {
  const { config, places, putLimit, conditions, reachability, events, course, peers } = parts;
  const { sources, words, env } = invocation;
  const { restoresMissing, command } = course.options;
  const search = { paths: words.positionals, file: sources.file, destination: store.url, places };
  if (restoresMissing) await restoreMissing(search, store, invocation, (result) => events.restored(result));
  const discovery = new Discovery(search, env);
  const first = await discovery.first(restoresMissing || command !== null);
  const watched = new WatchTargets(sources, config);
  const { targets, unwatchable } = watched.of(first);
  const openFiles = new OpenFilesWatch(config.cache.uploaderConcurrency, env);
  openFiles.check(targets.length);
  const isWaiting = (restoresMissing || command !== null) && first.missing.length > 0;
  events.started(first, store.url, isWaiting);
  const observers = await WatchObservers.start(config, invocation);
  for (const { name, isMissing, error } of unwatchable) {
    const { code, message } = error;
    if (isMissing && !isWaiting) observers.observe({ event: "stopped", database: name, code, message });
  }
  const firstCopies = new FirstCopies(
    progressOf(invocation),
    targets.map(({ name }) => name),
  );
  events.alsoTo(firstCopies, new NewDatabaseCheck({ env, signal: course.signal }), observers);
  const current = { config, discovery, targets: watched };
  const reload = new ConfigReload(current, search, observers, parts.keys ?? null, invocation);
  const push = pushReplicasOrNull(peers, store, invocation, (event) => events.emit(event));
  const input: WatchInput = {
    store: meteredStore(store, { onSent: (byteCount) => firstCopies.sent(byteCount) }),
    puts: putLimit,
    config,
    env,
    version: invocation.version,
    emit: (event) => events.emit(event),
    onImage: (name, done, total) => firstCopies.image(name, done, total),
    storeConditions: conditions,
    storeSilentMs: () => reachability.silentMs,
    validate: validation(store, invocation),
    push: push ?? undefined,
    runtimeFolders: runtimeFolders(invocation),
    openWalEvents: WalEvents.openOrNull,
    onReload: () => course.reload(),
    onStart: (watch) => {
      observers.begin(watch);
      course.begin(watch, reload);
    },
    get isNamedOnly() {
      return reload.current.discovery.isNamedOnly && !isWaiting && !course.isOpenEnded;
    },
    discover: async () => {
      const current = reload.current;
      const discovered = current.targets.of(await current.discovery.again());
      openFiles.check(discovered.targets.length);
      return discovered;
    },
  };
  try {
    const result = await watch({ targets, unwatchable }, input, course.signal);
    await course.close();
    const code = exitCodeOf(result, events, env.log, course.signal.aborted);
    course.assertDone(result, unwatchable);
    // Of an application that ended well, the caller still has to learn that its last commits have no backup.
    return course.exitCode || code;
  } finally {
    firstCopies.end();
    await course.close();
    await observers.close();
  }
}

/** Hands the verification of stored objects, which belongs to recovery, to replication. */
function validation(store: ObjectStore, { env }: Invocation) {
  return async (name: string, until: AbortSignal, guarded = store): Promise<Validation> => {
    const { status, findings } = await verifyDatabase(guarded, name, { signal: until }, env);
    const worstFirst = [...findings].sort((a, b) => a.severity.localeCompare(b.severity));
    return { status, messages: worstFirst.map(({ message }) => message) };
  };
}

function exitCodeOf(result: WatchResult, reporter: Reporter, log: Log, wasAsked: boolean): number {
  reporter.flush();
  for (const name of result.undrained) {
    log.warn("not all captured files were uploaded; they wait in the spool for the next watch", {
      database: name,
    });
  }
  for (const { database, error } of result.uncaptured) {
    if (error !== null) continue;
    log.warn("the last commits are not captured: the time for the last captures and uploads was over", {
      database,
      hint: "The next watch captures them; --shutdown-timeout gives more time",
    });
  }
  const foreign = result.stopped.find(({ error }) => error.code === "foreign-writer");
  const worst = foreign ?? result.stopped[0];
  if (!wasAsked && worst !== undefined) throw worst.error;
  const uncaptured = result.uncaptured.filter(({ wasWatched }) => wasWatched).map(({ database }) => database);
  if (uncaptured.length === 0) log.info("stopped");
  else log.error(`stopped; the last commits are not captured of ${shortList(uncaptured)}`);
  if (foreign !== undefined) return foreign.error.exitCode;
  return uncaptured.length === 0 ? 0 : EXIT_CODES.database;
}

function shortList(names: readonly string[]): string {
  const more = names.length - NAMES_MAX;
  return `${names.slice(0, NAMES_MAX).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Learns of each event. */
interface EventObserver {
  observe(event: WatchEvent): void;
}

/** Reports events: as JSON on stdout, or as lines of the log. */
class Reporter {
  readonly #summary: UploadSummary;
  #observers: readonly EventObserver[] = [];

  constructor(readonly invocation: Pick<Invocation, "env" | "isJson" | "sources">) {
    this.#summary = new UploadSummary(invocation.env);
  }

  emit(event: WatchEvent): void {
    const { env, isJson } = this.invocation;
    if (isJson) this.#print(eventJson(event));
    else logEvent(event, this.#summary, env.log);
    for (const observer of this.#observers) observer.observe(event);
  }

  /** Hands each event to these observers too, from here on. */
  alsoTo(...observers: readonly EventObserver[]): void {
    this.#observers = observers;
  }

  /** A database that was missing is restored. */
  restored({ name: database, outputPath: path, txid, timeMs, bytes }: RestoreResult): void {
    const { env, isJson } = this.invocation;
    const time = timeMs === null ? null : new Date(timeMs).toISOString();
    if (isJson) this.#print({ event: "restored", database, path, txid, time, bytes });
    else env.log.info(`restored TXID ${txid} of ${time} to ${path}`, { database });
  }

  /**
   * The configuration is valid, and the databases are found.
   * @param isWaiting whether the missing databases are waited for, which is no failure
   */
  started({ targets, unwatchable, missing }: FirstDiscovery, destination: string, isWaiting: boolean): void {
    const { env, isJson, sources } = this.invocation;
    const databases = targets.length + unwatchable.length;
    if (isJson) this.#print({ event: "started", databases, destination });
    for (const one of missing) {
      if (isWaiting) env.log.info(`waiting for ${one.path} to be created`, { database: one.name });
      else this.#missing(one);
    }
    const subject = targets.length === 1 ? targets[0]!.path : `${targets.length} databases`;
    const by = sources.file === null ? "" : `, configured by ${sources.file.shownPath}`;
    env.log.info(`replicating ${subject} to ${destination}${by}`);
  }

  #print(event: PrintedWatchEvent): void {
    const { env } = this.invocation;
    const line: WatchDocument = { ...event, at: new Date(env.nowMs()).toISOString() };
    printEvent(line, env.log);
  }

  /** A named database that is missing at the start. */
  #missing({ given, error: { code, message } }: MissingDatabase): void {
    this.invocation.env.log.error(`${message}; watched as soon as it exists`);
    this.emit({ event: "stopped", database: given, code, message });
  }

  /** Logs the uploads that are not summed up yet. */
  flush(): void {
    this.#summary.flush();
  }
}

/** An event as its JSON document. */
function eventJson(event: WatchEvent): PrintedWatchEvent {
  switch (event.event) {
    case "compacted": {
      const { minTxid, maxTxid, duration_ms, ...rest } = event;
      return { ...rest, min_txid: minTxid, max_txid: maxTxid, duration_ms: micros(duration_ms) };
    }
    case "checkpointed":
      return { ...event, held_ms: micros(event.held_ms), duration_ms: micros(event.duration_ms) };
    default:
      return event;
  }
}

/** Milliseconds with three decimals. */
function micros(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000;
}

function logEvent(event: WatchEvent, summary: UploadSummary, log: Log): void {
  switch (event.event) {
    case "watching":
      return log.info(event.txid === 0 ? "watching" : `watching from TXID ${event.txid}`, {
        database: event.database,
      });
    case "uploaded":
      return summary.add(event);
    case "compacted":
      return log.debug(`compacted TXID ${event.minTxid} to ${event.maxTxid} into level ${event.level}`, {
        database: event.database,
      });
    case "checkpointed":
      return log.debug(`checkpointed ${event.frames} frames`, { database: event.database });
    default:
      // Failures, re-anchors and stops are logged where they occur, with their reasons.
      return;
  }
}
