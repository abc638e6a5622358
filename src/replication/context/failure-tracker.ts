/**
 * What a watcher says about its failures: the first one of a kind once, and the end of it once, however often
 * it is tried in between; and how long to wait before trying again.
 */
import type { Env } from "../../env.ts";
import { EXIT_CODES, errorMessage, WalrustError } from "../../errors.ts";
import { isThrottling } from "../../storage/contract/request-errors.ts";
import type { WatchEvent } from "./watch-events.ts";

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

/** How long a store that throttles, or a failure that came back, has to stay away before it is over. */
const CALM_MS = 30_000;
const CALM_MAX_MS = 600_000;

/**
 * Decides for how long nothing may fail before a recovery is told. A store that throttles refuses some calls
 * and takes others, and a failure that came back soon will come back again: told at once, the log would
 * alternate between the two for as long as that lasts.
 */
class Calm {
  #recoveredMs = Number.NEGATIVE_INFINITY;
  /** How often a failure came back soon after its end was told. */
  #returns = 0;
  #isThrottled = false;
  #failedMs = 0;

  /** @param isFirst whether nothing was wrong before */
  failed(failure: WalrustError, isFirst: boolean, nowMs: number): void {
    if (isFirst) {
      const isSoon = nowMs - this.#recoveredMs < Math.max(2 * CALM_MS, 2 * this.#neededMs);
      this.#returns = isSoon ? this.#returns + 1 : 0;
      this.#isThrottled = false;
    }
    this.#isThrottled ||= isThrottling(failure);
    this.#failedMs = nowMs;
  }

  recovered(nowMs: number): void {
    this.#recoveredMs = nowMs;
  }

  /** When a recovery may be told. */
  get overMs(): number {
    return this.#failedMs + this.#neededMs;
  }

  get #neededMs(): number {
    // Two outages may follow each other by chance; more are one.
    if (this.#returns < 2 && !this.#isThrottled) return 0;
    return Math.min(CALM_MAX_MS, CALM_MS * 2 ** Math.min(this.#returns, 10));
  }
}

/** The failure one database is getting over. */
export class FailureTracker {
  #failure: WalrustError | null = null;
  /** What was said since all was well: two failures that take turns are said once each. */
  readonly #said = new Set<string>();
  /** Made with the first failure: hundreds of databases have none. */
  #calm: Calm | null = null;
  /** Whether it works again, which is told when it has for a while. */
  #isHealing = false;
  /** Whether anything of it is in the log. */
  #isLogged = false;

  /** @param isSaid whether the log has a failure already, because it is one of all databases */
  constructor(
    readonly database: string,
    readonly env: Env,
    readonly emit: (event: WatchEvent) => void,
    readonly isSaid: (failure: WalrustError) => boolean = () => false,
  ) {}

  get current(): WalrustError | null {
    return this.#failure;
  }

  /** Says a failure unless it was said; that somebody else is at the database just now is no failure. */
  failed(failure: WalrustError): void {
    const { code, message, hint } = failure;
    if (code === "database-busy") return;
    this.#begin(failure);
    if (isNew(this.#said, failure)) {
      const isSaid = this.isSaid(failure);
      this.#isLogged ||= !isSaid;
      this.env.log[isSaid ? "debug" : "error"](message, { database: this.database, hint });
      this.emit({ event: "failed", database: this.database, code, message });
    }
    this.#failure = failure;
  }

  /** A failure that somebody else has said. */
  note(failure: WalrustError): void {
    this.#begin(failure);
    this.#failure = failure;
  }

  #begin(failure: WalrustError): void {
    const isFirst = this.#failure === null && !this.#isHealing;
    this.#isHealing = false;
    this.#calm ??= new Calm();
    this.#calm.failed(failure, isFirst, this.env.monotonicMs());
  }

  /** Everything works: says so if something did not, as soon as it has lasted. */
  healed(): void {
    if (this.#failure === null) return;
    this.#failure = null;
    this.#isHealing = true;
    this.look(this.env.monotonicMs());
  }

  /** Tells a recovery that has lasted. Called at every look of the watch. */
  look(nowMs: number): void {
    if (!this.#isHealing || nowMs < (this.#calm?.overMs ?? 0)) return;
    this.#isHealing = false;
    this.#calm?.recovered(nowMs);
    // A failure that somebody else has said was noted, and nothing more.
    const isQuiet = this.#said.size > 0 && !this.#isLogged;
    this.#isLogged = false;
    this.#said.clear();
    this.env.log[isQuiet ? "debug" : "info"]("recovered", { database: this.database });
    this.emit({ event: "recovered", database: this.database });
  }

  /** Whether something failed whose end has not been told. */
  get isOpen(): boolean {
    return this.#failure !== null || this.#isHealing;
  }
}

/**
 * The failures of something that runs beside replication (upkeep, the manifest): a warning for the first one
 * of a kind, however often it is tried in vain, and a line when it works again.
 */
export class SideFailure {
  readonly #said = new Set<string>();
  readonly #calm = new Calm();

  /** @param what begins each line: "upkeep" */
  constructor(
    readonly what: string,
    readonly database: string,
    readonly env: Pick<Env, "log" | "monotonicMs">,
  ) {}

  failed(error: unknown): void {
    const failure = asWalrustError(error);
    this.#calm.failed(failure, this.#said.size === 0, this.env.monotonicMs());
    if (!isNew(this.#said, failure)) return;
    const { message, hint } = failure;
    this.env.log.warn(`${this.what}: ${message}`, { database: this.database, hint });
  }

  healed(): void {
    const nowMs = this.env.monotonicMs();
    // It is told with a later success when this one comes too soon.
    if (this.#said.size === 0 || nowMs < this.#calm.overMs) return;
    this.#calm.recovered(nowMs);
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
