/**
 * The course of one watch beside replication: waits for its start, then ends the watch when everything is
 * uploaded (`--once`), or starts the application and ends with it (`--exec`). Tells the service manager of
 * each step, and reads the configuration again when a SIGHUP or a request asks for it.
 *
 * Before the application has started, signals and failures end the watch as they do without an application,
 * and none is started. From then on walrust passes signals on and goes on watching until the application
 * ends: the last commits of an application that shuts down are captured too.
 */
import { isatty } from "node:tty";
import type { Unwatchable } from "../../discovery/discovered.ts";
import { asWalrustError, errorMessage, WalrustError } from "../../errors.ts";
import type { LaggingDatabase } from "../../replication/requests/catch-up.ts";
import type { RunningWatch, WatchResult } from "../../replication/watch/watch-loop.ts";
import type { Invocation, SignalName } from "../shared/verb.ts";
import { Application } from "./application.ts";
import type { ConfigReload, ReloadResult } from "./config-reload.ts";
import type { Command, CourseOptions } from "./course-options.ts";
import { hasTerminal } from "./hangup.ts";
import { hasStarted } from "./readiness.ts";
import { reapOrphans } from "./reap-orphans.ts";
import { ServiceManager } from "./service-manager.ts";

/** Signals that the application gets from walrust. */
const PASSED_ON: readonly SignalName[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"];
const STDIN = 0;

/** The course of one watch: `begin` when it runs, `close` when it has ended. */
export class WatchCourse {
  /** Aborts when the watch is to end. */
  readonly signal: AbortSignal;
  readonly #ending = new AbortController();
  readonly #closing = new AbortController();
  /** Aborts when the watch has started, or ends before. */
  readonly #started = new AbortController();
  readonly #service: ServiceManager | null;
  readonly #starting: Promise<void> | undefined;
  readonly #hadTerminal = hasTerminal();
  readonly #releaseHangup: (() => void) | null;
  #application: Application | null = null;
  #exitCode: number | null = null;
  #lagging: readonly LaggingDatabase[] = [];
  #failure: unknown = null;
  #running: Promise<void> = Promise.resolve();
  #closed: Promise<void> | null = null;
  /** The running watch and its configuration; null before it runs. */
  #reloadable: { readonly watch: RunningWatch; readonly config: ConfigReload } | null = null;
  /** SIGHUP came before the watch ran. */
  #isReloadAsked = false;

  constructor(
    readonly options: CourseOptions,
    /** The time for databases that the application has made just before its end. */
    readonly shutdownTimeoutMs: number,
    readonly invocation: Pick<Invocation, "env" | "signal" | "signals" | "sources">,
  ) {
    const { env, signal, signals, sources } = invocation;
    this.signal = AbortSignal.any([signal, this.#ending.signal]);
    this.#service = ServiceManager.fromOrNull(sources.environment, env);
    this.#starting = this.#service?.starting(this.#started.signal);
    this.signal.addEventListener("abort", () => this.#service?.stopping(), { once: true });
    this.#releaseHangup =
      sources.file === null ? null : signals.takeOver(["SIGHUP"], () => this.#reloadOnHangup());
  }

  /** Whether the watch goes on although no database can be watched: the application decides when it ends. */
  get isOpenEnded(): boolean {
    return this.#application !== null;
  }

  /** The exit code of the application, or null without one. */
  get exitCode(): number | null {
    return this.#exitCode;
  }

  /** The watch runs. @param config its configuration */
  begin(watch: RunningWatch, config: ConfigReload): void {
    this.#reloadable = { watch, config };
    this.#running = this.#run(watch).catch((error: unknown) => {
      this.#failure = error;
      this.#ending.abort();
    });
  }

  async #run(watch: RunningWatch): Promise<void> {
    const { isOnce, command } = this.options;
    const until = AbortSignal.any([this.signal, this.#closing.signal]);
    const isStarted = await hasStarted(watch, this.invocation.env, until);
    this.#started.abort();
    if (!isStarted) return;
    if (command !== null) this.#application = Application.start(command, this.invocation.sources.environment);
    this.#service?.ready(watch);
    if (this.#isReloadAsked) this.#reloadOnHangup();
    if (isOnce) {
      this.#lagging = await watch.catchUp();
      this.#ending.abort();
    }
    if (this.#application === null || command === null) return;
    await this.#follow(this.#application, command);
    await this.#captureNew(watch);
    this.#ending.abort();
  }

  /** Captures databases that the application made just before its end. */
  async #captureNew(watch: RunningWatch): Promise<void> {
    const { env } = this.invocation;
    try {
      await watch.discover();
    } catch (error) {
      env.log.warn(`cannot discover databases: ${errorMessage(error)}`);
    }
    const limit = AbortSignal.any([this.invocation.signal, this.#closing.signal]);
    const timeout = new AbortController();
    const started = hasStarted(watch, env, AbortSignal.any([limit, timeout.signal]));
    await Promise.race([started, env.sleep(this.shutdownTimeoutMs, limit)]);
    timeout.abort();
  }

  /** Passes signals on until the application ends. */
  async #follow(application: Application, { file }: Command): Promise<void> {
    const { env, signals } = this.invocation;
    const release = signals.takeOver(PASSED_ON, (name) => this.#passOn(name, application));
    env.log.info(`started ${file}, process ${application.pid}`);
    const ended = new AbortController();
    const reaping = reapOrphans(ended.signal, env);
    this.#exitCode = await application.exited;
    release();
    env.log.info(`${file} ended with ${this.#exitCode}: capturing and uploading what it committed last`);
    ended.abort();
    await reaping;
  }

  /** A terminal sends SIGINT to the application as well, which must not get it twice. */
  #passOn(name: SignalName, application: Application): boolean {
    const isReload = name === "SIGHUP" && this.#releaseHangup !== null && !this.#hasLostTerminal;
    if (!application.isRunning || isReload) return false;
    if (name !== "SIGINT" || !isatty(STDIN)) application.signal(name);
    return true;
  }

  /** Whether the terminal of this process has closed. */
  get #hasLostTerminal(): boolean {
    return this.#hadTerminal && !hasTerminal();
  }

  #reloadOnHangup(): boolean {
    if (this.#hasLostTerminal) return false;
    this.#isReloadAsked = this.#reloadable === null;
    if (!this.#isReloadAsked) void this.reload().catch(() => {});
    return true;
  }

  /**
   * Reads the configuration again, and logs why it cannot be used.
   * @throws WalrustError when it cannot be used, or there is no file
   */
  async reload(): Promise<ReloadResult> {
    const { env, sources } = this.invocation;
    if (sources.file === null || this.#reloadable === null) {
      throw new WalrustError("config", `The watch with pid ${process.pid} has no configuration file`, {
        hint: "Restart it with other options, or give it a file with --config",
      });
    }
    const { watch, config } = this.#reloadable;
    this.#service?.reloading();
    try {
      return await config.reload(watch);
    } catch (error) {
      const { code, message, hint } = asWalrustError(error);
      env.log.error(`the configuration is not reloaded, and nothing changes: ${message}`, { hint });
      // "usage" is the answer of a watch that does not know the request.
      throw code === "usage"
        ? new WalrustError("config", message, hint === undefined ? {} : { hint })
        : error;
    } finally {
      this.#service?.reloaded();
    }
  }

  /** The watch has ended, or failed: an application that still runs is told, and waited for. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    this.#started.abort();
    const application = this.#application;
    if (application?.isRunning === true) {
      this.invocation.env.log.error("replication has failed: ending the application");
      application.signal("SIGTERM");
    }
    await this.#running;
    this.#releaseHangup?.();
    await this.#starting;
    this.#service?.stopping();
    await this.#service?.close();
  }

  /**
   * Judges the end of the watch.
   * @param refused databases of the first discovery that could not be watched
   * @throws WalrustError the failure of the application's start; with `--once`, why not everything is
   * uploaded
   */
  assertDone({ stopped, undrained, uncaptured }: WatchResult, refused: readonly Unwatchable[]): void {
    if (this.#failure !== null) throw this.#failure;
    const { isOnce, restoresMissing } = this.options;
    if (!isOnce) return;
    const failed = [...refused.filter(({ isMissing }) => !(isMissing && restoresMissing)), ...stopped];
    const [worst] = [...failed, ...this.#lagging]
      .map(({ error }) => error)
      .sort((a, b) => b.exitCode - a.exitCode);
    if (worst !== undefined) throw worst;
    const [left] = uncaptured;
    if (left !== undefined) throw unfinished("database", left.database, "captured", left.error);
    if (undrained[0] !== undefined) throw unfinished("storage", undrained[0], "uploaded");
  }
}

function unfinished(
  code: "database" | "storage",
  name: string,
  what: string,
  cause: WalrustError | null = null,
): WalrustError {
  const reason = cause === null ? "" : `: ${cause.message}`;
  return new WalrustError(code, `Not everything that ${name} has committed is ${what}${reason}`, {
    hint:
      cause?.hint ??
      "The next watch continues; --shutdown-timeout gives the last capture and upload more time",
  });
}
