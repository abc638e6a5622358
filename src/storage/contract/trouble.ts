/**
 * Logs a failure once, however often it comes back, and its end once. Everything that is tried again and
 * again reports through it: captures and uploads, upkeep, discovery, the socket, webhooks, the heartbeat.
 *
 *     readonly #trouble = new Trouble(env, { database, what: "retention" });
 *
 *     try { await attempt(); this.#trouble.recovered(); }
 *     catch (error) { this.#trouble.failed(error); }
 *
 * `failed` answers whether the failure is news, `recovered` and `poll` whether the trouble has just ended.
 * The caller emits its own events by these answers: `if (trouble.failed(error)) emit(…)`.
 *
 * Invariants:
 * 1. Each kind of failure is logged once per trouble: two failures that take turns make two lines. All
 *    failures of the store with one code are one kind, because a lost store fails on another key each time.
 * 2. A trouble ends once, after `failed` or `note`. The end of a recurring trouble waits for a calm.
 * 3. Nothing is allocated before the first failure.
 *
 * `StandingFindings` is for findings that a complete check lists anew each time, such as colliding names:
 * each holds for itself, and ends when a check does not list it. `Conditions` are the states in /health.
 */
import type { Env } from "../../env.ts";
import { asWalrustError, EXIT_CODES, type WalrustError } from "../../errors.ts";
import { isThrottling } from "./request-errors.ts";

/** A trouble that came back soon, or a store that throttles, ends after this long without a failure. */
const CALM_MS = 30_000;
const CALM_MAX_MS = 600_000;
/** A trouble may end this often in a row without a calm: two outages may follow each other by chance. */
const RETURNS_WITHOUT_CALM = 2;
const CALM_DOUBLINGS_MAX = 10;
/** The most kinds of failures of one trouble that are logged. */
const KINDS_MAX = 50;

/** How a trouble is logged. */
export interface TroubleReport {
  /** The database that has the trouble; absent when it is the whole process. */
  readonly database?: string;
  /** Begins each line: "retention" gives "retention: Cannot put …" and "retention: recovered". */
  readonly what?: string;
  /** The level of the failures; "warn" if absent. */
  readonly level?: "warn" | "error";
  /** Logs only the first failure of a trouble, whatever its kind. */
  readonly isFirstOnly?: boolean;
  /** The line that ends the trouble, in place of "recovered"; null: no line. */
  readonly end?: string | null;
}

/** The trouble that one thing has at present, if any. */
export class Trouble {
  #current: WalrustError | null = null;
  /** The last attempt succeeded, but the calm is not over. */
  #isHealing = false;
  /** Whether a line of this trouble is in the log at its own level. */
  #isLogged = false;
  #kinds: Set<string> | null = null;
  #calm: Calm | null = null;

  constructor(
    readonly env: Pick<Env, "log" | "monotonicMs">,
    readonly report: TroubleReport = {},
  ) {}

  /** The last failure, or null when the last attempt succeeded. */
  get current(): WalrustError | null {
    return this.#current;
  }

  /** Whether anything has failed, be it over or not: how soon a failure comes back decides about its end. */
  get hasFailed(): boolean {
    return this.#calm !== null;
  }

  /** Whether the trouble has begun and its end is not reported yet. */
  get isOpen(): boolean {
    return this.#current !== null || this.#isHealing;
  }

