/**
 * Proves to a sync that the bucket still holds what it acknowledged. After everything is uploaded, a listing
 * of the database has to lead to the newest acknowledged TXID, and the newest object has to be the
 * acknowledged one. If objects are missing, the proof makes the daily check due at once. The check reports
 * the loss and requests a new snapshot; once the check finds the history restorable, the proof lists again.
 *
 * Listings cost requests. So only the request of a person asks for one: `walrust sync`, or `watch --once`.
 */
import type { Env } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { Semaphore } from "../../storage/guard/semaphore.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WalPoller } from "../capture/wal-poller.ts";
import { checkBucket } from "../upkeep/reconcile.ts";
import type { UpkeepSchedule } from "../upkeep/upkeep-schedule.ts";

/** Databases whose objects are listed at once: five levels each, beside the uploads. */
const LISTED_AT_ONCE = 8;
/** After a listing that failed. */
const RETRY_MS = 1_000;

const MORE_TIME = "The watch goes on; give it more time with --timeout";

/** A database whose objects can be listed. */
export interface ProvableDatabase {
  /** Null while the database is not attached. */
  readonly live: Captured | null;
  readonly context: { readonly store: ObjectStore };
  readonly poller: Pick<WalPoller, "request">;
  readonly record: {
    readonly upkeep: Pick<UpkeepSchedule, "soundMs" | "vainMs" | "objectsMissing" | "listed">;
  };
}

/**
 * `proven`: a listing showed that the history is restorable; `open`: not yet; `vain`: objects are missing
 * although the watch has uploaded a new snapshot.
 */
export type ProofState = "proven" | "open" | "vain";

/** Starts the proofs of one request, of which a few list at once. */
export interface Prover {
  of(database: ProvableDatabase): Pick<BucketProof, "poll" | "missing" | "failure" | "delay">;
}

/** The proofs of one request. */
export class BucketProofs implements Prover {
  readonly #listings = new Semaphore(LISTED_AT_ONCE);

  /** @param signal ends the listings */
  constructor(
    readonly env: Pick<Env, "monotonicMs">,
    readonly signal: AbortSignal,
  ) {}

  of(database: ProvableDatabase): BucketProof {
    return new BucketProof(database, this.env, this.#listings, this.signal);
  }
}

/** The proof for one database, whose commits are uploaded: `poll` again and again. */
export class BucketProof {
  #isProven = false;
  #isListing = false;
  #missing: { readonly problem: string; readonly sinceMs: number } | null = null;
  #failure: WalrustError | null = null;
  #retryMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly database: ProvableDatabase,
    readonly env: Pick<Env, "monotonicMs">,
    readonly listings: Pick<Semaphore, "run">,
    readonly signal: AbortSignal,
  ) {}

  /** The objects that were missing when the proof began, as a clause; null if none were. */
  get missing(): string | null {
    return this.#missing?.problem ?? null;
  }

  /** The failure of the last listing, or null. */
  get failure(): WalrustError | null {
    return this.#failure;
  }

  /** Starts the listing that is due. */
  poll(): ProofState {
    if (this.#isProven) return "proven";
    const { live, poller, record } = this.database;
    if (this.#isListing || live === null || this.env.monotonicMs() < this.#retryMs) return "open";
    if (this.#missing !== null) {
      const { soundMs, vainMs } = record.upkeep;
      if (vainMs >= this.#missing.sinceMs) return "vain";
      if (soundMs < this.#missing.sinceMs) {
        // An idle database is looked at seldom, and the check is due.
        poller.request();
        return "open";
      }
    }
    this.#isListing = true;
    void this.#list(live).finally(() => {
      this.#isListing = false;
    });
    return "open";
  }

  async #list(live: Captured): Promise<void> {
    const { store } = this.database.context;
    const { upkeep } = this.database.record;
    const target = { store, name: live.name, writer: live.state?.writer ?? "" };
    try {
      const { problem } = await this.listings.run(() => checkBucket(target, live, this.signal), this.signal);
      this.#failure = null;
      const nowMs = this.env.monotonicMs();
      if (problem === null) {
        this.#isProven = true;
        upkeep.listed(nowMs);
        return;
      }
      this.#missing = { problem, sinceMs: nowMs };
      upkeep.objectsMissing();
    } catch (error) {
      this.#failure = asWalrustError(error);
      this.#retryMs = this.env.monotonicMs() + RETRY_MS;
    }
  }

  /** Why there is no proof. */
  delay(): WalrustError {
    if (this.#failure !== null) {
      const { code, message, hint, retryable } = this.#failure;
      const details = { retryable, ...(hint === undefined ? {} : { hint }) };
      return new WalrustError(code, `Everything is uploaded, and cannot be listed: ${message}`, details);
    }
    if (this.#missing === null)
      return new WalrustError("storage", "Everything is uploaded, and not listed yet", { hint: MORE_TIME });
    const { problem, sinceMs } = this.#missing;
    if (this.database.record.upkeep.vainMs >= sinceMs) {
      return new WalrustError("storage", `${problem}; a new snapshot did not help`, {
        hint: "`walrust verify` shows which objects are there; the store, or somebody else, removes objects",
      });
    }
    return new WalrustError("storage", `${problem}; a new snapshot is not in the bucket yet`, {
      hint: MORE_TIME,
    });
  }
}
