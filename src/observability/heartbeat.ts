/**
 * The heartbeat: calls a URL while all is well, so that a monitor outside notices when the calls stop. They
 * stop with the process, the network, or the progress of replication.
 *
 * The URL is called only while every database is captured and no lag exceeds the limit. The first call waits
 * five seconds: a process that starts and dies in a loop sends none. The URL is a secret: only its scheme and
 * host are ever shown.
 */
import type { HeartbeatConfig } from "../config/config.ts";
import type { Env } from "../env.ts";
import { errorMessage } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { Trouble } from "../storage/contract/trouble.ts";
import { isCapturing } from "./health.ts";
import { describeUrl, parseOutgoingUrl, sendRequest } from "./outgoing.ts";

/** The pause before the first call, and after a failed or held-back one; the interval if that is shorter. */
const AGAIN_MS = 5_000;

/** The settings of a heartbeat that is called. */
export type CalledHeartbeat = HeartbeatConfig & { readonly url: string };

/** Whether the statuses allow a call. */
export function isBeating(statuses: readonly DatabaseStatus[], maxLagMs: number): boolean {
  const isInTime = ({ lagMs }: DatabaseStatus): boolean => lagMs !== null && lagMs <= maxLagMs;
  return statuses.every((status) => isCapturing(status) && isInTime(status));
}

/** Calls the URL until `signal` aborts. */
export class Heartbeat {
  readonly #url: URL;
  readonly #run: Promise<void>;
  readonly #trouble: Trouble;
  #isHeld = false;

  /** @throws WalrustError code "config" when the URL is invalid */
  constructor(
    readonly config: CalledHeartbeat,
    readonly statuses: () => readonly DatabaseStatus[],
    readonly env: Env,
    readonly version: string,
    signal: AbortSignal,
  ) {
    this.#url = parseOutgoingUrl(config.url, "[heartbeat] url");
    const end = `heartbeat: ${describeUrl(this.#url)} answers again`;
    this.#trouble = new Trouble(env, { what: "heartbeat", isFirstOnly: true, end });
    this.#run = this.#beat(signal);
  }

  /** Resolves after the abort, when no call is under way. */
  done(): Promise<void> {
    return this.#run;
  }

  async #beat(signal: AbortSignal): Promise<void> {
    const { intervalMs } = this.config;
    let isDone = false;
    while (true) {
      await this.env.sleep(isDone ? intervalMs : Math.min(intervalMs, AGAIN_MS), signal);
      if (signal.aborted) return;
      isDone = this.#mayCall() && (await this.#call(signal));
    }
  }

  #mayCall(): boolean {
    const { log } = this.env;
    let isHeld = true;
    try {
      isHeld = !isBeating(this.statuses(), this.config.maxLagMs);
    } catch (error) {
      // A mistake of ours: without a status the databases do not count as well.
      log.error(`heartbeat: cannot read the statuses: ${errorMessage(error)}`);
    }
    if (isHeld !== this.#isHeld) {
      log.debug(isHeld ? "heartbeat: held back, not every database is well" : "heartbeat: resumed");
    }
    this.#isHeld = isHeld;
    return !isHeld;
  }

  /** Makes one call. Logs a failure once, and its end. @returns whether the call succeeded */
  async #call(signal: AbortSignal): Promise<boolean> {
    const headers = { "user-agent": `walrust/${this.version}` };
    try {
      await sendRequest({ method: "GET", url: this.#url, headers }, this.env, signal);
    } catch (error) {
      if (signal.aborted) return false;
      this.#trouble.failed(error);
      return false;
    }
    this.#trouble.recovered();
    return true;
  }
}
