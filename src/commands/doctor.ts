/**
 * `walrust doctor`: checks the destination, the databases, the limits of this machine and the running
 * watches, each with what to do. It puts and deletes two probe objects, and changes nothing else.
 */
import { type Config, resolveConfig } from "../config/config.ts";
import { STATUS_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { type DeletedUser, deletedInUseError, usersOfDeleted } from "../database/deleted-users.ts";
import { usersOfFiles } from "../database/files/file-users.ts";
import { DatabaseFinder, type SearchResult } from "../discovery/finder.ts";
import { NO_CONDITIONS } from "../errors.ts";
import { acknowledgedTxid } from "../local/spooled-history.ts";
import type { WatchAnswer } from "../replication/control/control-client.ts";
import { NO_RETRY } from "../storage/contract/retry.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { Semaphore } from "../storage/guard/semaphore.ts";
import { checkBucket } from "./doctor/bucket-checks.ts";
import { type Check, Checks, exitCodeOf } from "./doctor/check.ts";
import { checkLines } from "./doctor/checks-text.ts";
import { checkCredentials } from "./doctor/credential-checks.ts";
import { checkDatabase } from "./doctor/database-checks.ts";
import { checkDestination } from "./doctor/destination-checks.ts";
import { checkMachine, machineFacts } from "./doctor/machine-checks.ts";
import type { WatchedDatabase } from "./doctor/replication-checks.ts";
import { checkNamesakes, checkWatches, watchOfOrNull } from "./doctor/watch-checks.ts";
import type { DoctorDocument } from "./shared/documents.ts";
import { earlierUseOf, localPlaces } from "./shared/local-places.ts";
import { noDestination, openDestination } from "./shared/open-destination.ts";
import { printJson, printText } from "./shared/output.ts";
import { askOwnWatches } from "./shared/own-watches.ts";
import { type Invocation, settingsOf, USAGE_EXIT, type Verb } from "./shared/verb.ts";
import { judgeWatches } from "./status/judged-watches.ts";

/** Time after which a store that does not answer is reported as unreachable. */
const STALL_MS = 5_000;
/** Databases whose objects are listed beside each other. */
const DATABASES_AT_ONCE = 8;

/** The verb `doctor`. */
export const doctorVerb: Verb = {
  name: "doctor",
  summary: "Check the destination, the databases, this machine and the running watches",
  usage: "[DATABASE…] [-b URL]",
  options: [STATUS_OPTIONS, STORE_OPTIONS, STATE_OPTIONS],
  positionals: {
    name: "DATABASE",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: "Path of a database file, or a glob in quotes; default: the databases of walrust.toml",
  },
  examples: [
    ["walrust doctor", "with ./walrust.toml"],
    ["walrust doctor app.db -b s3://my-bucket/vm1", "before the first watch"],
    ["walrust doctor --all", "every database, also those with nothing to report"],
    ["walrust doctor --json", "every check, as JSON"],
  ],
  exitCodes: [
    [0, "no failure; there may be warnings"],
    USAGE_EXIT,
    [3, "a database cannot be watched or is unhealthy, or a watch does not answer; no worse failure"],
    [
      4,
      "the destination is missing or unreachable, refuses requests, has lost objects or has another writer",
    ],
  ],
  run: async (invocation) => {
    const checks = await runChecks(invocation);
    const exit = exitCodeOf(checks);
    if (invocation.isJson) {
      const isWarning = checks.some(({ status }) => status === "warning");
      const status = exit > 0 ? "failure" : isWarning ? "warning" : "ok";
      printJson({ status, exit, checks } satisfies DoctorDocument);
    } else printText(checkLines(checks, settingsOf(invocation, STATUS_OPTIONS).all).join("\n"));
    return exit;
  },
};

async function runChecks(invocation: Invocation): Promise<Check[]> {
  const { sources, env, words } = invocation;
  const config = resolveConfig(sources);
  const store = config.s3.bucket === undefined ? null : openStoreOnce(invocation);
  try {
    const places = localPlaces(invocation);
    const destination = store?.url ?? "";
    const options = { paths: words.positionals, file: sources.file, destination, places };
    const finder = new DatabaseFinder(options, env);
    const found = await finder.find();
    const deleted = usersOfDeleted((path) => finder.covers(path));
    const { databases } = found;
    const paths = databases.map(({ path }) => path);
    const answers = await askOwnWatches(invocation, { verb: "status" }, undefined, paths);
    const watchPid = watchOfOrNull(answers, databases);
    const isExpected =
      store !== null &&
      databases.some(({ paths, name }) => acknowledgedTxid(paths, { destination, name }) !== 0);
    const ofDestination = await destinationChecks(store, invocation, isExpected);
    const isReached = ofDestination.all.some(({ check, status }) => check === "reach" && status === "ok");
    const watched = watchedByPath(answers);
    const ofDatabases = await databaseChecks(found, { store, isReached, config, watched }, invocation);
    // A watch has these already: another one could not be started.
    const held = new Set(ofDatabases.filter(({ check }) => check === "holder").map(({ subject }) => subject));
    const free = databases.filter(({ path }) => !held.has(path));
    return [
      ...ofDestination.all,
      ...ofDatabases,
      ...(store === null ? [] : checkNamesakes(answers, databases, store.location)),
      ...checkDeleted(deleted),
      ...checkMachine(machineFacts(databases.length, config.cache.uploaderConcurrency, watchPid)).all,
      ...checkWatches(answers, free).all,
    ];
  } finally {
    await store?.close();
  }
}

/** Opens the store without retries: doctor reports an unreachable store at once. */
function openStoreOnce(invocation: Invocation): ObjectStore {
  const findEarlierUse = earlierUseOf(invocation, invocation.words.positionals);
  const once = { retry: NO_RETRY, stallMs: STALL_MS, conditions: NO_CONDITIONS };
  return openDestination(invocation, { ...once, findEarlierUse });
}

async function destinationChecks(
  store: ObjectStore | null,
  { sources, env, signal }: Invocation,
  isExpected: boolean,
): Promise<Checks> {
  if (store === null) {
    const checks = new Checks("destination", null);
    checks.failure("reach", noDestination());
    return checks;
  }
  const keys = new Checks("destination", store.url);
  if (store.layout === "s3") checkCredentials(sources, keys);
  const checks = await checkDestination(store, env, signal, isExpected);
  keys.all.push(...checks.all);
  return keys;
}

/** A deleted database that a process has open is a failure, whether another file is at the path or not. */
function checkDeleted(deleted: ReadonlyMap<string, readonly DeletedUser[]>): Check[] {
  return [...deleted].flatMap(([path, users]) => {
    const checks = new Checks("database", path);
    checks.failure("deleted-file", deletedInUseError(path, users));
    return checks.all;
  });
}

/** The databases of all watches that answer, by the path of the file. */
function watchedByPath(answers: readonly WatchAnswer[]): ReadonlyMap<string, WatchedDatabase> {
  const { watches } = judgeWatches(answers, { names: [], location: null });
  const all = watches.flatMap(({ pid, databases }) =>
    databases.map(({ reported, report, remedies }): [string, WatchedDatabase] => {
      const { path, uploadedTxid, failure } = reported;
      const { health, reasons } = report;
      return [path, { pid, health, reasons, remedies, uploadedTxid, failureCode: failure?.code ?? null }];
    }),
  );
  return new Map(all);
}

/** The surroundings of the databases. */
interface Surroundings {
  readonly store: ObjectStore | null;
  /** Whether the destination is there and answers. */
  readonly isReached: boolean;
  readonly config: Config;
  readonly watched: ReadonlyMap<string, WatchedDatabase>;
}

async function databaseChecks(
  found: SearchResult,
  { store, isReached, config, watched }: Surroundings,
  { env, signal }: Invocation,
): Promise<Check[]> {
  const { databases, missing, collisions, emptyGlobs, skipped } = found;
  const whole = new Checks("database", null);
  for (const error of [...collisions, ...emptyGlobs]) whole.failure("found", error);
  for (const error of skipped) {
    const hint = error.hint ?? "Repair the file or folder, or name the database in walrust.toml";
    // Databases may lie where the system lets walrust not look.
    if (error.cause !== undefined) whole.failure("found", error);
    else whole.warning("found", error.message, hint);
  }
  const absent = missing.flatMap(({ path, error }) => {
    const checks = new Checks("database", path);
    checks.failure("found", error);
    return checks.all;
  });
  const users = usersOfFiles(databases.map(({ path }) => path));
  const { walTruncateThresholdPages } = config.sync;
  const destination = store?.url ?? null;
  const slots = new Semaphore(DATABASES_AT_ONCE);
  const each = await Promise.all(
    databases.map((database) =>
      slots.run(async () => {
        const own = { users: users.get(database.path) ?? [], watched: watched.get(database.path) ?? null };
        const facts = { ...own, destination, walTruncateThresholdPages };
        const checks = await checkDatabase(database, facts, env);
        const isWatched = facts.watched !== null;
        if (store !== null && isReached)
          await checkBucket(database, { store, env, signal, isWatched }, checks);
        return checks.all;
      }, signal),
    ),
  );
  return [...whole.all, ...absent, ...each.flat()];
}
