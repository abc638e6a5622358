/**
 * How long somebody who asked for something waits while a failure keeps it from being done. One call to the
 * store that failed after all its retries may be over with the next, so it ends nothing: the second one does,
 * an open circuit breaker (which is many), and one that was there before and stays. Failures of the database
 * (in use, being replaced) mostly pass by themselves: only one that lasts counts.
 */
import { EXIT_CODES, WalrustError } from "../../errors.ts";

/** What is wrong for all this time is not over soon. */
const LASTING_MS = 10_000;

/** What is known at a look of what keeps a request from being done. */
export interface Hindrance {
  /** The failure the database is getting over, if any. */
  readonly failure: WalrustError | null;
  /** Whether its requests to the store are suspended. */
  readonly isSuspended: boolean;
}

/** The patience of one who asked: `look` again and again. */
export class RequestPatience {
  /** The store's failures since it was asked, and the one that was there then. */
  readonly #failed = new Set<WalrustError>();
  /** Since when something is wrong, or null. */
  #sinceMs: number | null = null;
  #wasThere = false;
  #hasLooked = false;

  /**
   * Notes how things are.
   * @param nowMs the monotonic clock
   * @returns the failure that is not waited out, or null
   */
  look({ failure, isSuspended }: Hindrance, nowMs: number): WalrustError | null {
    const isFirst = !this.#hasLooked;
    this.#hasLooked = true;
    if (isSuspended) return failure ?? suspended();
    if (failure === null) {
      this.#sinceMs = null;
      this.#failed.clear();
      return null;
    }
    if (this.#sinceMs === null) this.#wasThere = isFirst;
    this.#sinceMs ??= nowMs;
    const isOfStore = failure.exitCode === EXIT_CODES.storage;
    if (isOfStore) this.#failed.add(failure);
    const isLasting = (!isOfStore || this.#wasThere) && nowMs - this.#sinceMs >= LASTING_MS;
    return isLasting || this.#failed.size > 1 ? failure : null;
  }
}

function suspended(): WalrustError {
  return new WalrustError("storage", "Requests to the store are suspended after failures in a row", {
    hint: "Nothing is lost; check the network, the endpoint and the store",
    retryable: true,
  });
}
