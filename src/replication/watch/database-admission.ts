/**
 * The first attach of a database, and every further one until it can be watched: what fails for a reason that
 * may pass is set aside and looked at again (see refusal.ts), what does not come to an end is said.
 */
import { existsSync } from "node:fs";
import { asWalrustError, hasCode, type WalrustError } from "../../errors.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import type { DatabaseHealth } from "./database-health.ts";
import type { DatabaseJobs } from "./database-jobs.ts";
import { missingError, Refusal, slowAttachError } from "./refusal.ts";

/** An attach that takes longer than this is a failure that lasts. */
const ATTACH_MS_MAX = 60_000;

/** What it needs of a watcher, and what that does for it. */
export interface AdmissionHost {
  readonly jobs: DatabaseJobs;
  readonly health: DatabaseHealth;
  /** Lets go of the database. */
  detach(): void;
  /** Gives it up for good. */
  stop(failure: WalrustError): void;
  say(failure: WalrustError): void;
}

/** Whether one database is let in. */
export class DatabaseAdmission {
  readonly #refusal: Refusal;
  /** Since when it is being attached (monotonic), or null. */
  #attachingSinceMs: number | null = null;

  constructor(
    readonly target: WatchTarget,
    readonly context: WatchContext,
    readonly host: AdmissionHost,
  ) {
    this.#refusal = new Refusal(target, context);
  }

  /** Why it is set aside, or null. */
  get refused(): WalrustError | null {
    return this.#refusal.error;
  }

  /** As `refused`, of one that is named: on its own it keeps no watch going. */
  get givenUp(): WalrustError | null {
    return this.#isFound ? null : this.#refusal.error;
  }

  /** Whether a glob found it, and its file is there no more: that is no failure. */
  get isGone(): boolean {
    return this.#isFound && !existsSync(this.target.path);
  }

  get #isFound(): boolean {
    return this.target.isDiscovered === true;
  }

  /** Tries to attach. No job may be running. */
  start(): void {
    const { jobs, stop } = this.host;
    jobs.run(async () => {
      try {
        await jobs.attach();
        this.#refusal.lifted();
      } catch (error) {
        const verdict = this.#refusal.judge(error);
        if (verdict === "set-aside") return this.#setAside(asWalrustError(error));
        this.#refusal.retried();
        if (verdict === "retry") throw error;
        stop(asWalrustError(error));
      }
    });
  }

  #setAside(failure: WalrustError): void {
    const { health, detach } = this.host;
    // It may have got as far as the pin, and the next try takes its own.
    detach();
    if (!this.#isFound) health.refused(failure);
    this.#refusal.setAside(failure);
  }

  /** Tries once more to attach, after failures. */
  startAgain(): void {
    const { jobs, health } = this.host;
    // What a glob found is refused until it was attached once, however often that is tried.
    if (this.#isFound && !health.wasAttached) return this.start();
    jobs.run(async () => {
      await jobs.attach();
      this.#refusal.lifted();
    });
  }

  /** A discovery found it, again or still: what could not be watched is looked at again, or said. */
  seen(isMissing: boolean): void {
    const { jobs, health } = this.host;
    if (!this.#isFound || jobs.isBlocking) return;
    if (this.#refusal.isSetAside) this.start();
    else if (isMissing) this.#refusal.note(missingError(this.target.path));
    else if (jobs.live === null && hasCode(health.blockedBy, "database-busy")) {
      this.#refusal.note(health.blockedBy);
    }
  }

  /** A try failed and is repeated soon: somebody who does not let a named one go is said, too. */
  failed(failure: WalrustError): void {
    const isWaiting = this.host.jobs.live === null && !this.#isFound;
    if (isWaiting && failure.code === "database-busy") this.#refusal.waits(failure);
  }

  /** It can be watched, or is attached anew: whatever keeps it from that is news. */
  lift(): void {
    this.#refusal.lifted();
  }

  /** A look while it is set aside. @returns whether it is, so that there is nothing to look at */
  look(nowMs: number): boolean {
    this.#attachingSinceMs = null;
    if (!this.#refusal.isSetAside) return false;
    if (this.#refusal.isDue(nowMs)) this.start();
    return true;
  }

  /** A look while a job runs that captures wait for: an attach that does not come to an end is said. */
  lookBlocked(nowMs: number): void {
    const { jobs, health, say } = this.host;
    if (jobs.live !== null || this.#refusal.isSetAside) return;
    this.#attachingSinceMs ??= nowMs;
    if (nowMs - this.#attachingSinceMs < ATTACH_MS_MAX || health.blockedBy !== null) return;
    const failure = slowAttachError(this.target.path, ATTACH_MS_MAX);
    health.blocked(failure, this.#attachingSinceMs);
    say(failure);
  }
}
