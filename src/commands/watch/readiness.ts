/**
 * Decides when a watch has started: each of its first databases is captured for the first time, or has
 * failed. A database that fails is retried by the watch, and must not hold up the start of an application or
 * of a service with many databases.
 */
import type { Env } from "../../env.ts";
import type { ObservedWatch } from "./watch-observer.ts";

const POLL_INTERVAL_MS = 50;

/** The facts that show how far the start of a watch is. */
export type StartingWatch = Pick<ObservedWatch, "statuses"> & {
  /** Turns of the loop so far. */
  readonly turnCount: number;
  /** Whether no database is watched, so that the watch is about to end. */
  readonly hasGivenUp: boolean;
};

/**
 * Waits until the watch has started.
 * @param until ends the wait
 * @returns false when the watch ends instead
 */
export async function hasStarted(
  watch: StartingWatch,
  env: Pick<Env, "sleep">,
  until: AbortSignal,
): Promise<boolean> {
  // Before its first turn the loop has no databases.
  while (!until.aborted && (watch.turnCount === 0 || isAnyStarting(watch))) {
    await env.sleep(POLL_INTERVAL_MS, until);
  }
  return !until.aborted && !watch.hasGivenUp;
}

function isAnyStarting(watch: StartingWatch): boolean {
  return watch.statuses().some(({ state }) => state === "starting");
}
