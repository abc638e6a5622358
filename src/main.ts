/**
 * The root of the command line: parses the words, runs the verb, maps any error to its exit code. Only this
 * file calls process.exit and handles signals.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand, runCommand } from "citty";
import { compactVerb } from "./commands/compact.ts";
import { NAMES_WORD, printDatabaseNames } from "./commands/completions/database-names.ts";
import { completionsVerb } from "./commands/completions.ts";
import { doctorVerb } from "./commands/doctor.ts";
import { explainVerb } from "./commands/explain.ts";
import { listVerb } from "./commands/list.ts";
import { manVerb } from "./commands/man.ts";
import { whileSavingMemory } from "./commands/memory/save-memory.ts";
import { ensureSmallEngine } from "./commands/memory/small-engine.ts";
import { pragmaVerb } from "./commands/pragma.ts";
import { reloadVerb } from "./commands/reload.ts";
import { replicateVerb } from "./commands/replicate.ts";
import { restoreVerb } from "./commands/restore.ts";
import { serveVerb } from "./commands/serve.ts";
import { defaultHint } from "./commands/shared/default-hints.ts";
import { programHelp, verbHelp } from "./commands/shared/help.ts";
import { CHECK_WORD, runHelper } from "./commands/shared/integrity.ts";
import {
  createLog,
  flushOutput,
  outputFailure,
  printError,
  printJson,
  printLine,
  printText,
  printTrace,
} from "./commands/shared/output.ts";
import { OWNED_WORD, Owner } from "./commands/shared/owner.ts";
import {
  assertPositionals,
  optionsOf,
  type SignalName,
  type Signals,
  type Verb,
} from "./commands/shared/verb.ts";
import { snapshotVerb } from "./commands/snapshot.ts";
import { statusVerb } from "./commands/status.ts";
import { syncVerb } from "./commands/sync.ts";
import { undoVerb } from "./commands/undo.ts";
import { verifyVerb } from "./commands/verify.ts";
import { APPLICATION_WORD, becomeApplication } from "./commands/watch/application.ts";
import { watchVerb } from "./commands/watch.ts";
import { type ConfigFile, configFileOrNull, parseConfigFile } from "./config/config-file.ts";
import { checkEnvironment } from "./config/environment.ts";
import { GLOBAL_OPTIONS } from "./config/settings/options.ts";
import { nearestName, optionValues, parseWords } from "./config/settings/parse-options.ts";
import { SILENT_LOG, systemEnv } from "./env.ts";
import { asWalrustError, errorMessage, WalrustError } from "./errors.ts";
import { isUnverifiedAsked } from "./storage/network/tls-trust.ts";

declare const WALRUST_VERSION: string | undefined;
declare const WALRUST_DATE: string | null | undefined;

const VERSION = typeof WALRUST_VERSION === "string" ? WALRUST_VERSION : "development";
const DATE = typeof WALRUST_DATE === "string" ? WALRUST_DATE : null;
const VERBS: readonly Verb[] = [
  watchVerb,
  snapshotVerb,
  restoreVerb,
  undoVerb,
  listVerb,
  verifyVerb,
  compactVerb,
  replicateVerb,
  serveVerb,
  statusVerb,
  syncVerb,
  reloadVerb,
  doctorVerb,
  explainVerb,
  pragmaVerb,
  completionsVerb,
  manVerb,
];

/** The last signal received, when the first one was, and the controller that it aborts. */
let stoppedBy: StopSignal = "SIGINT";
let stoppedAtMs = 0;
const stopping = new AbortController();

/** The application that runs this process through the library, or null. */
let owner: Owner | null = null;

/** The parts of the verb that answer signals themselves, the newest first. */
const takers: { readonly names: readonly SignalName[]; readonly answer: (name: SignalName) => boolean }[] =
  [];
const signals: Signals = { takeOver };

/** Exit codes of a second signal: 128 plus its number. */
const SIGNAL_EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Signals within this time after the first are the same stop. Ctrl-C signals all processes of the terminal,
 * and npm, make and process managers then pass the signal on to processes that have got it already.
 */
const SAME_STOP_MS = 500;

type StopSignal = keyof typeof SIGNAL_EXIT_CODES;

/** Time after a signal in which a slow reader of stdout may still read. */
const READER_WAIT_MS = 1_000;

/** The name of an application's settings in messages, in place of a file. */
const OWNED_SETTINGS = "settings";

/** Other names of verbs. */
const ALIASES: ReadonlyMap<string, string> = new Map(
  VERBS.flatMap(({ name, aliases = [] }) => aliases.map((alias) => [alias, name] as const)),
);

