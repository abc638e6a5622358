/**
 * Makes a child process from the options of a call, and waits for the result of a call that ends by itself.
 * Options come from the application: every name and value is checked before a process starts.
 */
import type { LogDocument, ProgressDocument } from "../commands/shared/documents.ts";
import type { OptionGroup } from "../config/settings/option-spec.ts";
import { GLOBAL_OPTIONS } from "../config/settings/options.ts";
import { type LogLevel, SILENT_LOG, systemEnv } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { findExecutable } from "./executable.ts";
import { isErrorDocument, printedError, unprintedError } from "./failure.ts";
import { flagNames, flagWords } from "./flag-words.ts";
import { configurationText, environmentOf, type Settings } from "./given-settings.ts";
import { WalrustProcess } from "./walrust-process.ts";

/** Options of every call about the child process. */
export interface ProcessOptions {
  /**
   * Path of a walrust.toml, in place of all settings. Unlike the command line, the library reads no file that
   * it was not given.
   */
  readonly config?: string | undefined;
  /**
   * Path or name of a walrust executable. Default: this package with the running Bun. An application made by
   * `bun build --compile` has to give one.
   */
  readonly executable?: string | undefined;
  /**
   * Environment of the child, which gives credentials and absent settings. Default: that of the application.
   */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Ends the work: a call rejects with the signal's reason, a running watch closes. */
  readonly signal?: AbortSignal | undefined;
  /** Receives the log of walrust, line by line. Default: nobody. */
  readonly onLog?: ((entry: LogDocument) => void) | undefined;
  /** Least severity to log. Default: info. */
  readonly logLevel?: LogLevel | undefined;
  /** Receives the progress of a work once a second, from its first second on. `list` reports none. */
  readonly onProgress?: ((progress: ProgressDocument) => void) | undefined;
}

/** The options of any call. */
export type ChildOptions = Settings & ProcessOptions;

/** A verb, and the options that are not settings. */
export interface VerbCall {
  readonly verb: string;
  /** The words without a flag. */
  readonly positionals: readonly string[];
  /** The group of the verb's own options. */
  readonly flags: OptionGroup;
  /** The names of options that are positionals. */
  readonly named: readonly string[];
}

const LOG_OPTIONS = { logLevel: GLOBAL_OPTIONS.logLevel };

/** Time for a call to end after its signal, before its process is killed. */
const STOP_LIMIT_MS = 10_000;

/**
 * Starts the child of a call.
 * @throws WalrustError code "usage" naming an option that cannot be used
 */
export function startChild(
  { verb, positionals, flags, named }: VerbCall,
  options: ChildOptions,
): WalrustProcess {
  const { config, executable, environment, signal: _, onLog, logLevel, onProgress, ...rest } = options;
  const own = [...flagNames(flags), ...named];
  const isOwn = ([name]: readonly [string, unknown]): boolean => own.includes(name);
  const given = Object.entries(rest).filter(([, value]) => value !== undefined);
  const settings = Object.fromEntries(given.filter((field) => !isOwn(field))) as Settings;
  const [setting] = Object.keys(settings);
  if (config !== undefined && setting !== undefined) {
    throw new WalrustError("usage", `config and ${setting} are both given`, {
      hint: "Give all settings in the file, or all of them as options",
    });
  }
  const configuration = configurationText(settings);
  const words = [
    verb,
    "--json",
    "--log-format=json",
    ...flagWords(LOG_OPTIONS, { logLevel }),
    ...flagWords(flags, Object.fromEntries(given.filter(isOwn))),
    ...(onProgress === undefined || verb === "list" ? [] : ["--progress"]),
    ...(config === undefined ? [] : [`--config=${config}`]),
    "--",
    ...positionals,
  ];
  return new WalrustProcess({
    executable: findExecutable(executable),
    words,
    configuration,
    environment: environmentOf(settings, environment ?? process.env),
    onLog: onLog ?? (() => {}),
    onProgress,
  });
}

/**
 * Runs a verb that ends by itself.
 * @returns its document
 * @throws WalrustError the failure of the verb; or the reason of the signal, after the child has ended
 */
export async function runToEnd<Document>(call: VerbCall, options: ChildOptions): Promise<Document> {
  const { signal } = options;
  signal?.throwIfAborted();
  const child = startChild(call, options);
  const ended = new AbortController();
  const stop = (): void => {
    child.stop();
    void killLater(child, ended.signal);
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    let last: string | null = null;
    for await (const line of child.lines()) last = line;
    const end = await child.ended();
    signal?.throwIfAborted();
    const document = last === null ? null : documentOrNull(last);
    if (document === null) throw unprintedError(call.verb, end);
    if (isErrorDocument(document)) throw printedError(document);
    return document as Document;
  } finally {
    ended.abort();
    signal?.removeEventListener("abort", stop);
  }
}

async function killLater(child: WalrustProcess, ended: AbortSignal): Promise<void> {
  await systemEnv(SILENT_LOG).sleep(STOP_LIMIT_MS, ended);
  if (!ended.aborted) child.kill();
}

function documentOrNull(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
