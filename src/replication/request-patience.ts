/**
 * How long somebody who asked for something waits while a failure keeps it from being done. One failure may
 * be over with the next try, so it ends nothing: the second one does, an open circuit breaker (which is
 * many), and one that was there before and stays. That the database is in use is no failure until it lasts.
 */
import { hasCode, WalrustError } from "../errors.ts";

/** A failure that is there all this time, without another try, is not over soon. */
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
  /** The failures of tries since it was asked, and the one that was there then. */
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
    const isBusy = hasCode(failure, "database-busy");
    if (!isBusy) this.#failed.add(failure);
    const isLasting = (isBusy || this.#wasThere) && nowMs - this.#sinceMs >= LASTING_MS;
    return isLasting || this.#failed.size > 1 ? failure : null;
  }
}

function suspended(): WalrustError {
  return new WalrustError("storage", "Requests to the store are suspended after failures in a row", {
    hint: "Nothing is lost; check the network, the endpoint and the store",
    retryable: true,
  });
}
