/**
 * The limit on puts that all databases of a process share, as stores know it, and a place below it that a
 * caller reserves before it knows which object it puts.
 */

/** Limits the requests that put. */
export interface PutLimit {
  /** Whether a caller waits for a place. */
  readonly isContended: boolean;
  /** Runs a request when there is a place for it. @throws the signal's reason if it aborts before that */
  run<T>(work: () => Promise<T>, signal?: AbortSignal, facts?: PutFacts): Promise<T>;
  /** Waits for a place, which has to be released. @throws as `run` */
  acquire(signal?: AbortSignal): Promise<void>;
  release(): void;
  /** Runs a request of an upload that holds a place already, so that its outcome counts for the limit. */
  measure?<T>(work: () => Promise<T>): Promise<T>;
}

/** A put, as its limit knows it before it is sent. */
export interface PutFacts {
  readonly sizeBytes: number;
  /** The place that was reserved for the put; only the first attempt can use it. */
  readonly reservation?: PutReservation | undefined;
}

/** A place that was taken before it is known which object is put. */
export interface PutReservation {
  /**
   * Hands the place over to a put below `limit`, which releases it.
   * @returns false if the place is gone already, or belongs to another limit
   */
  use(limit: PutLimit): boolean;
  /** Releases the place, unless a put has used it. */
  end(): void;
}
