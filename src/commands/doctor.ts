/**
 * `walrust doctor`: checks the destination, the databases, the limits of this machine and the running
 * watches, each with what to do. It puts and deletes two probe objects, and changes nothing else.
 */
import { type Config, resolveConfig } from "../config/config.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { usersOfFiles } from "../database/files/file-users.ts";
import { DatabaseFinder, type SearchResult } from "../discovery/finder.ts";
import { NO_CONDITIONS } from "../errors.ts";
import { NO_RETRY } from "../storage/contract/retry.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { type Check, Checks, exitCodeOf } from "./doctor/check.ts";
import { checkLines } from "./doctor/checks-text.ts";
import { checkCredentials } from "./doctor/credential-checks.ts";
import { checkDatabase } from "./doctor/database-checks.ts";
import { checkDestination } from "./doctor/destination-checks.ts";
import { checkMachine, machineFacts } from "./doctor/machine-checks.ts";
import { checkWatches, watchOfOrNull } from "./doctor/watch-checks.ts";
import { localPlaces } from "./shared/local-places.ts";
import { noDestination, openDestination } from "./shared/open-destination.ts";
import { printJson, printText } from "./shared/output.ts";
import { askOwnWatches } from "./shared/own-watches.ts";
import { type Invocation, USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** Time after which a store that does not answer is reported as unreachable. */
const STALL_MS = 5_000;

/** The verb `doctor`. */
export const doctorVerb: Verb = {
  name: "doctor",
  summary: "Check the destination, the databases, this machine and the running watches",
  usage: "[DATABASE…] [-b URL]",
  options: [STORE_OPTIONS, STATE_OPTIONS],
  positionals: {
    name: "DATABASE",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: "Path of a database file, or a glob in quotes; default: the databases of walrust.toml",
  },
  examples: [
    ["walrust doctor", "with ./walrust.toml"],
    ["walrust doctor app.db -b s3://my-bucket/vm1", "before the first watch"],
    ["walrust doctor --json", "every check, as JSON"],
  ],
  exitCodes: [
    [0, "no failure; there may be warnings"],
    USAGE_EXIT,
    [3, "a database cannot be watched, or a watch does not answer; no worse failure"],
    [4, "the destination is missing, unreachable, or refuses credentials or requests"],
  ],
  run: async (invocation) => {
    const checks = await runChecks(invocation);
    const exit = exitCodeOf(checks);
    if (invocation.isJson) {
      const isWarning = checks.some(({ status }) => status === "warning");
      printJson({ status: exit > 0 ? "failure" : isWarning ? "warning" : "ok", exit, checks });
    } else printText(checkLines(checks).join("\n"));
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
    const found = await new DatabaseFinder(options, env).find();
    const { databases } = found;
    const answers = await askOwnWatches(invocation, { verb: "status" });
    const watchPid = watchOfOrNull(answers, databases);
    return [
      ...(await destinationChecks(store, invocation)).all,
      ...databaseChecks(found, store?.url ?? null, config),
      ...checkMachine(machineFacts(databases.length, config.cache.uploaderConcurrency, watchPid)).all,
      ...checkWatches(answers, databases).all,
    ];
  } finally {
    await store?.close();
  }
}

/** Opens the store without retries: doctor reports an unreachable store at once. */
function openStoreOnce(invocation: Invocation): ObjectStore {
  return openDestination(invocation, { retry: NO_RETRY, stallMs: STALL_MS, conditions: NO_CONDITIONS });
}

async function destinationChecks(
  store: ObjectStore | null,
  { sources, env, signal }: Invocation,
): Promise<Checks> {
  if (store === null) {
    const checks = new Checks("destination", null);
    checks.failure("reach", noDestination());
    return checks;
  }
  const keys = new Checks("destination", store.url);
  if (store.layout === "s3") checkCredentials(sources, keys);
  const checks = await checkDestination(store, env, signal);
  keys.all.push(...checks.all);
  return keys;
}

function databaseChecks(found: SearchResult, destination: string | null, config: Config): Check[] {
  const { databases, missing, collisions, emptyGlobs, skipped } = found;
  const whole = new Checks("database", null);
  for (const error of [...collisions, ...emptyGlobs]) whole.failure("found", error);
  for (const { message, hint } of skipped)
    whole.warning(
      "found",
      message,
      hint ?? "Repair the file or folder, or name the database in walrust.toml",
    );
  const absent = missing.flatMap(({ path, error }) => {
    const checks = new Checks("database", path);
    checks.failure("found", error);
    return checks.all;
  });
  const users = usersOfFiles(databases.map(({ path }) => path));
  const { walTruncateThresholdPages } = config.sync;
  const each = databases.flatMap((database) => {
    const facts = { users: users.get(database.path) ?? [], destination, walTruncateThresholdPages };
    return checkDatabase(database, facts).all;
  });
  return [...whole.all, ...absent, ...each];
}
