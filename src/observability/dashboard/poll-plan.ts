/**
 * PURE: the address of the document, and when the page asks for it. The page and the programs that observe a
 * watch as a page would (`--observed` of soak, chaos, drill and bench) share both.
 */

/** The path of the document on the status server. */
export const DOCUMENT_PATH = "/dashboard.json";
/** A request that takes longer has failed. */
export const POLL_TIMEOUT_MS = 15_000;

const HIDDEN_MS = 60_000;
const AGAIN_MS = 5_000;

/** The wait until the next request. Documents of many databases are asked for less often. */
export function pollDelayMs(databaseCount: number, isHidden: boolean): number {
  return isHidden ? HIDDEN_MS : 2_000 + Math.min(8_000, Math.floor(databaseCount / 250) * 1_000);
}

/** The wait after a request that failed. */
export function retryDelayMs(isHidden: boolean): number {
  return isHidden ? HIDDEN_MS : AGAIN_MS;
}
