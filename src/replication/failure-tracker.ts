/**
 * What a watcher says about its failures: the first one of a kind once, and the end of it once, however often
 * it is tried in between; and how long to wait before trying again.
 */
import type { Env } from "../env.ts";
import { EXIT_CODES, errorMessage, WalrustError } from "../errors.ts";
import type { WatchEvent } from "./watch-types.ts";

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;

/** Growing pauses between tries. */
export class RetryPause {
  #delayMs = FIRST_DELAY_MS;
  #untilMs = 0;

  isOver(nowMs: number): boolean {
    return nowMs >= this.#untilMs;
  }

  /**
   * Another try failed.
   * @param retryAtMs when the next one makes sense, if that is known (an open circuit): neither before nor
   * after, and the pauses do not grow
   */
  extend(nowMs: number, retryAtMs: number | null = null): void {
    this.#untilMs = retryAtMs ?? nowMs + this.#delayMs;
    if (retryAtMs !== null) return;
    this.#delayMs = Math.min(MAX_DELAY_MS, this.#delayMs * 2);
  }

  /** It worked, or somebody insists. */
  reset(): void {
    this.#delayMs = FIRST_DELAY_MS;
    this.#untilMs = 0;
  }
}

/** Any thrown thing as a WalrustError. */
export function asWalrustError(error: unknown): WalrustError {
  if (error instanceof WalrustError) return error;
  return new WalrustError("internal", errorMessage(error), { cause: error });
}

/** The failure one database is getting over. */
export class FailureTracker {
  #failure: WalrustError | null = null;

  constructor(
    readonly database: string,
    readonly env: Env,
    readonly emit: (event: WatchEvent) => void,
  ) {}

  get current(): WalrustError | null {
    return this.#failure;
  }

  /** Says a failure unless it was said last; that somebody else is at the database just now is no failure. */
  failed(failure: WalrustError): void {
    const { code, message, hint } = failure;
    if (code === "database-busy") return;
    if (!isSaid(this.#failure, failure)) {
      this.env.log.error(message, { database: this.database, hint });
      this.emit({ event: "failed", database: this.database, code, message });
    }
    this.#failure = failure;
  }

  /** Everything works: says so if something did not. */
  healed(): void {
    if (this.#failure === null) return;
    this.#failure = null;
    this.env.log.info("recovered", { database: this.database });
    this.emit({ event: "recovered", database: this.database });
  }
}

/** Whether a failure is the one that was said last. A store that is gone fails on another key each time. */
function isSaid(last: WalrustError | null, failure: WalrustError): boolean {
  if (last === null) return false;
  const isStorage = failure.exitCode === EXIT_CODES.storage;
  return isStorage ? last.code === failure.code : last.message === failure.message;
}
