/**
 * A database that cannot be watched yet, for a reason that may pass without a change of the configuration.
 * walrust retries a named database every 5 s, and a database that a glob found with each discovery. The
 * watcher makes this object at the first refusal, and drops it when the database is attached.
 *
 * Each reason is logged once, however often it comes back. The refusal of a named database is also reported
 * as a stop. If a glob found a file that is still empty, the first refusal is not logged: somebody is
 * creating the database.
 */
import { statSync } from "node:fs";
import { namedHolder } from "../../database/pin/pinnable.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";

/** Between two attempts at a named database: as often as discoveries come. */
const RETRY_INTERVAL_MS = 5_000;
/** An application that holds a named database is logged when it does so twice. */
const BUSY_SIGHTINGS = 2;

/** Looks for another walrust at the database; the process of another user never shows. */
const VAIN_LOOKS_MAX = 3;

/** The refusals of one database since it was last attached. */
export class SetAside {
  #error: WalrustError | null = null;
  #sightings = 0;
  #vainLooks = 0;
  #isActive = false;
  #dueMs = 0;
  readonly #trouble: Trouble;

  constructor(
    readonly target: WatchTarget,
    readonly context: Pick<WatchContext, "env" | "emit">,
  ) {
    const level = target.isDiscovered ? "warn" : "error";
    this.#trouble = new Trouble(context.env, {
      database: target.name,
      what: "not watched",
      level,
      end: null,
    });
  }

  /** Why the database is set aside, or null while it is tried again like every watched database. */
  get error(): WalrustError | null {
    return this.#isActive ? this.#error : null;
  }

  /** Whether the next attempt is due. @param nowMs the monotonic clock */
  isDue(nowMs: number): boolean {
    return this.#isActive && !this.target.isDiscovered && nowMs >= this.#dueMs;
  }

  /** Sets the database aside until the next attempt. */
  begin(error: WalrustError): void {
    this.#isActive = true;
    this.#dueMs = this.context.env.monotonicMs() + RETRY_INTERVAL_MS;
    this.report(error);
  }

  /** The database is tried again like every watched database. */
  end(): void {
    this.#isActive = false;
  }

  /** Reports that the database cannot be watched, again or for the first time. */
  report(reason: WalrustError): void {
    const { target, context } = this;
    const error = this.#named(reason);
    this.#error = error;
    this.#sightings++;
    const isBeingCreated = target.isDiscovered && this.#sightings === 1 && !hasContent(target.path);
    if (isBeingCreated || !this.#trouble.failed(error) || target.isDiscovered) return;
    const { code, message } = error;
    context.emit({ event: "stopped", database: target.name, code, message });
  }

  /** Names the walrust that has the database, if there is one and its process shows. */
  #named(error: WalrustError): WalrustError {
    if (error.code !== "locked" || this.#vainLooks >= VAIN_LOOKS_MAX) return error;
    const named = namedHolder(error, this.target.path);
    this.#vainLooks = named === error ? this.#vainLooks + 1 : 0;
    return named;
  }

  /** Reports that an application holds a named database, which is tried again all the time. */
  reportBusy({ message, hint }: WalrustError): void {
    this.#sightings++;
    if (this.#sightings !== BUSY_SIGHTINGS) return;
    this.context.env.log.warn(`not watched yet: ${message}`, { database: this.target.name, hint });
  }
}

/** Whether there is a file with anything in it. */
function hasContent(path: string): boolean {
  try {
    return statSync(path).size > 0;
  } catch (error) {
    // A file that may not be examined exists, for all we know.
    return !["ENOENT", "ENOTDIR"].includes(systemCode(error) ?? "");
  }
}

/** The error of a database that was watched, and whose file is gone. */
export function absentError(path: string): WalrustError {
  return new WalrustError("database", `${path} is gone`, {
    hint: "walrust continues when the file is back, and stops replicating it when no discovery finds it",
  });
}

/** The error of a database whose bucket has not answered for `durationMs`. */
export function slowAttachError(path: string, durationMs: number): WalrustError {
  const seconds = Math.round(durationMs / 1000);
  return new WalrustError(
    "storage",
    `Cannot attach ${path} yet: the store has not answered for ${seconds} s`,
    {
      hint: "walrust keeps trying. Check the endpoint, the network and the store itself",
      retryable: true,
    },
  );
}
