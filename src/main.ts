/**
 * The root of the command line: parse, run, map any error to its exit code. The only process.exit and the
 * only signal handlers of the program are here.
 */
import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { defineCommand, runCommand } from "citty";
import { compactVerb } from "./commands/compact.ts";
import { explainVerb } from "./commands/explain.ts";
import { programHelp, verbHelp } from "./commands/help.ts";
import { listVerb } from "./commands/list.ts";
import { createLog, printError, printJson, printLine } from "./commands/output.ts";
import { pragmaVerb } from "./commands/pragma.ts";
import { replicateVerb } from "./commands/replicate.ts";
import { restoreVerb } from "./commands/restore.ts";
import { snapshotVerb } from "./commands/snapshot.ts";
import { assertPositionals, optionsOf, type Verb } from "./commands/verb.ts";
import { verifyVerb } from "./commands/verify.ts";
import { watchVerb } from "./commands/watch.ts";
import { type ConfigFile, loadConfigFile } from "./config/config-file.ts";
import { GLOBAL_OPTIONS } from "./config/options.ts";
import { nearestName, optionValues, parseWords } from "./config/parse-options.ts";
import { systemEnv } from "./env.ts";
import { errorMessage, WalrustError } from "./errors.ts";

declare const WALRUST_VERSION: string | undefined;

const VERSION = typeof WALRUST_VERSION === "string" ? WALRUST_VERSION : "development";
const VERBS: readonly Verb[] = [
  watchVerb,
  snapshotVerb,
  restoreVerb,
  listVerb,
  verifyVerb,
  compactVerb,
  replicateVerb,
  explainVerb,
  pragmaVerb,
];

/** The last signal that came. */
let stoppedBy: "SIGINT" | "SIGTERM" = "SIGINT";

/** Exit code of a second signal: 128 and its number. */
const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** The configuration file that is found by itself. */
const CONFIG_FILE = "walrust.toml";

/** Other names of verbs. */
const ALIASES: Readonly<Record<string, string>> = { prune: "compact" };

async function main(words: readonly string[]): Promise<number> {
  const first = ALIASES[words[0] ?? ""] ?? words[0];
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    printLine(programHelp(VERBS));
    return first === undefined ? 2 : 0;
  }
  if (first === "--version") return printVersions(words.includes("--json"));
  let exitCode = 0;
  const subCommands = Object.fromEntries(
    VERBS.map((verb) => [
      verb.name,
      defineCommand({
        meta: { name: verb.name, description: verb.summary },
        // citty accepts mistyped flags; the words go to our own strict table.
        run: async () => {
          exitCode = await runVerb(verb, words.slice(1));
        },
      }),
    ]),
  );
  if (subCommands[first] === undefined) throw unknownVerb(first);
  await runCommand(defineCommand({ meta: { name: "walrust" }, subCommands }), { rawArgs: [first] });
  return exitCode;
}

async function runVerb(verb: Verb, rawWords: readonly string[]): Promise<number> {
  const words = parseWords(rawWords, optionsOf(verb));
  const globals = optionValues(words, GLOBAL_OPTIONS);
  if (globals.help) {
    printLine(verbHelp(verb));
    return 0;
  }
  if (globals.version) return printVersions(globals.json);
  assertPositionals(verb, words);
  const environment = process.env;
  const file = configFileOrNull(globals.config, environment);
  const sources = { words, environment, file };
  const env = systemEnv(createLog(globals.logLevel as "info", globals.logFormat as "text"));
  const signal = stopSignal();
  try {
    return await verb.run({ words, sources, isJson: globals.json, env, signal, version: VERSION });
  } catch (error) {
    if (!signal.aborted) throw error;
    // A verb that is done at some time was stopped before that: it changed nothing it could not leave so.
    process.stderr.write(`walrust: interrupted (${errorMessage(error)})\n`);
    return SIGNAL_EXIT_CODES[stoppedBy];
  }
}

/** The file that is named, else the one in the working directory, if there is one. */
function configFileOrNull(
  given: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): ConfigFile | null {
  if (given === undefined && !existsSync(CONFIG_FILE)) return null;
  return loadConfigFile(given ?? CONFIG_FILE, environment);
}

/** Aborts on the first SIGINT or SIGTERM; the second one ends the process at once. */
function stopSignal(): AbortSignal {
  const aborter = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      stoppedBy = name;
      if (aborter.signal.aborted) process.exit(SIGNAL_EXIT_CODES[name]);
      aborter.abort();
    });
  }
  return aborter.signal;
}

function printVersions(isJson: boolean): number {
  const database = new Database(":memory:");
  const sqlite = (database.query("SELECT sqlite_version() AS version").get() as { version: string }).version;
  database.close();
  if (isJson) printJson({ walrust: VERSION, bun: Bun.version, sqlite });
  else printLine(`walrust ${VERSION} (Bun ${Bun.version}, SQLite ${sqlite})`);
  return 0;
}

function unknownVerb(word: string): WalrustError {
  const nearest = nearestName(
    word,
    VERBS.map((verb) => verb.name),
  );
  return new WalrustError("usage", `Unknown verb ${JSON.stringify(word)}`, {
    hint: nearest === null ? "See walrust --help" : `Did you mean walrust ${nearest}?`,
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const failure =
    error instanceof WalrustError
      ? error
      : new WalrustError("internal", errorMessage(error), { cause: error });
  printError(failure, process.argv.includes("--json"));
  if (failure.code === "internal" && error instanceof Error && process.env["WALRUST_TRACE"]) {
    process.stderr.write(`${error.stack}\n`);
  }
  process.exitCode = failure.exitCode;
}
process.exit();
