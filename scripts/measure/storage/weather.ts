/**
 * The faults that the line to the storage knows.
 */

/**
 * - errors: a share of the requests is answered with 500 or 503
 * - throttling: a share of the requests is answered with 429 or 503 SlowDown
 * - resets: a share of the requests is cut in the middle of the request or of the answer
 * - truncation: a share of the answers ends early, with an orderly end of the connection
 * - skew: a share of the requests is refused with RequestTimeTooSkewed and a date far from the present
 * - latency: each byte arrives later
 * - stall: no byte moves, and no connection ends
 * - outage: no connection is accepted, and all open ones are cut
 */
export type WeatherKind =
  | "errors"
  | "throttling"
  | "resets"
  | "truncation"
  | "skew"
  | "latency"
  | "stall"
  | "outage";

/** The state of the line while it is not calm. */
export interface Weather {
  readonly kind: WeatherKind;
  /** Share of the requests, for the kinds that choose requests. */
  readonly share: number;
  /** Delay of each byte in each direction, for latency. */
  readonly delayMs: number;
}

/** One episode of faults, in ms since the start of the line. */
export interface Episode extends Weather {
  readonly startMs: number;
  readonly endMs: number;
}
