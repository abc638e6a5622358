/**
 * Why a database that a glob found cannot be watched: said once for each reason, however often it is looked
 * at again. What is only just being made (no file any more, or nothing in it yet) is not said at first sight.
 */
import { statSync } from "node:fs";
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";

/** The reason at present. */
export class Refusal {
  #saidMessage: string | null = null;
  #sightings = 0;

  constructor(
    readonly database: string,
    readonly path: string,
    readonly env: Env,
    public error: WalrustError,
  ) {}

  /** It could not be watched, again or for the first time. */
  note(error: WalrustError): void {
    this.error = error;
    this.#sightings++;
    const isYoung = this.#sightings === 1 && !hasContent(this.path);
    if (isYoung || error.message === this.#saidMessage) return;
    this.#saidMessage = error.message;
    this.env.log.warn(`not watched: ${error.message}`, { database: this.database, hint: error.hint });
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
