/**
 * Decides for how long a request waits out a failure. One call to the store that failed after all its retries
 * may succeed at the next try, so the request continues. A second failed call ends the request. An open
 * circuit ends it too, and so does a failure that began before the request and stays. Failures of the
 * database (in use, being replaced) mostly pass by themselves: only a failure that lasts ends the request.
 */
import { EXIT_CODES, WalrustError } from "../../errors.ts";

/** A failure that lasts this long is not over soon. */
const LASTING_MS = 10_000;

/** The obstacle to a request at one moment. */
export interface Obstacle {
  /** The failure that the database recovers from, if there is one. */
  readonly failure: WalrustError | null;
  /** Whether requests to the store are suspended. */
  readonly isSuspended: boolean;
}

/** The wait of one request: `poll` again and again. */
export class RequestWait {
  /** The store's failures since the request came, and the one that was there then. */
  readonly #failed = new Set<WalrustError>();
  /** Since when something fails, or null. */
  #sinceMs: number | null = null;
  #wasThere = false;
  #hasPolled = false;

  /**
   * Notes the obstacle of this moment.
   * @param nowMs the monotonic clock
   * @returns the failure that ends the request, or null
   */
  poll({ failure, isSuspended }: Obstacle, nowMs: number): WalrustError | null {
    const isFirst = !this.#hasPolled;
    this.#hasPolled = true;
    if (isSuspended) return failure ?? suspendedError();
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

function suspendedError(): WalrustError {
  return new WalrustError("storage", "Requests to the store are suspended after failures in a row", {
    hint: "Nothing is lost; check the network, the endpoint and the store",
    retryable: true,
  });
}