  /**
   * An attempt failed: logs the failure if its kind is new.
   * @param isQuiet logs at level debug, because the log has the cause already
   * @returns whether the kind is new
   */
  failed(error: unknown, isQuiet = false): boolean {
    const failure = asWalrustError(error);
    this.note(failure);
    const kind = this.report.isFirstOnly === true ? "" : kindOf(failure);
    this.#kinds ??= new Set();
    if (this.#kinds.has(kind) || this.#kinds.size >= KINDS_MAX) return false;
    this.#kinds.add(kind);
    this.#isLogged ||= !isQuiet;
    const { what, level = "warn" } = this.report;
    const { message, hint } = failure;
    this.env.log[isQuiet ? "debug" : level](what === undefined ? message : `${what}: ${message}`, {
      ...this.#fields,
      hint,
    });
    return true;
  }

  /** An attempt failed, and somebody else logs the failure; its end is reported here. */
  note(failure: WalrustError): void {
    this.#calm ??= new Calm();
    this.#calm.failed(failure, !this.isOpen, this.env.monotonicMs());
    this.#isHealing = false;
    this.#current = failure;
  }

  /** An attempt succeeded. @returns whether that ends a trouble; the end is logged then */
  recovered(): boolean {
    if (!this.isOpen) return false;
    this.#current = null;
    this.#isHealing = true;
    return this.poll(this.env.monotonicMs());
  }

  /**
   * Ends the trouble when its calm is over, for owners whose next success may be far away.
   * @param nowMs the monotonic clock
   * @returns as `recovered`
   */
  poll(nowMs: number): boolean {
    if (!this.#isHealing || nowMs < (this.#calm?.overMs ?? 0)) return false;
    this.#isHealing = false;
    this.#calm?.ended(nowMs);
    // Failures that were only noted are in the log elsewhere.
    const isQuiet = this.#kinds !== null && !this.#isLogged;
    this.#isLogged = false;
    this.#kinds = null;
    const { what, end = what === undefined ? "recovered" : `${what}: recovered` } = this.report;
    if (end !== null) this.env.log[isQuiet ? "debug" : "info"](end, this.#fields);
    return true;
  }

  get #fields(): { database?: string } {
    const { database } = this.report;
    return database === undefined ? {} : { database };
  }
}

/**
 * Decides how long nothing may fail before a trouble is over. A store that throttles refuses some calls and
 * takes others, and a trouble that came back soon will come back again. Without a calm the log would
 * alternate between failure and recovery.
 */
class Calm {
  #endedMs = Number.NEGATIVE_INFINITY;
  /** How often in a row the trouble came back soon after its end. */
  #returns = 0;
  #isThrottled = false;
  #failedMs = 0;

  /** @param isFirst whether the failure begins a trouble */
  failed(failure: WalrustError, isFirst: boolean, nowMs: number): void {
    if (isFirst) {
      const isSoon = nowMs - this.#endedMs < Math.max(2 * CALM_MS, 2 * this.#neededMs);
      this.#returns = isSoon ? this.#returns + 1 : 0;
      this.#isThrottled = false;
    }
    this.#isThrottled ||= isThrottling(failure);
    this.#failedMs = nowMs;
  }

  /** The end of the trouble was reported. */
  ended(nowMs: number): void {
    this.#endedMs = nowMs;
  }

  /** When the trouble is over, if nothing fails until then. */
  get overMs(): number {
    return this.#failedMs + this.#neededMs;
  }

  get #neededMs(): number {
    if (this.#returns < RETURNS_WITHOUT_CALM && !this.#isThrottled) return 0;
    return Math.min(CALM_MAX_MS, CALM_MS * 2 ** Math.min(this.#returns, CALM_DOUBLINGS_MAX));
  }
}

/** Failures of one kind are logged once. */
function kindOf({ code, message, exitCode }: WalrustError): string {
  return exitCode === EXIT_CODES.storage ? code : message;
}

/** The difference between two complete checks. */
export interface FindingsChange {
  readonly begun: readonly string[];
  readonly ended: readonly string[];
}

const NO_FINDINGS: ReadonlySet<string> = new Set();

/** The findings of the last complete check, so that each is logged when it begins and not while it lasts. */
export class StandingFindings {
  #current = NO_FINDINGS;

  /** Whether the last check found nothing. */
  get isEmpty(): boolean {
    return this.#current.size === 0;
  }

  /** Takes all findings of a new check. @returns those that are new, and those that are over */
  replace(findings: Iterable<string>): FindingsChange {
    const before = this.#current;
    const now = new Set(findings);
    this.#current = now.size === 0 ? NO_FINDINGS : now;
    return {
      begun: [...now].filter((finding) => !before.has(finding)),
      ended: [...before].filter((finding) => !now.has(finding)),
    };
  }
}
