/**
 * Why a database cannot be watched, and what becomes of it. What may pass without anybody changing the
 * configuration sets it aside: it is looked at again, a named one by itself, what a glob found with each
 * discovery. Each reason is said once, however often that is; of a named one it is told as its stop, and
 * what a glob found while it is only just being made (no file any more, or nothing in it yet) is not said at
 * first sight.
 */
import { statSync } from "node:fs";
import { EXIT_CODES, systemCode, WalrustError } from "../../errors.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";

/** Between two looks at a named database that is set aside: as often as discoveries come. */
const AGAIN_MS = 5_000;

/** What a failure of the first attach does: try again soon, set aside, or give up for good. */
export type AttachVerdict = "retry" | "set-aside" | "stop";

/** Whether one database is refused at present, and why. */
export class Refusal {
  #error: WalrustError | null = null;
  #saidKind: string | null = null;
  #sightings = 0;
  #isSetAside = false;
  #againMs = 0;

  constructor(
    readonly target: WatchTarget,
    readonly context: Pick<WatchContext, "env" | "emit">,
  ) {}

  /** Whether nothing is tried until the next look. */
  get isSetAside(): boolean {
    return this.#isSetAside;
  }

  /** Why it is set aside, or null. */
  get error(): WalrustError | null {
    return this.#isSetAside ? this.#error : null;
  }

  /** Judges a failure of the first attach. */
  judge(error: unknown): AttachVerdict {
    if (!(error instanceof WalrustError) || error.retryable) return "retry";
    const isDatabase = error.exitCode === EXIT_CODES.database;
    // What a glob found waits for the store as anything that is watched does.
    if (this.target.isDiscovered === true) return isDatabase ? "set-aside" : "retry";
    const isStorage = error.exitCode === EXIT_CODES.storage && error.code !== "foreign-writer";
    return isDatabase || isStorage ? "set-aside" : "stop";
  }

  /** Sets it aside until the next look. */
  setAside(error: WalrustError): void {
    this.#isSetAside = true;
    this.#againMs = this.context.env.monotonicMs() + AGAIN_MS;
    this.note(error);
  }

  /** Whether a named one is to be looked at again. @param nowMs the monotonic clock */
  isDue(nowMs: number): boolean {
    return this.#isSetAside && this.target.isDiscovered !== true && nowMs >= this.#againMs;
  }

  /** A named one is in use from the start and tried again and again: said when it was so twice. */
  waits(error: WalrustError): void {
    this.#sightings++;
    if (this.#sightings < 2 || error.message === this.#saidKind) return;
    this.#saidKind = error.message;
    const fields = { database: this.target.name, hint: error.hint };
    this.context.env.log.warn(`not watched yet: ${error.message}`, fields);
  }

  /** It is tried again as anything that is watched. */
  retried(): void {
    this.#isSetAside = false;
  }

  /** It can be watched: whatever comes next is news. */
  lifted(): void {
    this.#isSetAside = false;
    this.#error = null;
    this.#saidKind = null;
    this.#sightings = 0;
  }

  /** It could not be watched, again or for the first time. */
  note(error: WalrustError): void {
    const { target, context } = this;
    this.#error = error;
    this.#sightings++;
    const { code, message, hint, exitCode } = error;
    const kind = exitCode === EXIT_CODES.storage ? code : message;
    const isYoung = target.isDiscovered === true && this.#sightings === 1 && !hasContent(target.path);
    if (isYoung || kind === this.#saidKind) return;
    this.#saidKind = kind;
    const fields = { database: target.name, hint };
    if (target.isDiscovered === true) return context.env.log.warn(`not watched: ${message}`, fields);
    context.env.log.error(`not watched: ${message}`, fields);
    context.emit({ event: "stopped", database: target.name, code, message });
  }
}

/** Whether there is a file with anything in it. */
export function hasContent(path: string): boolean {
  try {
    return statSync(path).size > 0;
  } catch (error) {
    // What may not be looked at is there, for all we know.
    return !["ENOENT", "ENOTDIR"].includes(systemCode(error) ?? "");
  }
}

/** The database was watched, and its file is gone. */
export function missingError(path: string): WalrustError {
  return new WalrustError("database", `${path} is gone`, {
    hint: "It is watched again as soon as it is there, or let go of when it is not found any more",
  });
}

/** Its first look at the bucket takes so long that this has to be said. */
export function slowAttachError(path: string, durationMs: number): WalrustError {
  const seconds = Math.round(durationMs / 1000);
  return new WalrustError(
    "storage",
    `Cannot attach ${path} yet: the store has not answered for ${seconds} s`,
    {
      hint: "It is tried on. Check the endpoint, the network and the store itself",
      retryable: true,
    },
  );
}
