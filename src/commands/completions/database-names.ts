/**
 * The names of databases for the completion of a shell, from the destination of the words typed so far: of
 * their flags, the environment and walrust.toml, as the verb itself would read them.
 *
 * A failure prints nothing, because a message would stand in the middle of the line that the user types. The
 * answer comes within some 1.5 s, with the names known by then.
 */
import { resolveRetry } from "../../config/config.ts";
import { configFileOrNull } from "../../config/config-file.ts";
import type { Environment } from "../../config/file-values.ts";
import { GLOBAL_OPTIONS } from "../../config/settings/options.ts";
import { optionValues, type ParsedWords, parseWords } from "../../config/settings/parse-options.ts";
import { type Env, SILENT_LOG, systemEnv } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { oneLine } from "../../observability/terminal-text.ts";
import { likelyDatabases } from "../../storage/bucket/likely-databases.ts";
import { openDestination } from "../shared/open-destination.ts";
import { printText } from "../shared/output.ts";
import { optionsOf, type Verb } from "../shared/verb.ts";

/** The first word of a call that asks for names. The scripts of the shells make this call. */
export const NAMES_WORD = "__complete-names";

/** Time for the listings. Together with the start of the process, an answer takes some 1.5 s at most. */
const LISTING_LIMIT_MS = 1_200;
/** Time for a store to notice that it was stopped. */
const STOP_LIMIT_MS = 100;

/** A line of a shell that asks for names. */
export interface NamesRequest {
  /** The beginning of the name, as it is typed. */
  readonly prefix: string;
  readonly verb: Verb;
  /** The words between the verb and the name. */
  readonly words: readonly string[];
  readonly environment: Environment;
}

/**
 * Prints the names that complete a line, one a line. A failure prints nothing.
 * @param words the beginning of the name, the verb, and the words between them
 * @returns the exit code
 */
export async function printDatabaseNames(
  [prefix = "", name = "", ...words]: readonly string[],
  verbs: readonly Verb[],
  environment: Environment,
): Promise<number> {
  const verb = verbs.find((one) => one.name === name || one.aliases?.includes(name));
  if (verb === undefined) return asWalrustError(new WalrustError("usage", "no such verb")).exitCode;
  try {
    const names = await databaseNames({ prefix, verb, words, environment }, systemEnv(SILENT_LOG));
    // A shell would insert the escaped name, which is another one.
    const shown = names.filter((one) => oneLine(one) === one);
    if (shown.length > 0) printText(shown.join("\n"));
    return 0;
  } catch (error) {
    return asWalrustError(error).exitCode;
  }
}

/**
 * The names that complete a line, sorted.
 * @throws WalrustError when the line, the configuration or the destination cannot be used
 */
export async function databaseNames(request: NamesRequest, env: Env): Promise<string[]> {
  const { prefix, verb, environment } = request;
  const words = typedWords(request.words, verb);
  const file = configFileOrNull(optionValues(words, GLOBAL_OPTIONS).config, environment);
  const sources = { words, environment, file };
  const retry = { ...resolveRetry(sources), maxRetries: 0 };
  const store = openDestination({ sources, env }, { retry });
  const limit = new AbortController();
  const late = env.sleep(LISTING_LIMIT_MS, limit.signal).then(() => {
    limit.abort();
    return env.sleep(STOP_LIMIT_MS).then((): string[] => []);
  });
  try {
    return await Promise.race([likelyDatabases(store, prefix, limit.signal), late]);
  } finally {
    limit.abort();
    await Promise.race([store.close(), env.sleep(STOP_LIMIT_MS)]);
  }
}

/**
 * The parsed words, without a last flag whose value is the name to complete (`--prefix`).
 * @throws WalrustError code "usage"
 */
function typedWords(words: readonly string[], verb: Verb): ParsedWords {
  const specs = optionsOf(verb);
  const last = words.at(-1);
  const isWaiting = specs.some(
    ({ flag, alias, kind }) => kind !== "switch" && (last === `--${flag}` || last === `-${alias}`),
  );
  return parseWords(isWaiting ? words.slice(0, -1) : words, specs);
}