async function main(words: readonly string[]): Promise<number> {
  const first = ALIASES.get(words[0] ?? "") ?? words[0];
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    printText(helpOf(words[1]));
    return first === undefined ? 2 : 0;
  }
  if (first === CHECK_WORD) return runHelper(words.slice(1));
  if (first === APPLICATION_WORD) return becomeApplication(words.slice(1));
  if (first === NAMES_WORD) return printDatabaseNames(words.slice(1), VERBS, process.env);
  if (first === OWNED_WORD && owner === null) {
    owner = Owner.attach(words[1]);
    return main(words.slice(2));
  }
  if (first === "--version") return printVersions(isJsonWanted(words));
  if (first === "--licenses") return await printLicenses(isJsonWanted(words));
  let exitCode = 0;
  const subCommands = Object.fromEntries(
    VERBS.map((verb) => [
      verb.name,
      defineCommand({
        meta: { name: verb.name, description: verb.summary },
        // citty accepts mistyped flags, so the words go to our own strict table.
        run: async () => {
          exitCode = await runVerb(verb, words.slice(1));
        },
      }),
    ]),
  );
  if (!Object.hasOwn(subCommands, first)) throw unknownVerb(first);
  await runCommand(defineCommand({ meta: { name: "walrust" }, subCommands }), { rawArgs: [first] });
  return exitCode;
}

async function runVerb(verb: Verb, rawWords: readonly string[]): Promise<number> {
  const words = parseWords(rawWords, optionsOf(verb));
  const globals = optionValues(words, GLOBAL_OPTIONS);
  if (globals.help) {
    printText(verbHelp(verb));
    return 0;
  }
  if (globals.version) return printVersions(globals.json);
  assertPositionals(verb, words);
  if (verb.savesMemory) ensureSmallEngine();
  const environment = process.env;
  const warnings = checkEnvironment(environment);
  const file =
    owner === null || globals.config !== undefined
      ? configFileOrNull(globals.config, environment)
      : await ownedSettings(owner, environment);
  const sources = { words, environment, file };
  const env = systemEnv(createLog(globals.logLevel as "info", globals.logFormat as "text"));
  if (isUnverifiedAsked(environment)) {
    env.log.warn("NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored: certificates are verified all the same", {
      hint: "Name a private authority with ca_file in [s3], AWS_CA_BUNDLE or NODE_EXTRA_CA_CERTS",
    });
  }
  warnings.push(...(file?.warnings ?? []));
  for (const { message, hint } of warnings) env.log.warn(message, { hint });
  const signal = stopSignal(globals.json);
  try {
    const program = { version: VERSION, date: DATE, verbs: VERBS };
    const invocation = { words, sources, isJson: globals.json, env, signal, signals, ...program };
    const work = (): Promise<number> => verb.run(invocation);
    return verb.savesMemory ? await whileSavingMemory(env, work) : await work();
  } catch (error) {
    if (!signal.aborted) throw error;
    // The verb was stopped halfway, at a point where it leaves nothing inconsistent.
    printInterrupted(`Stopped by ${stoppedBy}: ${errorMessage(error)}`, globals.json);
    return SIGNAL_EXIT_CODES[stoppedBy];
  }
}

/** The help of a verb, or of the program. @throws WalrustError code "usage" when there is no such verb */
function helpOf(word: string | undefined): string {
  if (word === undefined || word.startsWith("-")) return programHelp(VERBS);
  const verb = VERBS.find(({ name }) => name === (ALIASES.get(word) ?? word));
  if (verb === undefined) throw unknownVerb(word);
  return verbHelp(verb);
}

/** Whether the words ask for JSON. The words may be invalid otherwise. */
function isJsonWanted(words: readonly string[]): boolean {
  const end = words.indexOf("--");
  const flags = end === -1 ? words : words.slice(0, end);
  return flags.includes("--json") || flags.includes("--json=true");
}

