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
   * @param maxMs the longest pause
   */
  extend(nowMs: number, retryAtMs: number | null = null, maxMs = MAX_DELAY_MS): void {
    this.#untilMs = retryAtMs ?? nowMs + Math.min(maxMs, this.#delayMs);
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
  /** What was said since all was well: two failures that take turns are said once each. */
  readonly #said = new Set<string>();

  constructor(
    readonly database: string,
    readonly env: Env,
    readonly emit: (event: WatchEvent) => void,
  ) {}

  get current(): WalrustError | null {
    return this.#failure;
  }

  /** Says a failure unless it was said; that somebody else is at the database just now is no failure. */
  failed(failure: WalrustError): void {
    const { code, message, hint } = failure;
    if (code === "database-busy") return;
    if (isNew(this.#said, failure)) {
      this.env.log.error(message, { database: this.database, hint });
      this.emit({ event: "failed", database: this.database, code, message });
    }
    this.#failure = failure;
  }

  /** A failure that somebody else has said. */
  note(failure: WalrustError): void {
    this.#failure = failure;
  }

  /** Everything works: says so if something did not. */
  healed(): void {
    if (this.#failure === null) return;
    this.#failure = null;
    this.#said.clear();
    this.env.log.info("recovered", { database: this.database });
    this.emit({ event: "recovered", database: this.database });
  }
}

/**
 * The failures of something that runs beside replication (upkeep, the manifest): a warning for the first one
 * of a kind, however often it is tried in vain, and a line when it works again.
 */
export class SideFailure {
  readonly #said = new Set<string>();

  /** @param what begins each line: "upkeep" */
  constructor(
    readonly what: string,
    readonly database: string,
    readonly env: Pick<Env, "log">,
  ) {}

  failed(error: unknown): void {
    const failure = asWalrustError(error);
    if (!isNew(this.#said, failure)) return;
    const { message, hint } = failure;
    this.env.log.warn(`${this.what}: ${message}`, { database: this.database, hint });
  }

  healed(): void {
    if (this.#said.size === 0) return;
    this.#said.clear();
    this.env.log.info(`${this.what}: recovered`, { database: this.database });
  }
}

/** More kinds of failures than this are not told apart between two recoveries. */
const KINDS_MAX = 50;

/** Notes a failure as said. @returns false if its kind was. A store that is gone fails on other keys. */
function isNew(said: Set<string>, { code, message, exitCode }: WalrustError): boolean {
  const kind = exitCode === EXIT_CODES.storage ? code : message;
  if (said.has(kind) || said.size >= KINDS_MAX) return false;
  said.add(kind);
  return true;
}
