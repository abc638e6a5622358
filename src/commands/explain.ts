/**
 * `walrust explain`: shows the effect and the cost of a watch before it is started. It prints the whole
 * explanation, then exits with the code that the watch would fail with.
 */
import { resolveConfig } from "../config/config.ts";
import { EXPLAIN_OPTIONS, WATCH_GROUPS } from "../config/settings/options.ts";
import { nothingNamed } from "../discovery/discovery.ts";
import { DatabaseFinder, type SearchResult } from "../discovery/finder.ts";
import type { WalrustError } from "../errors.ts";
import { estimateMonth } from "../forecast/estimate.ts";
import { acknowledgedTxid } from "../local/spooled-history.ts";
import { NO_RETRY } from "../storage/contract/retry.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { type ExplainedDatabase, explainDatabase } from "./explain/explained-database.ts";
import type { Explanation } from "./explain/explanation.ts";
import { explainJson } from "./explain/explanation-json.ts";
import { explainText } from "./explain/explanation-text.ts";
import { shownSettings } from "./explain/shown-settings.ts";
import { earlierUseOf, localPlaces } from "./shared/local-places.ts";
import { noDestination, openDestination } from "./shared/open-destination.ts";
import { printJson, printText } from "./shared/output.ts";
import { type ProbedDestination, probeDestination } from "./shared/probed-destination.ts";
import { type Invocation, settingsOf, type Verb } from "./shared/verb.ts";

/** Time after which a store that does not answer is reported as unreachable. */
const STALL_MS = 5_000;

/** The verb `explain`. */
export const explainVerb: Verb = {
  name: "explain",
  summary: "Show the effect and the cost of watch with this configuration",
  usage: "[DATABASE…] [-b URL]",
  options: [EXPLAIN_OPTIONS, ...WATCH_GROUPS],
  positionals: {
    name: "DATABASE",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: "Path of a database file, or a glob in quotes; default: the databases of walrust.toml",
  },
  examples: [
    ["walrust explain", "explain ./walrust.toml"],
    ["walrust explain --config /etc/walrust.toml --json", "explain another file, as JSON"],
    [
      "walrust explain app.db -b s3://my-bucket/vm1 --snapshot-interval 600 --commits-per-second 5",
      "without a file, at a given rate of commits",
    ],
  ],
  exitCodes: [
    [0, "a watch would start"],
    [2, "usage or configuration: an unknown option or key, a bad value, nothing to watch"],
    [3, "no database could be watched: missing, not SQLite, or not in WAL mode"],
    [4, "storage: the bucket is missing or unreachable, or the store refuses the credentials"],
  ],
  run: async (invocation) => {
    const explanation = await explain(invocation);
    if (invocation.isJson) printJson(explainJson(explanation));
    else printText(explainText(explanation));
    const { databases, problems } = explanation;
    const isAnyUsable = databases.some(({ problem }) => problem === null);
    const fatal = problems.filter(({ exitCode }) => exitCode !== 3 || !isAnyUsable);
    return fatal[0]?.exitCode ?? 0;
  },
};

async function explain(invocation: Invocation): Promise<Explanation> {
  const { sources, env, words } = invocation;
  const settings = shownSettings(sources);
  const config = resolveConfig(sources);
  const store = config.s3.bucket === undefined ? null : openStoreOnce(invocation);
  try {
    const places = localPlaces(invocation);
    const destination = store?.url ?? "";
    const options = { paths: words.positionals, file: sources.file, destination, places };
    const finder = new DatabaseFinder(options, env);
    const result = await finder.find();
    const databases = result.databases.map((found) => explainDatabase(sources, config, found));
    const storage = store === null ? null : await probeDestination(store, env, isKnown(result, store));
    const rate = settingsOf(invocation, EXPLAIN_OPTIONS);
    return {
      configFile: sources.file?.shownPath ?? null,
      settings,
      storage,
      databases,
      hasGlobs: finder.hasGlobs,
      rate,
      estimate: estimateMonth(databases, rate),
      problems: problemsOf(result, databases, storage, finder.hasGlobs),
    };
  } finally {
    await store?.close();
  }
}

/** Whether a database was replicated to the store before: a watch does not make its folder anew then. */
function isKnown({ databases }: SearchResult, { url: destination }: ObjectStore): boolean {
  return databases.some(({ paths, name }) => acknowledgedTxid(paths, { destination, name }) !== 0);
}

/** Opens the store without retries: explain reports an unreachable store at once. */
function openStoreOnce(invocation: Invocation): ObjectStore {
  const findEarlierUse = earlierUseOf(invocation, invocation.words.positionals);
  return openDestination(invocation, { retry: NO_RETRY, stallMs: STALL_MS, findEarlierUse });
}

function problemsOf(
  result: SearchResult,
  databases: readonly ExplainedDatabase[],
  storage: ProbedDestination | null,
  hasGlobs: boolean,
): WalrustError[] {
  const { collisions, emptyGlobs, missing, skipped } = result;
  const problems = [...collisions, ...emptyGlobs, ...missing.map(({ error }) => error), ...skipped];
  if (storage === null) problems.push(noDestination());
  else if (storage.problem !== null) problems.push(storage.problem);
  if (databases.length === 0 && missing.length === 0 && !hasGlobs) problems.push(nothingNamed());
  for (const { problem } of databases) if (problem !== null) problems.push(problem);
  return problems.sort((a, b) => a.exitCode - b.exitCode);
}