/** The settings that the library hands over. Relative paths start at the working directory. */
async function ownedSettings(
  application: Owner,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ConfigFile> {
  const text = await application.configuration();
  const file = parseConfigFile(text, resolve(OWNED_SETTINGS), OWNED_SETTINGS, environment);
  return { ...file, isHandedOver: true };
}

/**
 * Aborts on the first SIGINT, SIGTERM or SIGHUP (a closed terminal); a second one ends the process at once,
 * unless both come together. A SIGHUP that is ignored at the start stays ignored, for nohup. With an owner,
 * its end aborts, and signals count only after this end.
 */
function stopSignal(isJson: boolean): AbortSignal {
  void owner?.gone().then(() => {
    stoppedBy = "SIGTERM";
    stopping.abort();
  });
  const { monotonicMs } = systemEnv(SILENT_LOG);
  const names: StopSignal[] = isHangupIgnored() ? ["SIGINT", "SIGTERM"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const name of names) {
    process.on(name, () => {
      if (owner !== null && (owner.isAlive || stopping.signal.aborted)) return;
      if (isTaken(name)) return;
      if (stopping.signal.aborted && monotonicMs() - stoppedAtMs < SAME_STOP_MS) return;
      stoppedBy = name;
      if (stopping.signal.aborted) {
        printInterrupted(`Stopped at once by a second ${name}`, isJson);
        process.exit(SIGNAL_EXIT_CODES[name]);
      }
      stoppedAtMs = monotonicMs();
      stopping.abort();
    });
  }
  return stopping.signal;
}

/** As `Signals.takeOver`. A SIGHUP that is ignored stays so. */
function takeOver(names: readonly SignalName[], answer: (name: SignalName) => boolean): () => void {
  const taker = { names, answer };
  takers.unshift(taker);
  const others = names.filter((name) => !Object.hasOwn(SIGNAL_EXIT_CODES, name));
  for (const name of others) process.on(name, isTaken);
  return () => {
    takers.splice(takers.indexOf(taker), 1);
    for (const name of others) process.off(name, isTaken);
  };
}

/** Offers a signal to the parts of the verb. @returns whether one of them took it */
function isTaken(name: NodeJS.Signals): boolean {
  return takers.some(({ names, answer }) => names.some((one) => one === name) && answer(name as SignalName));
}

/** Whether SIGHUP is ignored. False where the kernel shows no mask. Source: proc(5), SigIgn. */
function isHangupIgnored(): boolean {
  try {
    const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return (BigInt(`0x${mask}`) & 1n) === 1n;
  } catch {
    return false;
  }
}

function printInterrupted(message: string, isJson: boolean): void {
  const exitCode = SIGNAL_EXIT_CODES[stoppedBy];
  const hint = "Run the command again: it repeats or continues the interrupted work, nothing is lost";
  printError({ code: "interrupted", exitCode, message, hint, context: {} }, isJson);
}

function printVersions(isJson: boolean): number {
  const database = new Database(":memory:");
  const sqlite = (database.query("SELECT sqlite_version() AS version").get() as { version: string }).version;
  database.close();
  if (isJson) printJson({ walrust: VERSION, bun: Bun.version, sqlite });
  else printLine(`walrust ${VERSION} (Bun ${Bun.version}, SQLite ${sqlite})`);
  return 0;
}

async function printLicenses(isJson: boolean): Promise<number> {
  const { LICENSES } = await import("./commands/manual/licenses.ts");
  if (isJson) printJson({ licenses: LICENSES });
  else printText(LICENSES.trimEnd());
  return 0;
}

function unknownVerb(word: string): WalrustError {
  if (word.startsWith("-")) {
    return new WalrustError("usage", `${word.split("=")[0]} stands before the verb`, {
      hint: `Options follow the verb: walrust ${VERBS.map(({ name }) => name).join("|")} [OPTIONS]`,
    });
  }
  const nearest = nearestName(
    word,
    VERBS.map((verb) => verb.name),
  );
  return new WalrustError("usage", `Unknown verb ${JSON.stringify(word)}`, {
    hint: nearest === null ? "See walrust --help" : `Did you mean walrust ${nearest}?`,
  });
}

/** Prints the error that ends the program. @returns its exit code */
function fail(error: unknown): number {
  const failure = asWalrustError(error);
  const { code, exitCode, message, context, hint = defaultHint(code) } = failure;
  printError({ code, exitCode, message, hint, context }, isJsonWanted(process.argv.slice(2)));
  if (failure.code === "internal" && error instanceof Error && process.env["WALRUST_TRACE"])
    printTrace(error);
  return failure.exitCode;
}

/** Waits until all output is written; after a signal, for one second. @returns the exit code */
async function finish(exitCode: number): Promise<number> {
  const { sleep } = systemEnv(SILENT_LOG);
  const wasStopped = stopping.signal.aborted;
  let isWritten = false;
  const givenUp = new Promise<void>((resolve) => {
    const wait = (): void => void sleep(READER_WAIT_MS).then(resolve);
    if (stopping.signal.aborted) wait();
    else stopping.signal.addEventListener("abort", wait, { once: true });
  });
  const written = flushOutput().then(() => {
    isWritten = true;
  });
  await Promise.race([written, givenUp]);
  if (!isWritten && !wasStopped) return SIGNAL_EXIT_CODES[stoppedBy];
  const reason = outputFailure();
  if (reason === null || exitCode !== 0) return exitCode;
  const hint = "The command did its work, but its output is incomplete";
  return fail(new WalrustError("internal", `Cannot write to stdout: ${reason}`, { hint }));
}

for (const name of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(name, (error: unknown) => process.exit(fail(error)));
}
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = fail(error);
}
process.exit(await finish(process.exitCode));
