/**
 * The heartbeat: a URL that is called as long as all is well, so that somebody outside notices when it is
 * not called, whatever the reason: no process, no network, no progress.
 *
 * It is called only while every database is capturing (not starting, stopped, paused, or failing for another
 * reason than the store) and none has a lag above the limit; not at once, because a start is no proof that
 * anything works. The URL is a secret: only scheme and host are ever shown.
 */
import type { Env } from "../env.ts";
import { errorMessage } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { Trouble } from "../storage/contract/trouble.ts";
import { isCapturing } from "./health.ts";
import { describeUrl, parseOutgoingUrl, sendRequest } from "./outgoing.ts";

/**
 * The first call, and one that was held back or failed, comes after this, or the interval if that is less.
 */
const AGAIN_MS = 5_000;

/** Where and when. */
export interface HeartbeatOptions {
  readonly url: string;
  readonly intervalMs: number;
  /** Not called while any database lags more. */
  readonly maxLagMs: number;
}

/** Whether the heartbeat may be called, for all that the databases tell. */
export function isBeating(statuses: readonly DatabaseStatus[], maxLagMs: number): boolean {
  return statuses.every((status) => isCapturing(status) && status.lagMs <= maxLagMs);
}

/** Calls the URL until `signal` aborts. */
export class Heartbeat {
  readonly #url: URL;
  readonly #run: Promise<void>;
  readonly #trouble: Trouble;
  #isHeld = false;

  /** @throws WalrustError with code "config" when the URL is none */
  constructor(
    readonly options: HeartbeatOptions,
    readonly statuses: () => readonly DatabaseStatus[],
    readonly env: Env,
    readonly version: string,
    signal: AbortSignal,
  ) {
    this.#url = parseOutgoingUrl(options.url, "[heartbeat] url");
    const end = `heartbeat: ${describeUrl(this.#url)} answers again`;
    this.#trouble = new Trouble(env, { what: "heartbeat", isFirstOnly: true, end });
    this.#run = this.#beat(signal);
  }

  /** Resolves when it has ended after the abort. */
  done(): Promise<void> {
    return this.#run;
  }

  async #beat(signal: AbortSignal): Promise<void> {
    const { intervalMs } = this.options;
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
      isHeld = !isBeating(this.statuses(), this.options.maxLagMs);
    } catch (error) {
      // A mistake of ours; what cannot be told is not well.
      log.error(`heartbeat: the databases cannot be asked: ${errorMessage(error)}`);
    }
    if (isHeld !== this.#isHeld) {
      log.debug(isHeld ? "heartbeat: held back, not every database is well" : "heartbeat: goes on");
    }
    this.#isHeld = isHeld;
    return !isHeld;
  }

  /** One call. A failure is said once, and so is its end. @returns whether it worked */
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
