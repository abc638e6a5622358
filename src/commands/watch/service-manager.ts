/**
 * Reports to the service manager that started walrust (systemd, `Type=notify`): that the watch is ready, is
 * alive, reads its configuration again, ends, and how it is doing, as one line for `systemctl status`.
 *
 * The watchdog is fed by turns of the loop: a loop that hangs makes no turn, whether the process hangs with
 * it or not. The start has no fixed length, because a database may have to be restored first, so the service
 * manager is asked for more time as long as the start goes on.
 */
import type { Env } from "../../env.ts";
import type { DatabaseStatus } from "../../replication/watch/watch-status.ts";
import { NotifySocket } from "./notify-socket.ts";

/** Between two looks at the statuses. */
const STATUS_INTERVAL_MS = 10_000;
const START_INTERVAL_MS = 10_000;
/** More time for the start, from each request on. */
const EXTENSION_USEC = 60_000_000;
const USEC_PER_MS = 1_000;
const TEXT_LENGTH_MAX = 300;

/** The facts of a running watch that are reported. */
export interface ReportedWatch {
  statuses(): readonly DatabaseStatus[];
  readonly turnCount: number;
}

/** The socket of the service manager, as it is used here. */
export type NotifyChannel = Pick<NotifySocket, "send" | "monotonicUsec" | "close">;

/** The reports to a service manager. */
export class ServiceManager {
  readonly #closing = new AbortController();
  readonly #watchdogMs: number | null;
  #isStopping = false;
  #shown = "";
  #running: Promise<void> = Promise.resolve();

  /** @param watchdogMs the longest time between two signs of life, or null */
  constructor(
    readonly channel: NotifyChannel,
    watchdogMs: number | null,
    readonly env: Pick<Env, "sleep" | "log">,
  ) {
    this.#watchdogMs = watchdogMs;
  }

  /** The service manager that the environment names, or null. */
  static fromOrNull(
    variables: Readonly<Record<string, string | undefined>>,
    env: Pick<Env, "sleep" | "log">,
  ): ServiceManager | null {
    const address = variables["NOTIFY_SOCKET"];
    if (!address) return null;
    const channel = NotifySocket.openOrNull(address);
    if (channel === null) {
      env.log.warn("the service manager is not notified: this system cannot reach NOTIFY_SOCKET");
      return null;
    }
    const isForUs = [undefined, "", String(process.pid)].includes(variables["WATCHDOG_PID"]);
    const watchdogMs = isForUs ? Math.floor(Number(variables["WATCHDOG_USEC"]) / USEC_PER_MS) : 0;
    return new ServiceManager(channel, watchdogMs > 0 ? watchdogMs : null, env);
  }

  /** The start goes on until the signal aborts: asks for time. */
  async starting(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      this.#send(`EXTEND_TIMEOUT_USEC=${EXTENSION_USEC}`, "STATUS=starting");
      await this.env.sleep(START_INTERVAL_MS, until);
    }
  }

  /** The watch has started: reports from here on, until `close`. */
  ready(watch: ReportedWatch): void {
    this.#shown = statusText(watch.statuses());
    this.#send("READY=1", `STATUS=${this.#shown}`);
    this.#running = this.#report(watch);
  }

  /** The configuration is read again. */
  reloading(): void {
    this.#send("RELOADING=1", `MONOTONIC_USEC=${this.channel.monotonicUsec()}`);
  }

  /** The configuration was read again, or is not used. */
  reloaded(): void {
    this.#send("READY=1");
  }

  /** The watch ends. */
  stopping(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#send("STOPPING=1", "STATUS=capturing and uploading the last commits");
  }

  /** Ends the reports. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    this.channel.close();
  }

  async #report(watch: ReportedWatch): Promise<void> {
    const { signal } = this.#closing;
    const intervalMs = Math.min(STATUS_INTERVAL_MS, (this.#watchdogMs ?? Number.POSITIVE_INFINITY) / 2);
    let fedAt = watch.turnCount;
    for (let elapsedMs = 0; !signal.aborted; elapsedMs += intervalMs) {
      const { turnCount } = watch;
      // The drain has no turns, and a limit of its own.
      const isAlive = turnCount > fedAt || this.#isStopping;
      if (this.#watchdogMs !== null && isAlive && this.#send("WATCHDOG=1")) fedAt = turnCount;
      if (elapsedMs >= STATUS_INTERVAL_MS) {
        elapsedMs = 0;
        if (!this.#isStopping) this.#show(statusText(watch.statuses()));
      }
      await this.env.sleep(intervalMs, signal);
    }
  }

  #show(text: string): void {
    if (text !== this.#shown && this.#send(`STATUS=${text}`)) this.#shown = text;
  }

  #send(...lines: readonly string[]): boolean {
    return this.channel.send(lines.join("\n"));
  }
}

/** PURE: one line about all databases, the first problem with its reason. */
export function statusText(statuses: readonly DatabaseStatus[]): string {
  const well = statuses.filter(({ state }) => state === "watching");
  const noun = statuses.length === 1 ? "database" : "databases";
  const count = well.length === statuses.length ? `${well.length}` : `${well.length} of ${statuses.length}`;
  const lagS = Math.max(0, ...statuses.map(({ lagMs }) => lagMs ?? 0)) / 1_000;
  const parts = [`${count} ${noun} replicated`, `up to ${lagS.toFixed(lagS < 10 ? 1 : 0)} s behind`];
  const problem = statuses.find(({ state }) => state !== "watching" && state !== "starting");
  if (problem !== undefined) {
    const { database, state, failure } = problem;
    parts.push(`${database} is ${state}${failure === null ? "" : `: ${failure.message}`}`);
  }
  const text = parts.join("; ").replaceAll(/\s+/g, " ");
  return text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX - 1)}…` : text;
}
